"""`cifar-edge report`: write what a run is, or how several compare, as one HTML file."""

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.loading import image_folder_options, load_unseen
from cifar_edge.cli.value_types import File
from cifar_edge.cli.verbosity import note, say
from cifar_edge.messages import display_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifar_edge.data import Dataset
    from cifar_edge.report import Subject
    from cifar_edge.runs.exports import Export
    from cifar_edge.runs.run import Run

NAME = "report.html"
"""Name of a run's report in its folder."""


@click.command("report")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--out",
    type=File(),
    metavar="FILE.html",
    help="File to write.  [default: report.html in the folder of the run; for several runs, or a released model, here]",
)
@image_folder_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    runs: tuple[str, ...],
    out: Path | None,
    data: str | None,
    holdout: float | None,
    strict: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Write a report to look at, in one HTML file without links.

    It shows the curves of the training, confusion matrix and classes, the wrong test images with what spoke for the
    mistake, files, gates, size, latency and RAM by target, the recipe and how to repeat it. What a run lacks is left
    out, with the command that makes it. Several runs are shown side by side, with paired differences from the first.

    RUN is a folder, a name under runs, or a released model; without it, the newest finished run. train, fold and export
    write the report of their run themselves.

    Example: cifar-edge report gn-cnn gn-cnn-nano --data sample --out comparison.html
    """
    if out is not None and out.suffix.lower() not in {".html", ".htm"}:
        raise click.UsageError(f"--out writes a .html file, not {display_name(out.name)}.")
    from cifar_edge.data.load import check_location
    from cifar_edge.files import is_released
    from cifar_edge.runs.resolve import located

    # What can be refused without torch is refused first, since its import takes seconds.
    chosen: tuple[str | None, ...] = runs or (None,)
    found = [located(name) for name in chosen]
    in_its_folder = len(found) == 1 and not is_released(found[0][0].path)
    file = out or (found[0][0].path / NAME if in_its_folder else Path(NAME))
    check_own(file)
    if data is not None:
        check_location(data)
    with needs("train"):
        import_module("cifar_edge.report")
        from cifar_edge.training.machine import limit_threads
    limit_threads()
    subjects = [_subject(run, export, data, offline, holdout, strict) for run, export in found]
    _write(file, subjects)
    if as_json:
        say(json.dumps({"report": str(file), "runs": [subject.name for subject in subjects]}, indent=2))
    else:
        say(str(file))


def check_own(file: Path) -> None:
    """Refuse to write over a file that is not a report, or where nothing can be written.

    Raises:
        CifarEdgeError: it is so.
    """
    from cifar_edge.errors import CifarEdgeError
    from cifar_edge.files import check_writable

    check_writable(file)
    if not file.exists():
        return
    with file.open("rb") as opened:
        if b'content="cifar-edge report' not in opened.read(1024):
            raise CifarEdgeError(f"{display_name(file)} is not a report of cifar-edge; give another --out")


def write_own_report(
    folder: Path, dataset: "Dataset", out: Path | None = None, warn: "Callable[[str], None]" = note
) -> Path | None:
    """Write the report of a run that a command has just finished, and return its path.

    An error that a user can cause does not fail the command, whose result is on disk: a line on stderr tells it.

    Args:
        folder: of the run.
        dataset: it was tested on, with no image that it was trained on among the test images.
        out: folder of its export, where that is not in the run's; the report is written there then.
        warn: called with that line.
    """
    from cifar_edge.errors import CifarEdgeError
    from cifar_edge.report import classify, subject_of
    from cifar_edge.runs.exports import Export
    from cifar_edge.runs.run import Run
    from cifar_edge.training.checkpoint import load_network
    from cifar_edge.training.distributed import this_worker

    if this_worker().rank > 0:
        return None
    run = Run(folder)
    inside = out is None or out == run.export.path
    file = (folder if out is None or inside else out) / NAME
    try:
        check_own(file)
        export = run.export if out is None or inside else Export(out)
        _write(file, [subject_of(run, export, classify(load_network(folder), dataset))])
    except (CifarEdgeError, OSError) as error:
        warn(f"warning: no report was written: {error}")
        return None
    return file


def _write(file: Path, subjects: "list[Subject]") -> None:
    from cifar_edge.files import write_text
    from cifar_edge.report import report_page

    write_text(file, report_page(subjects), durable=False)


def _subject(
    run: "Run", export: "Export", data: str | None, offline: bool, holdout: float | None, strict: bool
) -> "Subject":
    """What is shown of a run; images that cannot be had are only an error where they were asked for."""
    from cifar_edge.errors import DataError
    from cifar_edge.report import classify, subject_of
    from cifar_edge.training.checkpoint import load_network

    if not run.is_finished:
        return subject_of(run, export, None, "its training is not finished.")
    trained = load_network(run.path)
    try:
        dataset = load_unseen(run.path, trained.data, data, offline, holdout, strict, trained.size)
    except DataError as error:
        if data is not None:
            raise
        return subject_of(run, export, None, f"{error}.")
    return subject_of(run, export, classify(trained, dataset))
