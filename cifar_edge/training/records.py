"""What is told of a training epoch by epoch, and who is told."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from cifar_edge.json_values import count, number, text

STAGES = ("train", "fold")
"""Of a run."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One line of ``metrics.csv``.

    Attributes:
        stage: ``train``, or ``fold`` for the fine-tuning of the folded network.
        epoch: number within the stage, from 1.
        learning_rate: at its end.
        loss: mean over its steps, on augmented training images.
        train_accuracy: on the same images as they passed by, in [0, 1].
        accuracy: of the averaged weights on held-out images, or on test images if none are held out, in [0, 1].
        seconds: since the training began, without those in which it was interrupted.
    """

    stage: str
    epoch: int
    learning_rate: float
    loss: float
    train_accuracy: float
    accuracy: float
    seconds: float

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """From values of JSON.

        Raises:
            ValueError, KeyError, TypeError: they are no such record.
        """
        numbers = ("learning_rate", "loss", "train_accuracy", "accuracy", "seconds")
        return cls(text(record["stage"], STAGES), count(record["epoch"]), *(number(record[name]) for name in numbers))


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who follows a training: called during an epoch with the step and the loss so far, and after it.

    Attributes:
        step: (stage, epoch, epochs, step, steps, mean loss so far, accuracy so far).
        epoch: (record, epochs of its stage).
        note: a line about what a person should know of this training.
        stop: asked after each step whether to save the state and raise `cifar_edge.errors.Interrupted`.
    """

    step: Callable[[str, int, int, int, int, float, float], None] = lambda *_: None
    epoch: Callable[[EpochRecord, int], None] = lambda *_: None
    note: Callable[[str], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False


def to_csv(records: Sequence[EpochRecord]) -> str:
    """The records as ``metrics.csv`` has them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in asdict(record).items()})
    return text.getvalue()
