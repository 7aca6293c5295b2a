"""The data set of a command: its options, and what a person sees while it is fetched."""

import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cifar_edge.data import Dataset
    from cifar_edge.data.transfer import Transfer

_BAR_WIDTH = 24


def data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--data`` and ``--offline``, as ``data: str | None`` and ``offline: bool``."""
    function = click.option("--offline", is_flag=True, help="Fetch nothing: fail if the data is not here.")(function)
    return click.option(
        "--data",
        metavar="DIR",
        help="Folder or file that holds CIFAR-10, or 'sample' for the few hundred images inside this package. "
        "Default: $CIFAR_EDGE_DATA, else the cache, fetched if missing.",
    )(function)


def load(data: str | None, offline: bool) -> "Dataset":
    """Load the data set, with lines on stderr about what is fetched, and a bar if that is a terminal.

    Raises:
        DataError: as `cifar_edge.data.load_dataset`.
    """
    from cifar_edge.data import load_dataset

    if not sys.stderr.isatty():
        return load_dataset(data, offline=offline, report=lambda line: click.echo(line, err=True))
    bar = _Bar()
    try:
        return load_dataset(data, offline=offline, report=bar.line, progress=bar.update)
    finally:
        bar.clear()


def data_named(name: str) -> str | None:
    """The ``--data`` that means the data set of that name, as a run's summary has it."""
    return "sample" if name == "cifar10-sample" else None


class _Bar:
    """One line at the foot of the terminal that is written over; lines that stay go above it."""

    def __init__(self) -> None:
        self._shown = 0

    def line(self, text: str) -> None:
        self.clear()
        click.echo(text, err=True)

    def update(self, transfer: "Transfer") -> None:
        filled = _BAR_WIDTH * transfer.done // transfer.total
        text = f"  [{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] {transfer}"[: shutil.get_terminal_size().columns - 1]
        click.echo("\r" + text.ljust(self._shown), err=True, nl=False)
        self._shown = len(text)

    def clear(self) -> None:
        if self._shown:
            click.echo("\r" + " " * self._shown + "\r", err=True, nl=False)
            self._shown = 0
