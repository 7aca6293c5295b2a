"""Shows the progress of a training on stderr, with a bar on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.narrow import fitted
from cifar_edge.cli.verbosity import note, quiet
from cifar_edge.messages import one_line

if TYPE_CHECKING:
    from cifar_edge.runs.epochs import EpochRecord
    from cifar_edge.runs.recipe import Recipe
    from cifar_edge.training.callbacks import Callbacks


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
            progress.console.print(fitted(one_line(line)), highlight=False, markup=False, soft_wrap=True)

        yield Callbacks(
            step, lambda record, epochs: note_above(_epoch_line(record, epochs, accuracy_name)), note_above, stop
        )


def accuracy_name(recipe: "Recipe") -> str:
    """Which images `EpochRecord.accuracy` is measured on."""
    return "validation" if recipe.holdout else "test"


def _epoch_line(record: "EpochRecord", epochs: int, accuracy_name: str) -> str:
    return (
        f"{record.phase:<5} {record.epoch:>{len(str(epochs))}}/{epochs}  loss {record.loss:.3f}  "
        f"training {record.train_accuracy:.2%}  {accuracy_name} {record.accuracy:.2%}  {record.seconds:.0f} s"
    )
