"""What all downloads have in common: limits, progress, failures, and the check of the file."""

import hashlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cifar_edge.data.cifar10.dataset_spec import Archive


@dataclass(frozen=True, slots=True)
class Limits:
    """When a source is too slow, so that the next one is tried.

    A source may take ``answer`` seconds to begin. Then it must send ``rate`` bytes a second, on average over each
    ``window`` seconds. So 170 MB take at most 15 minutes, and a dead or stalled source is left within seconds. The
    original host of CIFAR-10 has sent 50 to 80 kB/s since June 2026, which is too slow.
    """

    answer: float = 15.0
    rate: float = 200_000.0
    window: float = 10.0


LIMITS = Limits()
SLOW_LIMITS = Limits(answer=60.0, rate=10_000.0, window=60.0)
"""For a slow line, where every source is slow: hours are better than nothing, and Ctrl-C loses nothing."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """The progress of a download.

    Attributes:
        done: bytes received.
        total: bytes of the whole file.
        rate: bytes a second, over the last `Limits.window` seconds.
    """

    done: int
    total: int
    rate: float

    def __str__(self) -> str:
        """Such as ``86 of 139 MB, 7.1 MB/s, 7 s left``."""
        text = f"{self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB, {describe_rate(self.rate)}"
        if self.rate <= 0:
            return text
        seconds = (self.total - self.done) / self.rate
        return f"{text}, {seconds:.0f} s left" if seconds < 100 else f"{text}, {seconds / 60:.0f} min left"


Progress = Callable[[Transfer], None]


def describe_rate(rate: float) -> str:
    """Bytes a second in a readable unit: ``61 kB/s``, ``7.1 MB/s``."""
    return f"{rate / 1e6:.1f} MB/s" if rate >= 999_500 else f"{rate / 1e3:.0f} kB/s"


class SourceFailed(Exception):
    """A source is dead, wrong or truncated. The message follows the name of the source in a line."""


class TooSlow(SourceFailed):
    """A source is slower than its `Limits` allow; ``rate`` is its rate in bytes a second."""

    def __init__(self, rate: float, limits: Limits) -> None:
        super().__init__(
            f"too slow, {describe_rate(rate)} over {limits.window:g} s (at least {describe_rate(limits.rate)} needed)"
        )
        self.rate = rate


class Meter:
    """Measures one source: reports its progress, and raises if it is too slow."""

    def __init__(self, total: int, limits: Limits, progress: Progress) -> None:
        self._total = total
        self._limits = limits
        self._progress = progress
        self.begin()

    def begin(self) -> None:
        """Start the clock: from now on, bytes should come."""
        self._received = 0
        self._samples = deque([(time.monotonic(), 0)])

    def update(self, done: int, received: int) -> None:
        """Count ``received`` more bytes. ``done`` bytes of the file are here now.

        Raises:
            TooSlow: over the last `Limits.window` seconds, the source sent too few bytes.
        """
        self._received += received
        now = time.monotonic()
        if now - self._samples[-1][0] < self._limits.window / 40:
            return
        self._samples.append((now, self._received))
        while now - self._samples[1][0] >= self._limits.window:
            self._samples.popleft()
        began, before = self._samples[0]
        rate = (self._received - before) / (now - began)
        self._progress(Transfer(done, self._total, rate))
        if done < self._total and now - began >= self._limits.window and rate < self._limits.rate:
            raise TooSlow(rate, self._limits)


def check(path: Path, archive: Archive) -> None:
    """Check that the file is the archive.

    Raises:
        SourceFailed: its SHA-256 differs.
    """
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != archive.sha256:
            raise SourceFailed(f"wrong, another SHA-256 than {archive.name}")
