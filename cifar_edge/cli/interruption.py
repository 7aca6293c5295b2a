"""What Ctrl-C and SIGTERM do to a training."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cifar_edge.cli.verbosity import tell
from cifar_edge.errors import Interrupted

_SAID = "stopping after this step; once more stops at once"


@contextmanager
def interruptible(advice: str) -> Iterator[Callable[[], bool]]:
    """Yield what tells a training to stop: after the first SIGINT or SIGTERM. The second ends the command at once.

    Either way the command ends with 128 plus the signal's number, as a shell has it, and with ``advice`` on stderr.
    """
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        # Not by way of sys.stderr: the signal may have come while that is being written to.
        os.write(2, f"\r{_SAID:<79}\n".encode() if sys.stderr.isatty() else f"{_SAID}\n".encode())

    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(received)
    except (Interrupted, KeyboardInterrupt) as error:
        before = dict.fromkeys(before, signal.SIG_IGN)  # the command is about to end
        for number, handler in before.items():
            signal.signal(number, handler)
        what = str(error) if isinstance(error, Interrupted) else "stopped at once"
        tell(f"{what}; {advice}")
        # Of processes that train together another one may have been asked.
        sys.exit(128 + (received[-1] if received else signal.SIGINT))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
