"""An attack in a process of its own, of bounded time and memory, and what came of it."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

MOST_SECONDS = 20.0
MOST_BYTES = 8 << 30
"""Of the address space of an attacked process."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attack.

    Attributes:
        seconds: until the process ended, or was killed.
        peak_bytes: the most physical memory that it held.
        code: its exit code; negative: the signal that ended it.
        lines: what it printed.
    """

    seconds: float
    peak_bytes: int
    code: int
    lines: list[str]

    def __str__(self) -> str:
        """One line: time, memory, how it ended, and the last of what it said."""
        said = self.lines[-1] if self.lines else ""
        end = f"exit {self.code}" if self.code >= 0 else f"signal {-self.code}"
        costs = f"{self.seconds:5.1f} s  {self.peak_bytes / 1e6:6,.0f} MB"
        return f"{costs}  {end:<9} {len(self.lines):>3} lines  {said!a:.150}"


def attempt(arguments: Sequence[str | Path], folder: Path, seconds: float = MOST_SECONDS) -> Outcome:
    """Run this Python with ``arguments`` in ``folder``, for at most so many ``seconds`` and within `MOST_BYTES`."""
    begin = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES)),
        )
        timer = Timer(seconds, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    return Outcome(time.monotonic() - begin, usage.ru_maxrss * 1024, process.returncode, lines)
