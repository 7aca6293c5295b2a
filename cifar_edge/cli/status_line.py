"""The status line of a terminal: the last line of stderr, written over as work progresses."""

import click

from cifar_edge.cli.narrow import fitted, stderr_columns
from cifar_edge.columns import cut, padded, width
from cifar_edge.messages import fit, one_line

_WIDTH = 24


def bar(done: int, total: int) -> str:
    """A progress bar as text."""
    filled = min(_WIDTH, _WIDTH * done // max(total, 1))
    return f"  [{'#' * filled}{'-' * (_WIDTH - filled)}]"


class StatusLine:
    """The last line of stderr, which is written over; lines that stay are printed above it."""

    def __init__(self) -> None:
        self._shown = 0

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        click.echo(fitted(fit(text)), err=True)

    def show(self, text: str) -> None:
        """Write over the status line."""
        text = cut(one_line(text), stderr_columns() - 1, "")
        click.echo("\r" + padded(text, self._shown), err=True, nl=False)
        self._shown = width(text)

    def clear(self) -> None:
        """Remove the status line."""
        if self._shown:
            click.echo("\r" + " " * self._shown + "\r", err=True, nl=False)
            self._shown = 0
