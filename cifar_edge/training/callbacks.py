"""The functions that a training calls while it runs."""

from collections.abc import Callable
from dataclasses import dataclass

from cifar_edge.runs.epochs import EpochRecord


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Functions that a training calls; each does nothing by default.

    Attributes:
        step: called during an epoch with (phase, epoch, epochs, step, steps, mean loss so far, accuracy so far).
        epoch: called after an epoch with (record, epochs of its phase).
        note: called with a line that the user should read.
        stop: called after each step; True saves the state and raises `cifar_edge.errors.Interrupted`.
    """

    step: Callable[[str, int, int, int, int, float, float], None] = lambda *_: None
    epoch: Callable[[EpochRecord, int], None] = lambda *_: None
    note: Callable[[str], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
