"""Help for terminals with fewer columns than click wraps it to, which is 50 at least."""

import shutil
from collections.abc import Iterable

import click

_NARROW = 52
"""Columns of a terminal from which on click fits: it leaves two of them free."""
_LEAST = 24


class HelpContext(click.Context):
    """The context of a command whose help fits a narrow terminal too."""

    def make_formatter(self) -> click.HelpFormatter:
        columns = shutil.get_terminal_size().columns
        return _NarrowHelp(width=max(columns, _LEAST)) if columns < _NARROW else super().make_formatter()


class _NarrowHelp(click.HelpFormatter):
    """Gives the names of options a third of the width; text goes below a longer name."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, self.width // 3, col_spacing)
