"""Reading the epoch records of a run."""

import os

from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.runs.run import Run


def read_metrics(model: str | os.PathLike[str]) -> list[EpochRecord]:
    """The epochs of a finished run or of a released model, from its ``metrics.csv``.

    Raises:
        ModelError: there is no such run or model, or its ``metrics.csv`` is missing or damaged.
    """
    return Run(resolve_run(model).path).metrics()
