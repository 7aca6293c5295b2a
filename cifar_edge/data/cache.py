"""The folder where fetched and computed data is kept: how it is emptied, and its lock, for one process at a time."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from cifar_edge.errors import CifarEdgeError, DataError
from cifar_edge.files import try_lock

IMAGE_FOLDERS, TEACHERS = COMPUTED = ("own", "teachers")
"""Folders in the cache of what can be computed again."""

_POLL_SECONDS = 0.2


def cache_folder() -> Path:
    """This user's cache, where the operating system keeps such things; ``~/.cache/cifar-edge`` on Linux.

    Raises:
        DataError: nobody knows where this user's home is.
    """
    try:
        return user_cache_path("cifar-edge", appauthor=False)
    except RuntimeError as error:
        raise DataError("this user has no home to keep a cache in; set HOME or XDG_CACHE_HOME") from error


def empty_cache() -> int:
    """Remove what can be computed again: decoded own pictures, and what teachers said. What was fetched stays.

    Returns:
        How many bytes were freed.

    Raises:
        CifarEdgeError: the operating system refuses.
    """
    freed = 0
    for name in COMPUTED:
        folder = cache_folder() / name
        try:
            freed += sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            raise CifarEdgeError(f"cannot empty {folder}: {error.strerror or error}") from error
    return freed


@contextmanager
def locked(folder: Path, waiting: Callable[[], object], instead: str) -> Iterator[None]:
    """Hold the lock of ``folder``; if another process holds it, call ``waiting`` once and wait.

    The operating system frees the lock when its process ends, however it ends.

    Args:
        folder: made if it is missing.
        waiting: tells the user.
        instead: what the error says to do where the cache cannot be used.

    Raises:
        DataError: the folder cannot be made, written or locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("ab") as file:
            if not try_lock(file):
                waiting()
                while not try_lock(file):
                    time.sleep(_POLL_SECONDS)
            yield
    except OSError as error:
        raise DataError(f"cannot use the cache {folder}: {error.strerror or error}; {instead}") from error
