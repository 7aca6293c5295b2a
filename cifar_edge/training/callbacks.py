"""Who is told of a training while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass

from cifar_edge.runs.epochs import EpochRecord


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Who follows a training: called during an epoch with the step and the loss so far, and after it.

    Attributes:
        step: (phase, epoch, epochs, step, steps, mean loss so far, accuracy so far).
        epoch: (record, epochs of its phase).
        note: a line about what a person should know of this training.
        stop: asked after each step whether to save the state and raise `cifar_edge.errors.Interrupted`.
    """

    step: Callable[[str, int, int, int, int, float, float], None] = lambda *_: None
    epoch: Callable[[EpochRecord, int], None] = lambda *_: None
    note: Callable[[str], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
