"""Atomic and durable writes, bounded reads, locks, and the paths of released files."""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cifar_edge.errors import CifarEdgeError, ModelError
from cifar_edge.messages import display_name

_PACKAGE = Path(__file__).resolve().parent
_ZOO_IN_WHEEL = _PACKAGE / "_zoo"
_CHECKOUT = _PACKAGE.parent

_TEMPORARY = ".cifar-edge-"
"""How the names of temporary files begin."""


@contextmanager
def replacing(path: Path, *, durable: bool = False, called: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``. On success it is renamed to ``path``, on error it is removed.

    The temporary name keeps the suffix, for writers that choose the format by it. Temporary files of killed processes
    are removed by the next process that writes to the folder: see `remove_leftovers`.

    Args:
        path: its folder is made if it is missing, and removed again on error.
        durable: wait until the file is on the disk, so that a power cut leaves either it or the previous file. Caches
            do not need that.
        called: what errors call the file, where a user does not know it by ``path``.

    Raises:
        CifarEdgeError: the operating system refuses the write (such as a full disk, or a read-only folder).
    """
    temporary: Path | None = None
    made: list[Path] = []
    try:
        made = make_folder(path.parent)
        remove_leftovers(path.parent)
        claim, temporary = _claimed(path.parent, path.suffix)
        with claim:
            yield temporary
            if durable:
                _sync_file(temporary)
            if sys.platform == "win32":
                claim.close()  # Windows cannot rename an open file
            temporary.replace(path)
            made = []
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise CifarEdgeError(f"cannot write {display_name(called or path)}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):  # others have written to it meanwhile
                folder.rmdir()


def _claimed(folder: Path, suffix: str) -> tuple[IO[bytes], Path]:
    """A new temporary file, open. While it is open it is locked, so that other processes know that it is in use."""
    while True:
        path = folder / f"{_TEMPORARY}{os.urandom(8).hex()}{suffix}"
        file = path.open("xb")  # with the usual permissions, unlike those of tempfile
        try:
            # Windows cannot remove an open file, and its locks would keep the writer out too.
            if sys.platform == "win32" or (try_lock(file) and path.exists()):
                return file, path
        except OSError:  # a file system without locks, where leftovers are not removed either
            return file, path
        file.close()  # another process removed it as a leftover before it was locked


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that killed processes left in ``folder``; those in use stay."""
    for temporary in folder.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):  # already gone, in use on Windows, of another user, or no locks here
            if sys.platform == "win32":
                temporary.unlink()
                continue
            with temporary.open("r+b") as file:
                if try_lock(file):
                    temporary.unlink()


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of ``path``, a regular file of at most ``most`` bytes; a pipe or a device might never end.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is not a regular file, or it is larger.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    if status.st_size > most:
        raise ValueError(f"it has {status.st_size:,} bytes; at most {most:,} are read")
    with path.open("rb") as file:
        return file.read(most)


def write_bytes(path: Path, content: bytes, *, durable: bool = True, called: Path | None = None) -> None:
    """Write ``content`` to ``path``, whole or not at all; for ``durable`` and ``called`` see `replacing`.

    Raises:
        CifarEdgeError: as `replacing`.
    """
    with replacing(path, durable=durable, called=called) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str, *, durable: bool = True) -> None:
    """Write ``content`` to ``path`` as UTF-8, whole or not at all; for ``durable`` see `replacing`.

    Raises:
        CifarEdgeError: as `replacing`.
    """
    write_bytes(path, content.encode(), durable=durable)


def check_writable(path: Path) -> None:
    """Refuse, before any work is done, a file that could not be written after it.

    Raises:
        CifarEdgeError: one of its parents is a file, or nothing may be written there.
    """
    there = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not there.is_dir():
        raise CifarEdgeError(f"cannot write {display_name(path)}: {display_name(there)} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise CifarEdgeError(f"cannot write {display_name(path)}: {os.strerror(errno.EACCES)}")


def make_folder(folder: Path) -> list[Path]:
    """Make ``folder`` and its parents, if they are missing, and wait until they are on the disk.

    Returns:
        The folders that were missing, the innermost first.

    Raises:
        OSError: the operating system refuses.
    """
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:  # their own texts do not say which of the parents it is
        file = next(path for path in missing if os.path.lexists(path))
        raise NotADirectoryError(error.errno, f"{display_name(file)} is not a folder") from error
    for path in missing:
        sync_folder(path.parent)
    return missing


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; return False, and change nothing, if the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux
        return False
    in_current_folder, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    names = (os.fsencode(path.absolute()) for path in (one, other))
    return bool(renameat2(in_current_folder, next(names), in_current_folder, next(names), both) == 0)


def _sync_file(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk, if the system supports that."""
    with suppress(OSError):  # Windows cannot open a folder, and some network file systems cannot sync one
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def zoo() -> Path:
    """The folder that holds the released ``models/`` and ``export/``: in the wheel, else the checkout."""
    return _ZOO_IN_WHEEL if _ZOO_IN_WHEEL.is_dir() else _CHECKOUT


def released(name: str) -> Path:
    """The path of a released file or folder, such as ``export/gn-cnn/gn-cnn.int8.onnx``.

    Raises:
        ModelError: no released file has that name.
    """
    path = zoo() / name
    if not path.exists():
        raise ModelError(f"no released file is called {name!r}")
    return path


def is_released(path: Path) -> bool:
    """Whether ``path`` is among the released models or their exports, which commands write to only if told to."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(zoo().resolve() / kind) for kind in ("models", "export"))


if sys.platform == "win32":
    import msvcrt

    def try_lock(file: IO[bytes]) -> bool:
        """Lock ``file`` until it is closed; return False if another process has it."""
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def try_lock(file: IO[bytes]) -> bool:
        """Lock ``file`` until it is closed or this process ends; return False if another process has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
