"""Begins a training, goes on with one, cross-validates, and draws what it would see: all with progress on stderr."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.interruption import interruptible
from cifar_edge.cli.loading import data_again
from cifar_edge.cli.report import NAME as REPORT_PAGE
from cifar_edge.cli.report import write_own_report
from cifar_edge.cli.train_progress import accuracy_name, reporting
from cifar_edge.cli.verbosity import note
from cifar_edge.messages import display_name, shell_word

if TYPE_CHECKING:
    from cifar_edge.data import Dataset
    from cifar_edge.measure.metrics import Estimate
    from cifar_edge.runs.dataset import DatasetReference
    from cifar_edge.runs.out_of_fold import OutOfFold
    from cifar_edge.runs.recipe import Recipe
    from cifar_edge.runs.run import Run
    from cifar_edge.runs.summary import RunSummary
    from cifar_edge.training.callbacks import Callbacks
    from cifar_edge.training.state import RunState


def write_preview(recipe: "Recipe", dataset: "Dataset", file: Path) -> None:
    """Write training images as the network sees them to a PNG file."""
    from cifar_edge.files import write_bytes
    from cifar_edge.training.preview import preview

    content = io.BytesIO()
    preview(recipe, dataset).save(content, "PNG")
    write_bytes(file, content.getvalue())
    note(f"{display_name(file)}: training images as the network sees them, each with an augmented version below it")


def cross_validated(recipe: "Recipe", dataset: "Dataset", folds: int, device: str) -> "list[OutOfFold]":
    """How ``folds`` trainings judge the training images that they did not see.

    Raises:
        Interrupted: it was told to stop.
    """
    from cifar_edge.training.cross_validation import cross_validate

    def report(fold: int, right: "Estimate") -> None:
        note(f"fold {fold}/{folds}  {right.value:.2%} of {right.images:,} images")

    note(f"cross-validation: {folds} trainings, each without one {folds}th of the {len(dataset.train_labels):,} images")
    with interruptible("the cross-validation is lost; begin it again") as stop:
        return cross_validate(recipe, dataset, folds, device=device, stop=stop, report=report)


def begin(
    recipe: "Recipe",
    dataset: "Dataset",
    folder: Path,
    device: str,
    tensorboard: bool,
    folder_to_write: Callable[[Path], Path],
    out_of_fold: "Sequence[OutOfFold]" = (),
) -> "RunSummary":
    """Train in a new run and return its summary; `joined` yields ``folder_to_write``."""
    with needs("train"):
        from cifar_edge.training.run import train

    note(
        f"training {recipe.model} on {display_name(dataset.name)}, {len(dataset.train_labels)} images, in "
        f"{display_name(folder)}"
    )
    written = folder_to_write(folder)
    with (
        interruptible(_resume_hint(folder)) as stop,
        reporting(accuracy_name(recipe), recipe.epochs, recipe.fold.epochs, stop) as callbacks,
        _logged(callbacks, written, recipe, tensorboard) as callbacks,
    ):
        return train(recipe, dataset, written, device=device, callbacks=callbacks, out_of_fold=out_of_fold)


def check_resumable(run: "Run", data: str | None, holdout: float | None) -> None:
    """Refuse what `go_on` would refuse without a look at the weights.

    Raises:
        ModelError: an unfinished run has no state.
        TrainingError: another process holds the run.
        DataError: its images, or ``data``, are not there; or ``holdout`` is not that of the training.
    """
    run.check_resumable()
    if (progress := run.progress) is not None:
        data_again(progress.data, data, holdout)


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
        note(f"{display_name(folder)} is finished: there is nothing to go on with")
        page = folder / REPORT_PAGE
        return folder, summary, page if page.exists() else None
    state = load_state(folder)
    recipe = state.recipe
    dataset = load(state.data, recipe)
    note(f"going on with {recipe.model} on {display_name(dataset.name)} in {display_name(folder)}; {_done(state)}")
    has_log = any(folder.glob("events.out.tfevents.*"))
    written = folder_to_write(folder)
    with (
        interruptible(_resume_hint(folder)) as stop,
        reporting(accuracy_name(recipe), recipe.epochs, recipe.fold.epochs, stop) as callbacks,
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
    with logged(callbacks, folder, recipe.epochs, accuracy_name(recipe)) as callbacks:
        yield callbacks


def _resume_hint(folder: Path) -> str:
    return f"go on with: cifar-edge train --resume {shell_word(str(folder))}"
