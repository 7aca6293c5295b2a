"""How long models take, measured in alternation within one run, so that a drift of the machine meets all of them."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME

LARGE_BATCH = 64
_ROUNDS = 30
_SINGLE_RUNS = 100
_LARGE_RUNS = 3
_WARM_UP = 10


@dataclass(frozen=True, slots=True)
class Timing:
    """What ``session.run`` on a ready array takes.

    Attributes:
        p50_seconds: median latency of one image, batch 1.
        p99_seconds: 99th percentile of the same.
        images_per_second: throughput at batch `LARGE_BATCH`, by the median.
    """

    p50_seconds: float
    p99_seconds: float
    images_per_second: float


def time_alternately(
    sessions: Mapping[str, Any], images: npt.NDArray[np.uint8], rounds: int = _ROUNDS
) -> dict[str, Timing]:
    """Time ``InferenceSession``s side by side, each warmed up again in each round.

    Args:
        sessions: name -> session that keeps the edge contract; it decides how many threads run.
        images: uint8 ``[n, 32, 32, 3]``, at least one; the batches are made of them.
        rounds: how often all sessions take their turn.
    """
    single, batch = images[:1], np.resize(images, (LARGE_BATCH, *images.shape[1:]))
    singles: dict[str, list[float]] = {name: [] for name in sessions}
    batches: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            _times(session, single, _WARM_UP)
            singles[name] += _times(session, single, _SINGLE_RUNS)
        for name, session in sessions.items():
            _times(session, batch, 1)
            batches[name] += _times(session, batch, _LARGE_RUNS)
    return {
        name: Timing(
            p50_seconds=float(np.percentile(singles[name], 50)),
            p99_seconds=float(np.percentile(singles[name], 99)),
            images_per_second=LARGE_BATCH / float(np.median(batches[name])),
        )
        for name in sessions
    }


def machine() -> str:
    """The processor, its cores and the system, for people who read a figure measured on it."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def _times(session: Any, images: npt.NDArray[np.uint8], runs: int) -> list[float]:
    feed = {INPUT_NAME: images}
    times = []
    for _ in range(runs):
        start = perf_counter()
        session.run([OUTPUT_NAME], feed)
        times.append(perf_counter() - start)
    return times


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
