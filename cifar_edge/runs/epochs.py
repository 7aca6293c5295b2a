"""What a training records epoch by epoch: ``metrics.csv``."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, get_type_hints

from cifar_edge.errors import ModelError
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


def to_csv(records: Sequence[EpochRecord]) -> str:
    """The records as ``metrics.csv`` has them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in asdict(record).items()})
    return text.getvalue()


def read_csv(path: Path) -> list[EpochRecord]:
    """The records in a file that has what `to_csv` made.

    Raises:
        ModelError: the file is missing or damaged.
    """
    kinds = get_type_hints(EpochRecord)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                EpochRecord(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ModelError(f"{path} holds no metrics of a training ({error})") from error
