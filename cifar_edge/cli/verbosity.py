"""What commands say on stderr, and the two options by which every command can be told to say less or more.

Results are on stdout and errors on stderr, whatever the options. ``--quiet`` leaves out what is neither: notes, such as
which model was taken, and progress. ``--verbose`` says with each error where it came from: the traceback.
"""

import traceback
from typing import Any

import click

from cifar_edge.messages import fit, one_line

_LONGEST = 10_000
"""Characters of an error: a path may have 4,096 bytes, and what repeats more than a few of them shows nothing."""
_QUIET, _VERBOSE = "cifar_edge.quiet", "cifar_edge.verbose"
"""Keys of click's ``Context.meta``, which a command shares with the group it is called by."""


def with_options(command: click.Command) -> click.Command:
    """``command`` with ``--quiet`` and ``--verbose``, which its function never sees."""
    command.params += [
        _option("-q", "--quiet", _QUIET, "Print results and errors, nothing else."),
        _option("-v", "--verbose", _VERBOSE, "Print where an error came from, as a traceback."),
    ]
    return command


def quiet() -> bool:
    """Whether the command that runs was told to be quiet."""
    return _told(_QUIET)


def say(text: str) -> None:
    """Print a result for people on stdout, whatever is in it: see `cifar_edge.messages`."""
    click.echo(fit(text))


def tell(text: str) -> None:
    """Print a line on stderr, whatever is in it."""
    click.echo(one_line(text), err=True)


def note(text: str) -> None:
    """Print a line on stderr that is neither a result nor an error."""
    if not quiet():
        tell(text)


def error_text(error: Exception) -> str:
    """What is printed of ``error``: one line, below its traceback if that is wanted."""
    where = "".join(traceback.format_exception(error)) if _told(_VERBOSE) else ""
    said = one_line(str(error))
    return f"{fit(where)}Error: {said if len(said) <= _LONGEST else f'{said[:_LONGEST]}...'}"


def _told(key: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(key))


def _option(short: str, long: str, key: str, text: str) -> click.Option:
    def remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        context.meta[key] = value

    return click.Option([short, long], is_flag=True, expose_value=False, callback=remember, help=text)
