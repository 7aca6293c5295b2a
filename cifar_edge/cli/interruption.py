"""Lets Ctrl-C and SIGTERM end a command in order, and stop a training after its current step."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cifar_edge.cli.verbosity import tell
from cifar_edge.errors import Interrupted

_SAID = "stopping after this step; once more stops at once"


class Terminated(KeyboardInterrupt):
    """What SIGTERM raises within `terminable`, as Ctrl-C raises KeyboardInterrupt."""

    exit_code = 128 + signal.SIGTERM


@contextmanager
def terminable() -> Iterator[None]:
    """Let the first SIGTERM raise `Terminated`, so that what is half written is removed. The second ends the process.

    A handler that the host program has set stays, and so does the default outside the main thread.
    """

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def interruptible(advice: str) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns True after the first SIGINT or SIGTERM. The second one ends the command at once.

    Either way the exit code is 128 plus the signal's number, as in a shell, and ``advice`` is printed on stderr.
    """
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt
        # Not through sys.stderr, which may be in the middle of a write when the signal comes.
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
        # In a distributed training another process may have received the signal.
        sys.exit(128 + (received[-1] if received else signal.SIGINT))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
