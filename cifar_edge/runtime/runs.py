"""The folders of runs: what lies in them, which one is meant, and who is training in it."""

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar_edge.errors import CifarEdgeError, ModelError, TrainingError
from cifar_edge.files import try_lock
from cifar_edge.runtime.messages import display_name
from cifar_edge.runtime.resolve import RUNS

RECIPE = "recipe.toml"
METRICS = "metrics.csv"
STATE = "state.safetensors"
"""What an unfinished run goes on from; a finished one has none."""

_LOCK = ".lock"
_ATTEMPTS, _PAUSE_SECONDS = 10, 0.1
"""Whoever looks whether a run is held holds it for a moment."""


def find_run(name: str) -> Path:
    """The folder of the run, finished or not: that path, or that name under ``./runs``.

    Raises:
        ModelError: there is no such folder.
    """
    for folder in (Path(name), RUNS / name):
        if name and folder.is_dir():
            return folder
    raise ModelError(f"no run is called {display_name(name)!r}; give a folder, or the name of one under {RUNS}")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the run for this process, which alone may write to it; the folder is made if it is missing.

    The operating system lets go of it when the process ends, however it ends.

    Raises:
        TrainingError: another process holds it.
        CifarEdgeError: the folder cannot be written.
    """
    lock = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            file = lock.open("ab")
            # Whoever let go of the lock has removed the file too, perhaps since it was opened here.
            if try_lock(file) and lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                break
            file.close()
            time.sleep(_PAUSE_SECONDS)
        else:
            raise TrainingError(f"{folder} is in the hands of another process, which trains or folds it")
    except OSError as error:
        raise CifarEdgeError(f"cannot write {folder}: {error.strerror or error}") from error
    with file:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows removes no open file
                lock.unlink()
                folder.rmdir()  # if it is empty, because the work failed before it began


def is_held(folder: Path) -> bool:
    """Whether a living process holds the run."""
    try:
        with (folder / _LOCK).open("r+b") as file:
            return not try_lock(file)
    except OSError:
        return False
