"""Errors of a wrong use of the command line: on one line, with the option that was probably meant."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from cifar_edge.messages import one_line

_ALIKE = 0.65
"""The least ratio of `difflib` of names that are suggested; by its 0.6, which click takes, --threads is --threshold."""


@contextmanager
def readable_usage_errors() -> Iterator[None]:
    """Make a usage error that is raised inside one line, though it may contain a name from outside.

    Of an option that does not exist click says which others share some letters, dashes too; here it is what was meant.
    """
    try:
        yield
    except click.UsageError as error:
        said = error.format_message()
        text = one_line(_no_such_option(error) if isinstance(error, click.NoSuchOption) else said)
        if text == said:
            raise
        raise click.UsageError(text, error.ctx) from error


def _no_such_option(error: click.NoSuchOption) -> str:
    said, given = f"No such option {error.option_name!r}", error.option_name
    if error.ctx is None:
        return f"{said}."
    command, known = error.ctx.command, _options(error.ctx.command)
    if isinstance(command, click.Group) and any(given in _options(each) for each in command.commands.values()):
        return f"{said} before the command; write it after: {error.ctx.command_path} COMMAND {given}."
    if "--set" in known and (key := _recipe_key(given)):
        return f"{said}; it is a key of the recipe: --set {key}=VALUE."
    meant = _meant(given, known)
    return f"{said} (did you mean {meant}?)" if meant else f"{said}."


def _options(command: click.Command) -> list[str]:
    return ["--help", *(name for parameter in command.params for name in parameter.opts if name.startswith("-"))]


def _recipe_key(option: str) -> str | None:
    """The key of a recipe that is written as ``option`` in other programs."""
    from cifar_edge.runs.recipe import KEYS

    key = option.removeprefix("--").replace("-", "_")
    return next((each for each in (key, key.replace("fold_", "fold.", 1)) if each in KEYS), None)


def _meant(given: str, known: list[str]) -> str | None:
    """The one of the long options that begins with ``given``, else the one that is most similar to it, if any is."""
    from difflib import get_close_matches  # slow to import, and needed for errors only

    long = {name.removeprefix("--"): name for name in known if name.startswith("--")}
    word = given.lstrip("-")
    begun = [name for name in long if len(word) > 1 and name.startswith(word)]
    similar = begun if len(begun) == 1 else get_close_matches(word, list(long), n=1, cutoff=_ALIKE)
    return long[similar[0]] if similar else None
