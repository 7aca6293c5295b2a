"""Text and help for narrow terminals: click wraps help to 50 columns at least."""

import os
import shutil
import sys
from collections.abc import Iterable

import click

from cifar_edge.columns import PAGE, folded

_NARROW = 52
"""Columns of a terminal from which on click fits: it leaves two of them free."""
_LEAST = 24
_LEAST_TEXT = 40
"""Columns that text and tables are laid out for even where a terminal has fewer."""


def text_columns() -> int:
    """Columns for results on stdout: those of the terminal, `PAGE` at most, and as many where there is no terminal."""
    return max(_LEAST_TEXT, min(PAGE, shutil.get_terminal_size().columns))


def stderr_columns() -> int:
    """Of the terminal that stderr is: `shutil` asks stdout, which may be a file where stderr is a terminal."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or shutil.get_terminal_size().columns
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns


def fitted(text: str) -> str:
    """Safe ``text`` for stderr: on a terminal broken between words, as wide as results; in a file as it is."""
    if not sys.stderr.isatty():
        return text
    columns = max(_LEAST_TEXT, min(PAGE, stderr_columns()))
    return "\n".join(part for line in text.split("\n") for part in folded(line, columns))


class HelpContext(click.Context):
    """The context of a command whose help fits a narrow terminal too."""

    def make_formatter(self) -> click.HelpFormatter:
        columns = shutil.get_terminal_size().columns
        return _NarrowHelp(width=max(columns, _LEAST)) if columns < _NARROW else super().make_formatter()


class _NarrowHelp(click.HelpFormatter):
    """Gives the names of options a third of the width; text goes below a longer name."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, self.width // 3, col_spacing)
