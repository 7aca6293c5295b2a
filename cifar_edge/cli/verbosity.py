"""Prints the output of commands, and adds the options ``--quiet`` and ``--verbose`` to each.

Results go to stdout and errors to stderr, whatever the options. ``--quiet`` leaves out everything else: progress, and
notes such as which model was taken. ``--verbose`` prints the traceback of an error.
"""

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from cifar_edge.cli.narrow import HelpContext, fitted
from cifar_edge.errors import CifarEdgeError
from cifar_edge.messages import fit, one_line

_LONGEST = 10_000
"""Most characters of an error message. A path may have 4,096 bytes, and a message may contain several."""
_QUIET, _VERBOSE = "cifar_edge.quiet", "cifar_edge.verbose"
"""Keys of click's ``Context.meta``, which a command shares with its group."""


def with_options(command: click.Command) -> click.Command:
    """Add ``--quiet`` and ``--verbose`` to ``command``, whose function does not receive them, and fit its help."""
    command.context_class = HelpContext
    command.params += [
        _option("-q", "--quiet", _QUIET, "Print results and errors, nothing else."),
        _option("-v", "--verbose", _VERBOSE, "Print the traceback of an error."),
    ]
    return command


def quiet() -> bool:
    """Whether ``--quiet`` was given."""
    return _is_set(_QUIET)


def say(text: str) -> None:
    """Print a result as text on stdout, made safe for a terminal (see `cifar_edge.messages`)."""
    with writing_stdout():
        click.echo(fit(text))


@contextmanager
def writing_stdout() -> Iterator[None]:
    """Name stdout in an error of writing to it. A broken pipe is left alone: click exits silently then.

    Raises:
        CifarEdgeError: stdout cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE or error.filename is not None:
            raise
        raise CifarEdgeError(f"cannot write to stdout: {error.strerror or error}") from error


def tell(text: str) -> None:
    """Print a line on stderr, made safe for a terminal."""
    click.echo(fitted(one_line(text)), err=True)


def note(text: str) -> None:
    """Print a line on stderr, unless ``--quiet`` was given."""
    if not quiet():
        tell(text)


def error_text(error: Exception) -> str:
    """The text printed for ``error``: one line, after its traceback with ``--verbose``."""
    where = "".join(traceback.format_exception(error)) if _is_set(_VERBOSE) else ""
    said = one_line(str(error))
    return fit(where) + fitted(f"Error: {said if len(said) <= _LONGEST else f'{said[:_LONGEST]}...'}")


def _is_set(key: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(key))


def _option(short: str, long: str, key: str, text: str) -> click.Option:
    def remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        context.meta[key] = value

    return click.Option([short, long], is_flag=True, expose_value=False, callback=remember, help=text)
