"""The cache folder, where fetched and computed data is kept: where it is, how it is emptied, and its lock."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from cifar_edge.errors import CifarEdgeError, DataError
from cifar_edge.files import try_lock
from cifar_edge.messages import display_name

IMAGE_FOLDERS, TEACHERS, COMPILED = "own", "teachers", "c"
"""Folders in the cache for decoded images, for logits of teachers, and for compiled C."""

COMPUTED = (IMAGE_FOLDERS, TEACHERS, COMPILED)
"""Folders in the cache whose content can be computed again."""

_POLL_SECONDS = 0.2


def cache_folder() -> Path:
    """The cache folder of this user, where the operating system wants it; ``~/.cache/cifar-edge`` on Linux.

    Raises:
        DataError: the user has no home folder.
    """
    try:
        return user_cache_path("cifar-edge", appauthor=False)
    except RuntimeError as error:
        raise DataError("this user has no home folder for the cache; set HOME or XDG_CACHE_HOME") from error


def empty_cache() -> int:
    """Remove what can be computed again: decoded images, logits of teachers, and compiled C. Fetched data stays.

    Returns:
        The number of bytes freed.

    Raises:
        CifarEdgeError: the operating system refuses to remove a file.
    """
    freed = 0
    for name in COMPUTED:
        folder = cache_folder() / name
        try:
            freed += sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            raise CifarEdgeError(f"cannot empty {display_name(folder)}: {error.strerror or error}") from error
    return freed


@contextmanager
def locked(folder: Path, waiting: Callable[[], object], instead: str) -> Iterator[None]:
    """Hold the lock of ``folder``; if another process holds it, call ``waiting`` once and wait.

    The operating system frees the lock when its process ends, however it ends.

    Args:
        folder: made if it is missing.
        waiting: called once before waiting, to tell the user.
        instead: the end of the error message, which says what to do where the cache cannot be used.

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
        raise DataError(f"cannot use the cache {display_name(folder)}: {error.strerror or error}; {instead}") from error
