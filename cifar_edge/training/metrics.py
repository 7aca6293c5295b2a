"""What a run has recorded epoch by epoch, read back."""

import csv
import os
from typing import get_type_hints

from cifar_edge.errors import ModelError
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.runs.status import METRICS
from cifar_edge.training.records import EpochRecord


def read_metrics(model: str | os.PathLike[str]) -> list[EpochRecord]:
    """The epochs of a finished run, or of a released model by its name, from ``metrics.csv``.

    Raises:
        ModelError: there is no such run or model, or its ``metrics.csv`` is missing or damaged.
    """
    kinds = get_type_hints(EpochRecord)
    path = resolve_run(model).path / METRICS
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                EpochRecord(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ModelError(f"{path} holds no metrics of a training ({error})") from error
