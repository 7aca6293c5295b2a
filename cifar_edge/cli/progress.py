"""Counts the inputs of `cifar-edge predict`, and shows its progress on a terminal."""

import contextlib
import sys
from collections.abc import Iterable
from threading import Thread
from time import monotonic

import click

from cifar_edge.cli.status_line import StatusLine, bar
from cifar_edge.errors import CifarEdgeError
from cifar_edge.messages import fit

_SECONDS = 0.1
"""Between two updates of the bar."""


class Progress:
    """Counts inputs, and shows the count in the status line if ``shown``.

    Args:
        shown: whether stderr is a terminal that shows nothing else.
        everything: the inputs once more, to be counted in the background; None if that is impossible.

    Attributes:
        done: inputs that were classified or failed.
        failed: how many of them could not be read.
        before: inputs that were done before this command began.
    """

    def __init__(self, shown: bool, everything: Iterable[object] | None) -> None:
        self.done = self.failed = self.before = 0
        self._status = StatusLine() if shown else None
        self._began = self._looked = monotonic()
        self._total: int | None = None
        if shown and everything is not None:
            # A daemon thread: the command need not wait for the count.
            Thread(target=self._count, args=(everything,), daemon=True).start()

    def line(self, text: str) -> None:
        """Print a line on stderr, above the bar."""
        if self._status is None:
            click.echo(fit(text), err=True)
        else:
            self._status.line(text)

    def add(self, failed: bool) -> None:
        """Count one input."""
        self.done += 1
        self.failed += failed
        if self._status is not None and monotonic() - self._looked >= _SECONDS:
            self._looked = monotonic()
            self._status.show(self._text(self._looked - self._began))

    def __enter__(self) -> None:
        self._began = self._looked = monotonic()

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.clear()

    def _count(self, everything: Iterable[object]) -> None:
        with contextlib.suppress(CifarEdgeError):  # the command meets the same error and reports it
            self._total = sum(1 for _ in everything)

    def _text(self, seconds: float) -> str:
        rate = self.done / max(seconds, 1e-9)
        done = self.done + self.before
        failed = f"  {self.failed:,} failed" if self.failed else ""
        if self._total is None:
            return f"  {done:,} inputs{failed}  {rate:,.0f}/s"
        left = max(self._total - done, 0) / max(rate, 1e-9)
        return f"{bar(done, self._total)} {done:,}/{self._total:,}{failed}  {rate:,.0f}/s  {_duration(left)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def alone_on_terminal(results_elsewhere: bool) -> bool:
    """Whether stderr is a terminal and results go elsewhere, so that a bar does not disturb them."""
    return sys.stderr.isatty() and (results_elsewhere or not sys.stdout.isatty())
