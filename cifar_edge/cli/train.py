"""`cifar-edge train`: train a network in a new run, or resume one."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifar_edge.cli.completion import complete_init, complete_network, complete_own_run
from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.interruption import interruptible
from cifar_edge.cli.loading import image_folder_options, load, load_again
from cifar_edge.cli.png_option import checked_png
from cifar_edge.cli.recipe_option import set_option
from cifar_edge.cli.report import NAME as REPORT_PAGE
from cifar_edge.cli.report import write_own_report
from cifar_edge.cli.size_option import size_option
from cifar_edge.cli.value_types import File, WholeNumber
from cifar_edge.cli.verbosity import note, quiet, say
from cifar_edge.messages import one_line, shell_word

if TYPE_CHECKING:
    from cifar_edge.data import Dataset
    from cifar_edge.measure.metrics import Estimate
    from cifar_edge.runs.dataset import DatasetReference
    from cifar_edge.runs.epochs import EpochRecord
    from cifar_edge.runs.progress import CrossValidated
    from cifar_edge.runs.recipe import Recipe
    from cifar_edge.runs.summary import RunSummary
    from cifar_edge.training.callbacks import Callbacks
    from cifar_edge.training.state import RunState


@click.command("train")
@click.option("--model", metavar="NAME", shell_complete=complete_network, help="Network to train.  [default: gn-cnn]")
@click.option(
    "--epochs", metavar="N", type=WholeNumber(min=1), help="Passes over the training images, before any folding."
)
@click.option(
    "--fold-epochs",
    metavar="N",
    type=WholeNumber(min=0),
    help="Epochs of fine-tuning with the norms folded away; 0 for none.",
)
@click.option(
    "--seed",
    metavar="N",
    type=WholeNumber(min=0),
    help="Seed of the initial weights, the order of images, and augmentation.",
)
@size_option
@click.option("--recipe", "file", type=click.Path(path_type=Path), metavar="FILE", help="A recipe.toml to train by.")
@click.option(
    "--init",
    metavar="RUN",
    shell_complete=complete_init,
    help="Begin with the folded network of this run, with the 'released' one, or with 'none'.  [default: released on "
    "an image folder, else none]",
)
@click.option(
    "--teacher",
    metavar="MODEL",
    help="Learn from this run or released model too, or from efficientnet-lite0, which has ImageNet weights and suits "
    "photographs.",
)
@set_option("Change one key of the recipe, such as fold.epochs=5")
@click.option("--name", metavar="NAME", help="Write to runs/NAME.  [default: the time and the network]")
@click.option(
    "--resume",
    metavar="RUN",
    shell_complete=complete_own_run,
    help="Go on with an unfinished run, a folder or a name under runs.",
)
@click.option(
    "--cross-validate",
    "folds",
    type=WholeNumber(min=2),
    metavar="K",
    help="First measure the accuracy on the training images: train K times, each time without one K-th of them.",
)
@click.option(
    "--preview",
    type=File(),
    metavar="FILE.png",
    callback=checked_png,
    help="Only write a PNG of 24 training images, as the network sees them and augmented.",
)
@click.option("--tensorboard", is_flag=True, help="Write a log for TensorBoard too; --resume goes on with it.")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to train."
)
@image_folder_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary, or what --preview wrote, as JSON.")
def command(
    model: str | None,
    epochs: int | None,
    fold_epochs: int | None,
    seed: int | None,
    size: int | None,
    file: Path | None,
    init: str | None,
    teacher: str | None,
    settings: tuple[str, ...],
    name: str | None,
    resume: str | None,
    folds: int | None,
    preview: Path | None,
    tensorboard: bool,
    device: str,
    data: str | None,
    holdout: float | None,
    strict: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Train a network on CIFAR-10, or on an image folder of your own.

    Without options: gn-cnn for 20 epochs, of which the last five fine-tune it with its norms folded away; some minutes
    on two cores. The run, runs/TIME-NETWORK, holds recipe, weights, metrics, a summary and plots.

    On an image folder it begins with the released network, whose norms are folded already; how long it trains, and at
    which size, depends on the images. --init none, or --fold-epochs, trains as on CIFAR-10.

    Ctrl-C, or SIGTERM, finishes the step, saves and exits with 130 (143). --resume goes on, on a CPU to the same
    weights, bit for bit; after anything else that ended a training it goes on from the last whole epoch.

    Example: cifar-edge train --data pets --holdout 0.2 --set flip=false
    """
    if resume is not None:
        others: dict[str, object] = {"--model": model, "--epochs": epochs, "--fold-epochs": fold_epochs, "--seed": seed}
        others |= {
            "--size": size,
            "--recipe": file,
            "--init": init,
            "--teacher": teacher,
            "--cross-validate": folds,
            "--preview": preview,
            "--set": settings or None,
            "--name": name,
            "--tensorboard": tensorboard or None,
        }
        if given := ", ".join(option for option, value in others.items() if value is not None):
            raise click.UsageError(f"--resume takes the run's own recipe; leave out {given}.")
    if preview is not None and folds is not None:
        raise click.UsageError("--preview trains nothing: leave out --cross-validate.")
    if any(setting.partition("=")[0].strip() == "model" for setting in settings):
        raise click.UsageError("--set changes the recipe of one network; give another with --model.")
    if name is not None and (Path(name).name != name or name in {"", ".", ".."}):
        raise click.BadParameter(f"{name!r} is not a folder's name.", param_hint="--name")
    from cifar_edge.data.load import DATA_VARIABLE
    from cifar_edge.runs.run import Run

    with needs("train"):
        from cifar_edge.cli.train_recipe import Options, advice, init_setting, recipe_of, with_budget
        from cifar_edge.training.distributed import joined
        from cifar_edge.training.machine import choose_device, limit_threads
        from cifar_edge.training.phases import teacher_folders
    if tensorboard:
        with needs("tensorboard"):
            import_module("cifar_edge.training.tensorboard")
    limit_threads()
    choose_device(device)  # an error before the data is loaded
    with joined(device) as folder_to_write:
        if resume is not None:

            def load_its_data(reference: "DatasetReference", recipe: "Recipe") -> "Dataset":
                return load_again(reference, data, offline, holdout, strict, recipe.size, recipe.source_size)

            folder, summary, report = go_on(resume, device, load_its_data, folder_to_write)
        else:
            changes = {
                "model": model,
                "epochs": epochs,
                "fold.epochs": fold_epochs,
                "seed": seed,
                "size": size,
                "teacher": teacher,
            }
            asked = {key: value for key, value in changes.items() if value is not None}
            init, settings = init_setting(init, settings)
            options = Options(model, file, init, settings, asked, data)
            recipe = recipe_of(options)
            teacher_folders(recipe)  # as with the device
            folder = Path("runs", name or f"{datetime.now():%Y%m%d-%H%M%S}-{recipe.model}")
            Run(folder).check_new()
            if data is None and not os.environ.get(DATA_VARIABLE):
                note("training on CIFAR-10; for images of your own, a folder a class, give --data DIR")
            dataset = load(data, offline, holdout, strict, recipe.size, recipe.source_size)
            recipe = with_budget(recipe, options, len(dataset.train_labels) - recipe.holdout)
            if dataset.folder is not None:
                for line in advice(recipe, options, len(dataset.labels)):
                    note(line)
            if preview is not None:
                _write_preview(recipe, dataset, preview)
                if as_json:
                    say(json.dumps({"preview": str(preview), "size": recipe.size}, indent=2))
                return
            measured = None if folds is None else _cross_validated(recipe, dataset, folds, device)
            summary = begin(recipe, dataset, folder, device, tensorboard, folder_to_write, measured)
            report = write_own_report(folder, dataset)
        say(summary_json(summary, folder, report) if as_json else summary_text(summary, folder, report))


def _write_preview(recipe: "Recipe", dataset: "Dataset", file: Path) -> None:
    from cifar_edge.files import write_bytes
    from cifar_edge.training.preview import preview

    content = io.BytesIO()
    preview(recipe, dataset).save(content, "PNG")
    write_bytes(file, content.getvalue())
    note(f"{file}: training images as the network sees them, each with an augmented version below it")


def _cross_validated(recipe: "Recipe", dataset: "Dataset", folds: int, device: str) -> "CrossValidated":
    from cifar_edge.runs.progress import CrossValidated
    from cifar_edge.training.cross_validation import cross_validate

    def report(fold: int, right: "Estimate") -> None:
        note(f"fold {fold}/{folds}  {right.value:.2%} of {right.images:,} images")

    note(f"cross-validation: {folds} trainings, each without one {folds}th of the {len(dataset.train_labels):,} images")
    with interruptible("the cross-validation is lost; begin it again") as stop:
        measured = cross_validate(recipe, dataset, folds, device=device, stop=stop, report=report)
    return CrossValidated(measured.value, measured.images)


def begin(
    recipe: "Recipe",
    dataset: "Dataset",
    folder: Path,
    device: str,
    tensorboard: bool,
    folder_to_write: Callable[[Path], Path],
    cross_validated: "CrossValidated | None" = None,
) -> "RunSummary":
    """Train in a new run and return its summary; `joined` yields ``folder_to_write``."""
    with needs("train"):
        from cifar_edge.training.run import train

    note(f"training {recipe.model} on {dataset.name}, {len(dataset.train_labels)} images, in {folder}")
    written = folder_to_write(folder)
    with (
        interruptible(_resume_hint(folder)) as stop,
        reporting(_accuracy_name(recipe), recipe.epochs, recipe.fold.epochs, stop) as callbacks,
        _logged(callbacks, written, recipe, tensorboard) as callbacks,
    ):
        return train(recipe, dataset, written, device=device, callbacks=callbacks, cross_validated=cross_validated)


def go_on(
    name: str,
    device: str,
    load: "Callable[[DatasetReference, Recipe], Dataset]",
    folder_to_write: Callable[[Path], Path],
) -> "tuple[Path, RunSummary, Path | None]":
    """Resume a run, or note that it is finished; returns its folder, its summary and its report, if it has one."""
    with needs("train"):
        from cifar_edge.training.run import resume
        from cifar_edge.training.state import load_state
    from cifar_edge.runs.resolve import find_run
    from cifar_edge.runs.run import STATE

    run = find_run(name)
    folder = run.path
    if run.is_finished and not (folder / STATE).exists():
        summary = run.whole_summary()
        note(f"{folder} is finished: there is nothing to go on with")
        page = folder / REPORT_PAGE
        return folder, summary, page if page.exists() else None
    state = load_state(folder)
    recipe = state.recipe
    dataset = load(state.data, recipe)
    note(f"going on with {recipe.model} on {dataset.name} in {folder}; {_done(state)}")
    has_log = any(folder.glob("events.out.tfevents.*"))
    written = folder_to_write(folder)
    with (
        interruptible(_resume_hint(folder)) as stop,
        reporting(_accuracy_name(recipe), recipe.epochs, recipe.fold.epochs, stop) as callbacks,
        _logged(callbacks, written, recipe, has_log) as callbacks,
    ):
        summary = resume(written, dataset, device=device, callbacks=callbacks)
    return folder, summary, write_own_report(folder, dataset)


def _done(state: "RunState") -> str:
    """Where an unfinished run stands: its phase, and how many epochs of it are done."""
    epochs = state.recipe.fold.epochs if state.phase == "fold" else state.recipe.epochs
    done = sum(record.phase == state.phase for record in state.records)
    return f"in phase {state.phase}, {done} of {epochs} epochs are done"


@contextmanager
def _logged(callbacks: "Callbacks", folder: Path, recipe: "Recipe", wanted: bool) -> "Iterator[Callbacks]":
    if not wanted:
        yield callbacks
        return
    with needs("tensorboard"):
        from cifar_edge.training.tensorboard import logged
    with logged(callbacks, folder, recipe.epochs, _accuracy_name(recipe)) as callbacks:
        yield callbacks


def _resume_hint(folder: Path) -> str:
    return f"go on with: cifar-edge train --resume {shell_word(str(folder))}"


def summary_json(summary: "RunSummary", folder: Path, report: Path | None) -> str:
    """The summary of a run as JSON, with its folder and the path of its report."""
    return json.dumps({**summary.to_record(), "folder": str(folder), "report": report and str(report)}, indent=2)


def summary_text(summary: "RunSummary", folder: Path, report: Path | None) -> str:
    """The summary of a run as text, with the path of its report if there is one."""
    from cifar_edge.measure.metrics import accuracy as accuracy_of

    lines = []
    if summary.cross_validated_accuracy is not None and summary.cross_validated_images:
        count = summary.cross_validated_images
        estimate = accuracy_of(round(summary.cross_validated_accuracy * count), count)
        lines.append(
            f"{'cross-validation':<22}{estimate.value:.2%} of {count:,} images "
            f"(95 % interval {estimate.low:.2%} to {estimate.high:.2%})"
        )
    for title, accuracy, images, folded in (
        ("training", summary.train_accuracy, summary.train_images, None),
        ("validation", summary.holdout_accuracy, summary.holdout_images, summary.folded_holdout_accuracy),
        ("test", summary.test_accuracy, summary.test_images, summary.folded_test_accuracy),
    ):
        if accuracy is not None and images is not None:
            lines.append(f"{f'{title} accuracy':<22}{accuracy:.2%} of {images:,} images")
        if folded is not None:
            lines.append(f"{'  with norms folded':<22}{folded:.2%}")
    lines.append(f"{'parameters':<22}{summary.parameters:,}")
    lines.append(f"{'time':<22}{summary.seconds:.0f} s on {summary.device}")
    lines.append(f"{'run':<22}{folder}")
    if report is not None:
        lines.append(f"{'report':<22}{report}")
    return "\n".join(lines)


@contextmanager
def reporting(accuracy_name: str, epochs: int, fold_epochs: int, stop: Callable[[], bool]) -> "Iterator[Callbacks]":
    """Callbacks that report progress on stderr: with a bar on a terminal, else with a line an epoch.

    Args:
        accuracy_name: "validation" if there are validation images, else "test".
        epochs: of training; 0 if only the folding is done.
        fold_epochs: of fine-tuning.
        stop: called after each step; True ends the training.
    """
    from cifar_edge.training.callbacks import Callbacks

    if quiet() or not sys.stderr.isatty():
        yield Callbacks(
            epoch=lambda record, epochs: note(_epoch_line(record, epochs, accuracy_name)), note=note, stop=stop
        )
        return
    with needs("train"):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=None, figures="")

        def step(
            phase: str, epoch: int, phase_epochs: int, index: int, steps: int, loss: float, accuracy: float
        ) -> None:
            done = ((epoch - 1) if phase == "train" else epochs + epoch - 1) * steps + index
            total = (epochs + fold_epochs) * steps
            progress.update(
                task,
                completed=done,
                total=total,
                description=f"{phase} {epoch}/{phase_epochs}",
                figures=f"loss {loss:.3f}  accuracy {accuracy:.1%}",
            )

        def note_above(line: str) -> None:
            progress.console.print(one_line(line), highlight=False, markup=False)

        yield Callbacks(
            step, lambda record, epochs: note_above(_epoch_line(record, epochs, accuracy_name)), note_above, stop
        )


def _accuracy_name(recipe: "Recipe") -> str:
    """Which images `EpochRecord.accuracy` is measured on."""
    return "validation" if recipe.holdout else "test"


def _epoch_line(record: "EpochRecord", epochs: int, accuracy_name: str) -> str:
    return (
        f"{record.phase:<5} {record.epoch:>{len(str(epochs))}}/{epochs}  loss {record.loss:.3f}  "
        f"training {record.train_accuracy:.2%}  {accuracy_name} {record.accuracy:.2%}  {record.seconds:.0f} s"
    )
