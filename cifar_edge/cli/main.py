"""`cifar-edge`: the group of all commands.

A command's module imports click and little else, so that all of them are imported at once and `--help` stays instant;
what is heavy is imported inside the command's function.
"""

import errno
import io
import os
import sys
from typing import Any

import click

from cifar_edge import __version__
from cifar_edge.cli import benchmark, data, evaluate, export, fold, info, predict, runs, serve, summary, train, web
from cifar_edge.cli.verbosity import error_text, with_options
from cifar_edge.errors import CifarEdgeError, Interrupted
from cifar_edge.messages import did_you_mean, fit


class Commands(click.Group):
    """Lists the commands in the order of the work, and ends each with the exit code of its error."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        # Only newer versions of click hint at commands; of options, which start with a dash, all do.
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command {name!r}{did_you_mean(name, self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        _prepare_streams()
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            message = error.format_message()  # it may repeat a stranger's name of a file
            if fit(message) == message:
                raise
            raise click.UsageError(fit(message), error.ctx) from error
        except CifarEdgeError as error:
            text, exit_code = error_text(error), error.exit_code
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of a pipe has gone: click ends without a word
                raise
            text, exit_code = error_text(error), 1
            _give_up_unwritable_output()
        except KeyboardInterrupt:
            text, exit_code = "Error: interrupted", Interrupted.exit_code
        click.echo(text, err=True)
        ctx.exit(exit_code)


class _ClosedOutput(io.RawIOBase):
    """What a stdout that was closed has behind it: results have nowhere to go, a command without any goes on."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise CifarEdgeError("stdout is closed")


def _prepare_streams() -> None:
    """Where stdout or stderr was closed (``>&-``), for which Python has None, have a stream all the same.

    And let stdout, as stderr does by itself, escape what its encoding has no byte for, such as a name in Chinese.
    """
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(_ClosedOutput(), write_through=True)
    if sys.stderr is None:
        # A file, lest one that a command writes is given its number, to which libraries in C print.
        sys.stderr = io.TextIOWrapper(io.FileIO(os.devnull, "w"), errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _give_up_unwritable_output() -> None:
    """Where stdout cannot be written, let Python not try again at its end, fail once more, and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Train a small GroupNorm CNN for CIFAR-10, export it to ONNX with proof, classify images with it.

    The three commands of the story need no argument: train writes a run, export takes the newest run, predict takes
    the newest export. Where there is no run yet, the last two take the released gn-cnn.
    """


for _module in (train, runs, fold, export, predict, evaluate, benchmark, serve, web, data, summary, info):
    main.add_command(with_options(_module.command))
