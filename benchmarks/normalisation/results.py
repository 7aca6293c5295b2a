"""The study's results: a line for each training, and for each point of a loss curve, as CSV files in one folder."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from benchmarks import results_file

TRAININGS = "trainings.csv"
CURVES = "curves.csv"


@dataclass(frozen=True, kw_only=True)
class Training:
    """All that the study varies in a training.

    Attributes:
        norm: ``group``, ``layer``, ``batch`` or ``none``; the network is ``s8-`` and this.
        batch_size: images a step.
        learning_rate: peak of the schedule.
        train_images: images of an epoch.
        epochs: passes over them.
        seed: of `cifar_edge.runs.recipe.Recipe`.
    """

    norm: str
    batch_size: int
    learning_rate: float
    train_images: int
    epochs: int
    seed: int

    @classmethod
    def of(cls, line: "Training") -> Self:
        """The training that a line of a results file is about."""
        return cls(**{field.name: getattr(line, field.name) for field in fields(Training)})


@dataclass(frozen=True, kw_only=True)
class Row(Training):
    """What a training gave; accuracies are in evaluation mode, in [0, 1], and None if it diverged.

    Attributes:
        train_accuracy: on the training images, without augmentation; final trainings only.
        held_out_accuracy: on the held-out training images.
        test_accuracy: on the test images; final trainings only.
        precise_test_accuracy: the same with batch norm's statistics taken anew over the training images; None for
            other norms.
        seconds: of the training, evaluations included.
    """

    train_accuracy: float | None
    held_out_accuracy: float | None
    test_accuracy: float | None
    precise_test_accuracy: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Point(Training):
    """A point of a training's curve.

    Attributes:
        images: seen so far.
        loss: mean over the images since the point before, augmented, in training mode.
        held_out_accuracy: in evaluation mode, at the ends of epochs; else None.
    """

    images: int
    loss: float
    held_out_accuracy: float | None


def read(folder: Path) -> list[Row]:
    """All trainings.

    Raises:
        DataError: the file is damaged.
    """
    return results_file.read(folder / TRAININGS, Row)


def read_curves(folder: Path) -> list[Point]:
    """The points of all final trainings.

    Raises:
        DataError: the file is damaged.
    """
    return results_file.read(folder / CURVES, Point)


def add(folder: Path, row: Row, points: list[Point]) -> None:
    """Add a finished training and its curve.

    Raises:
        DataError: a file is damaged.
        CifarEdgeError: a file cannot be written.
    """
    training = Training.of(row)
    # An interruption between the two files leaves a curve without its training, which is then done again.
    others = [point for point in read_curves(folder) if Training.of(point) != training]
    results_file.write(folder / CURVES, Point, [*others, *points])
    results_file.append(folder / TRAININGS, row)
