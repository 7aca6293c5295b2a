"""Reads and writes ``metrics.csv``: the metrics of a training, one line an epoch."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, get_type_hints

from cifar_edge.errors import ModelError
from cifar_edge.json_values import count, number, text
from cifar_edge.messages import display_name

PHASES = ("train", "fold")
"""The phases of a run. Files of earlier versions call a phase a stage."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One line of ``metrics.csv``.

    Attributes:
        phase: ``train``, or ``fold`` for the fine-tuning of the folded network.
        epoch: number within the phase, from 1.
        learning_rate: learning rate at the end of the epoch.
        loss: mean over the steps of the epoch, on augmented training images.
        train_accuracy: accuracy on the same images, during the epoch, in [0, 1].
        accuracy: accuracy of the averaged weights on the validation images, or on the test images if none are held
            out, in [0, 1].
        seconds: since the training began, without interruptions.
    """

    phase: str
    epoch: int
    learning_rate: float
    loss: float
    train_accuracy: float
    accuracy: float
    seconds: float

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """From JSON values.

        Raises:
            ValueError, KeyError, TypeError: they are not such a record.
        """
        numbers = ("learning_rate", "loss", "train_accuracy", "accuracy", "seconds")
        return cls(
            text(record.get("phase", record.get("stage")), PHASES),
            count(record["epoch"]),
            *(number(record[name]) for name in numbers),
        )


def to_csv(records: Sequence[EpochRecord]) -> str:
    """The records as the text of ``metrics.csv``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in asdict(record).items()})
    return text.getvalue()


def read_csv(path: Path) -> list[EpochRecord]:
    """The records in a file that `to_csv` made.

    Raises:
        ModelError: the file is missing or damaged.
    """
    kinds = get_type_hints(EpochRecord)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                EpochRecord.from_record({name: kind(row[name]) for name, kind in kinds.items()})
                for row in ({"phase": line.get("stage"), **line} for line in csv.DictReader(file))
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ModelError(f"{display_name(path)} does not hold the metrics of a training ({error})") from error
