"""`cifar-edge`: the group of all commands.

A command's module imports click and little else, so that all of them are imported at once and `--help` stays instant;
whatever takes time is imported inside the command's function.
"""

import errno
import io
import os
import sys
from contextlib import nullcontext
from typing import Any

import click

from cifar_edge import __version__
from cifar_edge.cli import (
    benchmark,
    data,
    evaluate,
    export,
    fold,
    info,
    predict,
    report,
    runs,
    serve,
    summary,
    train,
    verify_c,
    web,
)
from cifar_edge.cli.interruption import Terminated, terminable
from cifar_edge.cli.narrow import HelpContext
from cifar_edge.cli.usage_errors import readable_usage_errors
from cifar_edge.cli.verbosity import error_text, with_options
from cifar_edge.errors import CifarEdgeError, Interrupted
from cifar_edge.messages import did_you_mean


class Commands(click.Group):
    """The group: lists the commands in the order of use, and turns errors into one line and an exit code."""

    context_class = HelpContext

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with readable_usage_errors() if args else nullcontext():  # without any, click raises the help as an error
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        # Only newer versions of click suggest commands; all versions suggest options, which start with a dash.
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command {name!r}{did_you_mean(name, self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        _prepare_streams()
        _let_threads_sleep()
        try:
            with terminable(), readable_usage_errors():
                return super().invoke(ctx)
        except CifarEdgeError as error:
            text, exit_code = error_text(error), error.exit_code
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of a pipe has gone: click exits silently
                raise
            text, exit_code = error_text(error), 1
        except Terminated as error:
            text, exit_code = "Error: terminated", error.exit_code
        except KeyboardInterrupt:
            text, exit_code = "Error: interrupted", Interrupted.exit_code
        _give_up_unwritable_stdout()
        click.echo(text, err=True)
        ctx.exit(exit_code)


class _ClosedOutput(io.RawIOBase):
    """Stands in for a stdout that was closed: writing a result fails, and a command without results goes on."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise CifarEdgeError("stdout is closed")


def _prepare_streams() -> None:
    """Replace a stdout or stderr that was closed (``>&-``), for which Python has None.

    Also let stdout escape characters that its encoding lacks, such as a Chinese name, as stderr does already.
    """
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(_ClosedOutput(), write_through=True)
    if sys.stderr is None:
        # This takes file descriptor 2: otherwise a file that a command writes may get it, and C libraries print to it.
        sys.stderr = io.TextIOWrapper(io.FileIO(os.devnull, "w"), errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _let_threads_sleep() -> None:
    """Let PyTorch's threads sleep once they have waited for each other a fraction of a millisecond.

    By default those of GNU OpenMP spin for several milliseconds. Where another program has the core that they wait for,
    nearly all of a training's processor time goes there. The pauses between the operations of a training are shorter
    than what is left, so on an idle machine the threads spin as before. OpenMP reads this when torch is imported.
    """
    if not any(os.environ.get(name) for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")):
        os.environ["GOMP_SPINCOUNT"] = "10000"


def _give_up_unwritable_stdout() -> None:
    """Replace stdout if it cannot be written: otherwise Python flushes it at exit, fails again, and returns 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Train a small CNN on CIFAR-10 or your own photographs, export it to ONNX, verify that, classify images with it.

    None of the three needs to be given a model: train writes a run, export takes the newest run, predict takes the
    newest export. If there is no run yet, export and predict take the released gn-cnn.
    """


for _module in (
    train,
    runs,
    fold,
    export,
    report,
    predict,
    evaluate,
    benchmark,
    serve,
    web,
    verify_c,
    data,
    summary,
    info,
):
    main.add_command(with_options(_module.command))
