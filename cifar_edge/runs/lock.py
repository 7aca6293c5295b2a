"""The lock of a run: one process at a time writes to it."""

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cifar_edge.errors import CifarEdgeError, TrainingError
from cifar_edge.files import make_folder, try_lock
from cifar_edge.messages import display_name

_LOCK = ".lock"
_ATTEMPTS, _PAUSE_SECONDS = 10, 0.1
"""Locking is tried several times, because `is_held` holds the lock for a moment."""


@contextmanager
def held(folder: Path, busy: CifarEdgeError | None = None) -> Iterator[None]:
    """Lock the run, so that only this process writes to it. The folder is made if it is missing.

    The operating system releases the lock when the process ends, however it ends.

    Args:
        folder: folder of the run.
        busy: raised if another process holds the lock; None for a `TrainingError`.

    Raises:
        TrainingError: another process holds the lock.
        CifarEdgeError: the folder cannot be written.
    """
    lock = folder / _LOCK
    file: IO[bytes] | None = None
    try:
        try:
            for _ in range(_ATTEMPTS):
                make_folder(folder)  # a process that releases the lock removes an empty folder
                file = lock.open("ab")
                if _holds(file, lock):
                    break
                file.close()
                file = None
                time.sleep(_PAUSE_SECONDS)
            else:
                raise busy or _locked(folder)
        except OSError as error:
            raise CifarEdgeError(f"cannot write {display_name(folder)}: {error.strerror or error}") from error
        yield
    finally:  # also if a signal ends the process as soon as the file is there
        if file is not None:
            with file, contextlib.suppress(OSError):  # Windows does not remove open files
                if _holds(file, lock):
                    lock.unlink()
                    folder.rmdir()  # succeeds only if it is empty: the work failed before it wrote anything


def _holds(file: IO[bytes], lock: Path) -> bool:
    """Whether this process has locked ``file``, or can do so now, and it is the one called ``lock``.

    A process that releases the lock removes its file, perhaps just after it was opened here.
    """
    return try_lock(file) and lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat())


def check_free(folder: Path, busy: CifarEdgeError | None = None) -> None:
    """Refuse, before any work is done, what `held` would refuse now.

    Raises:
        TrainingError: another process holds the lock; ``busy`` in its place, if that is given.
    """
    for _ in range(_ATTEMPTS):
        if not is_held(folder):
            return
        time.sleep(_PAUSE_SECONDS)
    raise busy or _locked(folder)


def _locked(folder: Path) -> TrainingError:
    return TrainingError(f"{display_name(folder)} is locked by another process, which trains, folds or exports it")


def is_held(folder: Path) -> bool:
    """Whether a running process holds the lock."""
    # Network file systems lock only files opened for writing. Read-only is for files and disks that cannot be written.
    for mode in ("r+b", "rb"):
        with contextlib.suppress(OSError):
            if not (folder / _LOCK).is_file():  # opening a pipe would block
                return False
            with (folder / _LOCK).open(mode) as file:
                return not try_lock(file)
    return False
