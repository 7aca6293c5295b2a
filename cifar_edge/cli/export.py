"""`cifar-edge export`: export a trained network to ONNX, in fp32 and int8, and compare it with PyTorch."""

import json
import math
import re
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from datetime import datetime
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifar_edge.cli.completion import TARGETS, complete_run, complete_target
from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.loading import data_again, image_folder_options, load_unseen
from cifar_edge.cli.narrow import text_columns
from cifar_edge.cli.own_network import export_own, own_network_options
from cifar_edge.cli.replaced import note_replaced
from cifar_edge.cli.report import NAME as PAGE
from cifar_edge.cli.report import write_own_report
from cifar_edge.cli.stages import Stages
from cifar_edge.cli.value_types import Folder
from cifar_edge.cli.verbosity import note, say
from cifar_edge.errors import ExportError, MissingExtra
from cifar_edge.files import is_released, zoo
from cifar_edge.messages import display_name
from cifar_edge.spec import is_model_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cifar_edge.export.layer_signals import LayerSignal
    from cifar_edge.export.report import Report

MAX_DROP = 0.5
LAYERS_NAMED = 3
"""Number of layers, those that lose most, that --debug names last."""


class _Points(click.types.FloatParamType):
    name = "points"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            points = float(value)
        except ValueError:
            points = -1.0
        if not (math.isfinite(points) and points >= 0):
            self.fail(f"{str(value)!r} is not a number of percentage points of 0 or more.", param, ctx)
        return points


def _share(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A share; 0 for "none", and None if the option was not given."""
    if value is None:
        return None
    try:
        share = 0.0 if value == "none" else float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1 or (share == 0 and value != "none"):
        raise click.BadParameter(f"{value!r} is neither a share between 0 and 1, such as 0.95, nor 'none'.")
    return share


def _stem(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_model_name(value):
        raise click.BadParameter(f"{value!r} is not made of at most 100 letters, digits, '-', '_' and '.'.")
    return value


@click.command("export")
@click.argument("model", required=False, shell_complete=complete_run)
@click.option("--quantize", is_flag=True, help="Make int8 as well, calibrated on training images.")
@click.option(
    "--out",
    metavar="DIR",
    type=Folder(),
    help="Folder to write to.  [default: see above]",
)
@image_folder_options
@click.option(
    "--max-drop",
    metavar="POINTS",
    type=_Points(),
    default=MAX_DROP,
    show_default=True,
    help="Percentage points that int8 may lose.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_target,
    help=f"Write int8 in this format as well: {', '.join(TARGETS[:-1])} or {TARGETS[-1]}; repeatable. ONNX is always "
    "written.",
)
@click.option("--kernels", metavar="NAMES", help="Target c: kernels beside plain C, with commas.  [default: auto, all]")
@click.option(
    "--name",
    metavar="NAME",
    callback=_stem,
    help="Call the files by this name, and the functions of target c, with _ for - and dots.  [default: the run's name "
    "for files; the model's for C, and for files of a released model]",
)
@click.option("--scores", is_flag=True, help="The .tflite file of --target litert gives scores, not logits.")
@click.option(
    "--keep",
    metavar="SHARE|none",
    callback=_share,
    help="Set the threshold of 'not sure' so that this share of the images of the classes stays above it; none for no "
    "threshold.  [default: 0.95 for image folders, where it is of use]",
)
@click.option(
    "--other",
    metavar="DIR",
    type=Folder(exists=True),
    help="Images of no class, to judge the threshold by.  [default: _other/ in the data, else CIFAR-10]",
)
@own_network_options
@click.option("--debug", is_flag=True, help="Print on stderr which layers of int8 lose most signal.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    model: str | None,
    quantize: bool,
    out: Path | None,
    data: str | None,
    holdout: float | None,
    strict: bool,
    offline: bool,
    max_drop: float,
    targets: tuple[str, ...],
    kernels: str | None,
    name: str | None,
    scores: bool,
    keep: float | None,
    other: Path | None,
    debug: bool,
    as_json: bool,
    **own: Any,
) -> None:
    """Export a trained network to ONNX, and compare it with PyTorch.

    MODEL is a run, by its folder or its name under runs, or the name of a released model. Without MODEL, it is the
    newest finished run, or the released gn-cnn if there are no runs; a newer run that was interrupted or has failed
    is an error. The files go to RUN/export, those of a released model to runs/TIME-MODEL/export, and are called by the
    run or the model, unless --name says otherwise. Every file is
    compared with the PyTorch network on the test images of the data it was trained on, and measured on this machine.
    The report says which one to deploy: the fastest, unless that is int8 and loses more than --max-drop (on few test
    images, more than one image). If a gate fails, the exit code is 3 and nothing is written.

    Int8 is made of the folded network, if the run has one; train and fold make it. The files of each --target compute
    what the integer network does, bit for bit, or with litert the same classes but for a few images; else nothing is
    written. MODEL may also be an int8 file of an export: it is written for each --target, beside the file unless --out
    says otherwise. That needs no torch; without the extra train the int8 file of a released model is taken for the
    model.

    --network exports a network that is not of this package, by running the Python file that builds it.

    Example: cifar-edge export gn-cnn --quantize --out gn-cnn-for-the-device
    """
    prefix = re.sub("[-.]", "_", name) if name is not None and "c" in targets else None
    options_given = {"kernels": kernels, "name": prefix, "scores": scores or None}
    given = {option: value for option, value in options_given.items() if value is not None}
    if "litert" in targets:
        with needs("litert"):
            import_module("ai_edge_litert")
    if own["network"] is None and (unused := [name for name, value in own.items() if value is not None]):
        raise click.UsageError(f"--{unused[0]} is about a network of your own, which --network names.")
    if own["network"] is not None:
        others = {"MODEL": model, "--keep": keep, "--other": other}
        if unfit := ", ".join(name for name, value in others.items() if value is not None):
            raise click.UsageError(f"--network exports a network of your own, in place of MODEL; leave out {unfit}.")
        if not quantize:
            raise click.UsageError("--network is exported in int8, which only --quantize makes: add --quantize.")
    with_images = debug or not all(value is None for value in (data, holdout, keep, other))
    if model is not None and model.endswith(".onnx"):
        if with_images:
            raise click.UsageError(
                "An .onnx file is only written in other formats; it takes no data, no threshold and no --debug: export "
                "its run or released model with --quantize instead."
            )
        _export_file(Path(model), out, targets, given, name, as_json)
        return
    if model is not None and Path(model).is_file():
        raise click.UsageError(
            f"{display_name(model)} is no model; MODEL is a run, by its folder or its name, the name of a released "
            "model, or an int8 .onnx file of an export."
        )
    if set(targets) - {"onnx"} and not quantize:
        raise click.UsageError("--target is a format of int8, which only --quantize makes.")
    if keep == 0 and other is not None:
        raise click.UsageError("--keep none sets no threshold that --other could judge.")
    if debug and not quantize:
        raise click.UsageError("--debug is about int8, which only --quantize makes.")
    options = _target_options(targets, given)
    from cifar_edge.data.load import check_location
    from cifar_edge.export.folder import check_replaceable
    from cifar_edge.runs.resolve import resolve_run
    from cifar_edge.runs.run import RECIPE, Run

    # What can be refused without torch is refused first, since its import takes seconds.
    if own["network"] is None:
        resolved = resolve_run(model)
        target = out or _default_folder(resolved.path, resolved.path.name)
        keeps_folder = bool(set(targets) - {"onnx"}) and find_spec("torch") is None  # see `_export_file`
        if not keeps_folder:
            check_replaceable(target)
        data_again(Run(resolved.path).data, data, holdout)
    else:
        if out is not None:
            check_replaceable(out)
        check_location(data)
    try:
        with needs("train"):
            from cifar_edge.export.pipeline import export_network
            from cifar_edge.export.threshold import calibration
            from cifar_edge.training.checkpoint import load_network
            from cifar_edge.training.machine import limit_threads
    except MissingExtra:
        only_written = set(targets) - {"onnx"} and own["network"] is None and not with_images and max_drop == MAX_DROP
        file = _released_int8(model) if only_written else None
        if file is None:
            raise
        released = file.parent.name
        note(f"without the extra train {released} is not quantized anew: its released int8 file is written")
        _export_file(file, out or _default_folder(file, released), targets, given, name, as_json)
        return
    if own["network"] is not None:
        # What the user's code prints is no result of this command.
        with Stages() as stages, redirect_stdout(sys.stderr):
            report, folder = export_own(
                own,
                data=data,
                offline=offline,
                holdout=holdout,
                strict=strict,
                out=out,
                max_drop=max_drop,
                targets=options,
                debug=debug,
                stages=stages,
                name=name,
            )
        _say(report, folder, as_json)
        return
    limit_threads()
    trained = load_network(resolved.path)
    dataset = load_unseen(resolved.path, trained.data, data, offline, holdout, strict, trained.size)
    note(
        f"exporting {resolved} to {display_name(target)}, judged by {len(dataset.test_labels)} test images of "
        f"{display_name(dataset.name)}"
    )
    note_replaced(target, options)
    threshold = None
    if keep != 0 and (dataset.folder is not None or keep is not None or other is not None):
        held_out = Run(resolved.path).recipe.holdout if (resolved.path / RECIPE).exists() else 0
        threshold = calibration(dataset, held_out, keep, other, note)
    with Stages() as stages:
        report = export_network(
            trained,
            dataset,
            target,
            quantize=quantize,
            max_drop=max_drop,
            targets=options,
            threshold=threshold,
            debug=partial(_print_signals, tell=stages.tell) if debug else None,
            stem=name or _default_stem(resolved.path, trained.name),
            stage=stages.begin,
        )
        stages.begin(f"writing {PAGE}")
        page = write_own_report(resolved.path, dataset, target, stages.note)
    _say(report, target, as_json, page)


def _say(report: "Report", folder: Path, as_json: bool, page: Path | None = None) -> None:
    """Print the report, and on stderr what to do next; ``page`` is the report to look at."""
    from cifar_edge.cli.next_step import next_steps

    record = {**report.to_dict(), "folder": str(folder), "report": page and str(page)}
    say(json.dumps(record, indent=2) if as_json else report.to_table(text_columns()))
    if as_json and report.own is not None and report.own.warning is not None:
        note(f"warning: {report.own.warning}")
    if page is not None:
        note(f"wrote {display_name(page)}: all of it to look at in a browser")
    deployed = [row.file for row in report.rows if row.file is not None and row.precision == report.deploy]
    for line in next_steps(folder, {**report.targets, "onnx": deployed}):
        note(line)


def _export_file(
    file: Path,
    out: Path | None,
    targets: "Sequence[str]",
    given: "Mapping[str, Any]",
    name: str | None,
    as_json: bool,
) -> None:
    """Write an exported int8 file for other targets."""
    if not set(targets) - {"onnx"}:
        raise click.UsageError("An .onnx file is written in the format that --target names, such as --target c.")
    from cifar_edge.cli.next_step import next_steps
    from cifar_edge.export.from_file import export_file

    folder = out or file.parent
    with Stages() as stages:
        written = export_file(file, folder, _target_options(targets, given), name, stages.begin)
    if as_json:
        records = {name: {**asdict(target), "files": list(target.files)} for name, target in written.items()}
        say(json.dumps({"folder": str(folder), "targets": records}, indent=2))
        return
    for name, target in written.items():
        for outcome in target.outcomes:
            say(outcome.sentence(name, target.files))
    for line in next_steps(folder, {name: target.files for name, target in written.items()}):
        note(line)


def _released_int8(model: str | None) -> Path | None:
    """The int8 file of the released model that ``model`` means; None if that is a run."""
    from cifar_edge.export.folder import model_file
    from cifar_edge.runs.exports import EXPORT
    from cifar_edge.runs.resolve import resolve_run

    weights = resolve_run(model).path
    file = zoo() / EXPORT / weights.name / model_file(weights.name, "int8")
    return file if is_released(weights) and file.is_file() else None


def _target_options(targets: "Sequence[str]", given: "Mapping[str, Any]") -> dict[str, Any]:
    """`cifar_edge.export.targets.target_options`; what it refuses was called wrongly."""
    from cifar_edge.export.targets import target_options

    try:
        return target_options(targets, given)
    except ExportError as error:
        raise click.UsageError(f"{error}.") from error


def _default_folder(source: Path, name: str) -> Path:
    """The run's own export folder, or for a released model, which is never written to by default, one under runs."""
    if is_released(source):
        return Path("runs", f"{datetime.now():%Y%m%d-%H%M%S}-{name}", "export")
    from cifar_edge.runs.run import Run

    return Run(source).export.path


def _default_stem(source: Path, name: str) -> str:
    """What files are called by: the run, so that those of several runs can lie in one folder, or the released model."""
    from cifar_edge.export.folder import stem_of

    return name if is_released(source) else stem_of(source.resolve().name, name)


def _print_signals(signals: "Sequence[LayerSignal]", tell: "Callable[[str], None]") -> None:
    tell("signal-to-noise ratio after each layer of int8, against float:")
    for signal in signals:
        tell(f"  {signal.layer:<28} {signal.snr_db:6.1f} dB")
    worst = sorted(signals, key=lambda signal: signal.added, reverse=True)[:LAYERS_NAMED]
    tell(f"most is lost in {', '.join(signal.layer for signal in worst)}")
