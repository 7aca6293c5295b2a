"""The lock of a run: one process at a time writes to it."""

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar_edge.errors import CifarEdgeError, TrainingError
from cifar_edge.files import make_folder, try_lock

_LOCK = ".lock"
_ATTEMPTS, _PAUSE_SECONDS = 10, 0.1
"""Whoever looks whether a run is held holds it for a moment."""


@contextmanager
def held(folder: Path, busy: CifarEdgeError | None = None) -> Iterator[None]:
    """Hold the run for this process, which alone may write to it; the folder is made if it is missing.

    The operating system lets go of it when the process ends, however it ends.

    Args:
        folder: of the run.
        busy: raised if another process holds it; None for the error below.

    Raises:
        TrainingError: another process holds it.
        CifarEdgeError: the folder cannot be written.
    """
    lock = folder / _LOCK
    try:
        for _ in range(_ATTEMPTS):
            make_folder(folder)  # whoever let go of it removes an empty one
            file = lock.open("ab")
            # Whoever let go of the lock has removed the file too, perhaps since it was opened here.
            if try_lock(file) and lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                break
            file.close()
            time.sleep(_PAUSE_SECONDS)
        else:
            raise busy or TrainingError(
                f"{folder} is in the hands of another process, which trains, folds or exports it"
            )
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
    # Read-only where it is another user's, or on a read-only disk; a network's file system locks only what is written.
    for mode in ("r+b", "rb"):
        with contextlib.suppress(OSError):
            if not (folder / _LOCK).is_file():  # a pipe would be waited for
                return False
            with (folder / _LOCK).open(mode) as file:
                return not try_lock(file)
    return False
