"""What moves on a terminal: one line at its foot that is written over."""

import shutil

import click

from cifar_edge.messages import fit, one_line

_WIDTH = 24


def bar(done: int, total: int) -> str:
    """How far ``done`` is on the way to ``total``, as text."""
    filled = min(_WIDTH, _WIDTH * done // max(total, 1))
    return f"  [{'#' * filled}{'-' * (_WIDTH - filled)}]"


class Foot:
    """A line at the foot of stderr that is written over; lines that stay go above it."""

    def __init__(self) -> None:
        self._shown = 0

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        click.echo(fit(text), err=True)

    def show(self, text: str) -> None:
        """Write over the line at the foot."""
        text = one_line(text)[: shutil.get_terminal_size().columns - 1]
        click.echo("\r" + text.ljust(self._shown), err=True, nl=False)
        self._shown = len(text)

    def clear(self) -> None:
        """Take the line at the foot away."""
        if self._shown:
            click.echo("\r" + " " * self._shown + "\r", err=True, nl=False)
            self._shown = 0
