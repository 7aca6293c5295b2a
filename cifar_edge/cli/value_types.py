"""Types of the values of options, whose errors say what to give; those of click speak of an "integer range"."""

from pathlib import Path
from typing import Any

import click

from cifar_edge.messages import display_name


class WholeNumber(click.IntRange):
    """A whole number of ``min`` or more, up to ``max`` if there is one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            limits = f"of {self.min} or more" if self.max is None else f"from {self.min} to {self.max}"
            self.fail(f"{str(value)!r} is not a whole number {limits}.", param, ctx)


class Share(click.types.FloatParamType):
    """A number between 0 and 1, such as ``example``."""

    name = "share"

    def __init__(self, example: float) -> None:
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not 0 < share < 1:  # nan too
            self.fail(f"{str(value)!r} is not a share between 0 and 1, such as {self.example}.", param, ctx)
        return share


class Folder(click.Path):
    """The path of a folder; with ``exists`` it has to be there."""

    def __init__(self, exists: bool = False) -> None:
        super().__init__(exists=exists, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from cifar_edge.runs.reading import path_is

        path = Path(value)
        if path_is(Path.is_file, path):
            self.fail(f"{display_name(path)} is a file; give a folder.", param, ctx)
        if self.exists and not path_is(Path.exists, path):
            self.fail(f"there is no folder {display_name(path)}.", param, ctx)
        return super().convert(value, param, ctx)


class File(click.Path):
    """The path of a file; with ``exists`` it has to be there, or is - for stdin."""

    def __init__(self, exists: bool = False) -> None:
        super().__init__(exists=exists, dir_okay=False, allow_dash=exists, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from cifar_edge.runs.reading import path_is

        path = Path(value)
        is_stdin = self.allow_dash and str(path) == "-"
        if path_is(Path.is_dir, path) and not is_stdin:
            self.fail(f"{display_name(path)} is a folder; give a file.", param, ctx)
        if self.exists and not is_stdin and not path_is(Path.exists, path):
            self.fail(f"there is no file {display_name(path)}.", param, ctx)
        return super().convert(value, param, ctx)
