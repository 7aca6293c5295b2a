"""Processes that are killed at the worst moment: all is written, nothing is renamed."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec
from unittest.mock import patch

P = ParamSpec("P")

_CONTEXT = multiprocessing.get_context("spawn")


def kill_before_it_renames(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run ``call``, of a module, in a process of its own, which dies as soon as it would rename its first file."""
    process = _CONTEXT.Process(target=_call, args=(call, args, kwargs))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _call(call: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    with patch.object(Path, "replace", lambda path, target: os.kill(os.getpid(), signal.SIGKILL)):
        call(*args, **kwargs)
