"""Times models in turn within one run, so that a drift of the machine affects all of them."""

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from cifar_edge.measure.processor import processor
from cifar_edge.runtime.cores import cores
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME

LARGE_BATCH = 64
ROUNDS = 30
SINGLE_RUNS = 100
LARGE_RUNS = 3

_SINGLE_WARM_UP = 10
_LARGE_WARM_UP = 1
_LONGEST = 30.0
"""Seconds after which `time_alternately` makes do with fewer rounds, once for one image and once for many."""
_LEAST_ROUNDS = 3

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of the times of many calls: 50th (median), 90th and 99th."""

    p50_seconds: float
    p90_seconds: float
    p99_seconds: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """The percentiles of ``seconds``, linearly interpolated.

        Raises:
            ValueError: there are none.
        """
        if not seconds:
            raise ValueError("no times were given")
        return cls(*np.percentile(seconds, [50, 90, 99]).tolist())


@dataclass(frozen=True, slots=True)
class Timing:
    """The speed of ``session.run`` on a ready array.

    Attributes:
        p50_seconds: median latency of one image, batch 1.
        p99_seconds: 99th percentile of that.
        images_per_second: throughput at batch `LARGE_BATCH`, by the median.
    """

    p50_seconds: float
    p99_seconds: float
    images_per_second: float


def time_alternately(
    sessions: Mapping[str, Any], images: npt.NDArray[np.uint8], rounds: int = ROUNDS
) -> dict[str, Timing]:
    """Time ``InferenceSession``s in turn, each warmed up in each round.

    Args:
        sessions: name -> session that keeps the edge contract, with its own number of threads.
        images: uint8 ``[n, S, S, 3]``, at least one; the batches repeat them.
        rounds: number of rounds, in each of which every session has its turn; fewer, but three, where networks are so
            large that these would take more than half a minute.
    """
    batch = np.resize(images, (LARGE_BATCH, *images.shape[1:]))
    one = {name: session_run(session, images[:1]) for name, session in sessions.items()}
    many = {name: session_run(session, batch) for name, session in sessions.items()}
    singles = take_turns(one, rounds, SINGLE_RUNS, _SINGLE_WARM_UP, _LONGEST)
    batches = take_turns(many, rounds, LARGE_RUNS, _LARGE_WARM_UP, _LONGEST)
    latencies = {name: Latency.of(seconds) for name, seconds in singles.items()}
    return {
        name: Timing(
            p50_seconds=latencies[name].p50_seconds,
            p99_seconds=latencies[name].p99_seconds,
            images_per_second=LARGE_BATCH / float(np.median(batches[name])),
        )
        for name in sessions
    }


def session_run(session: Any, images: npt.NDArray[np.uint8]) -> Callable[[], object]:
    """One call of an ``InferenceSession`` on a ready array, uint8 ``[batch, S, S, 3]``."""
    outputs, feed = [OUTPUT_NAME], {INPUT_NAME: images}
    return lambda: session.run(outputs, feed)


def time_singles(calls: Mapping[Key, Callable[[], object]], rounds: int = ROUNDS) -> dict[Key, list[float]]:
    """Seconds of ``rounds`` times `SINGLE_RUNS` calls of each, for calls on one image: see `take_turns`."""
    return take_turns(calls, rounds, SINGLE_RUNS, _SINGLE_WARM_UP)


def time_batches(calls: Mapping[Key, Callable[[], object]], rounds: int = ROUNDS) -> dict[Key, list[float]]:
    """Seconds of ``rounds`` times `LARGE_RUNS` calls of each, for calls on many images: see `take_turns`."""
    return take_turns(calls, rounds, LARGE_RUNS, _LARGE_WARM_UP)


def take_turns(
    calls: Mapping[Key, Callable[[], object]], rounds: int, runs: int, warm_up: int, longest: float = math.inf
) -> dict[Key, list[float]]:
    """Seconds that each call took, in the order it was made.

    In each of ``rounds`` rounds every call has its turn, in the order of ``calls``: ``warm_up`` times untimed, then
    ``runs`` times timed. After ``longest`` seconds no other round begins, but three are made.
    """
    seconds: dict[Key, list[float]] = {key: [] for key in calls}
    begun = perf_counter()
    for number in range(rounds):
        if number >= _LEAST_ROUNDS and perf_counter() - begun > longest:
            break
        for key, call in calls.items():
            for _ in range(warm_up):
                call()
            for _ in range(runs):
                start = perf_counter()
                call()
                seconds[key].append(perf_counter() - start)
    return seconds


def machine() -> str:
    """The processor, the cores that this process may use, and the system, as text."""
    found = cores()
    return f"{processor()}, {found} core{'s' if found > 1 else ''}, {platform.system()} {platform.machine()}"
