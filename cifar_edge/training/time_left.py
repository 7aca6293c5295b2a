"""How long a training will take, said again where it turns out to take much more or less time."""

import time
from collections.abc import Callable
from dataclasses import replace

from cifar_edge.training.callbacks import Callbacks

_FACTOR = 1.5
"""By more than this an estimate is wrong."""
_SECONDS_TO_JUDGE = 20.0
"""The first steps are no measure: caches are cold, and another program may be busy for a moment."""


def correcting(callbacks: Callbacks, seconds: float, clock: Callable[[], float] = time.monotonic) -> Callbacks:
    """``callbacks`` that also note how long the phase ``train`` will take, whenever that is not what was said.

    Args:
        callbacks: of a training that begins now.
        seconds: how long it was said to take.
        clock: tells the seconds.
    """
    began, said = clock(), seconds

    def step(phase: str, epoch: int, epochs: int, index: int, steps: int, loss: float, accuracy: float) -> None:
        nonlocal said
        callbacks.step(phase, epoch, epochs, index, steps, loss, accuracy)
        taken = clock() - began
        if phase != "train" or taken < _SECONDS_TO_JUDGE:
            return
        expected = taken * epochs * steps / ((epoch - 1) * steps + index)
        if not said / _FACTOR <= expected <= said * _FACTOR:
            pace = "slower" if expected > said else "faster"
            callbacks.note(f"{pace} than estimated: about {duration(expected - taken)} left")
            said = expected

    return replace(callbacks, step=step)


def duration(seconds: float) -> str:
    """``seconds`` in words, without more precision than an estimate has."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
