"""Says on stderr which stage a command is at, where its result takes long."""

import sys
from types import TracebackType

from cifar_edge.cli.status_line import StatusLine
from cifar_edge.cli.verbosity import note, quiet, tell


class Stages:
    """The stages of a command, as a context: in the status line of a terminal, else a line each; none if quiet."""

    def __init__(self) -> None:
        self._status = StatusLine() if sys.stderr.isatty() and not quiet() else None

    def __enter__(self) -> "Stages":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def begin(self, stage: str) -> None:
        """Say that ``stage`` begins."""
        if self._status is None:
            note(stage)
        else:
            self._status.show(f"  {stage} ...")

    def tell(self, line: str) -> None:
        """Print a line that stays, whatever ``--quiet`` says."""
        self._clear()
        tell(line)

    def note(self, line: str) -> None:
        """Print a line that stays, unless ``--quiet`` was given."""
        if not quiet():
            self.tell(line)

    def _clear(self) -> None:
        if self._status is not None:
            self._status.clear()
