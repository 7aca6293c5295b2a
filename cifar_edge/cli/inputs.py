"""The inputs of `cifar-edge predict`: files, folders, patterns, a list of names, an image on stdin."""

import codecs
import glob
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cifar_edge.errors import CifarEdgeError, ImageError
from cifar_edge.runtime.inputs import Input

STDIN = "-"

_LONGEST_NAME = 1 << 16
"""No system has longer file names, so a file with a longer one is not a list of names."""

_SEPARATORS = re.escape("".join(filter(None, (os.sep, os.altsep))))
_ANY_FOLDERS = re.compile(rf"(?:^|(?<=[{_SEPARATORS}]))\*\*(?:[{_SEPARATORS}]+|$)")
"""The part of a pattern that stands for any number of folders."""


class Inputs:
    """The inputs of a command line, found while they are iterated over.

    A folder gives the files with a suffix that Pillow reads, sorted by their full names. Hidden files and folders, and
    links to folders, are left out, as they are for ``**``. Names are held in memory for one folder and its parents.

    Args:
        arguments: files, folders, patterns (``*``, ``?``, ``[a-z]``, ``**``) unless a file has that very name, or
            ``-`` for an image on stdin, which is read at once.
        recursive: whether folders are read, with all folders in them.
        listed: a file with more names, which are not patterns; empty names are skipped.
        null: whether names in ``listed`` end with a null byte instead of a line.

    Attributes:
        skipped: how many files in the folders so far were hidden, or not image files by their suffixes.
        unread: how many of these were photographs of a format that is not read, such as HEIC.
    """

    def __init__(
        self, arguments: Sequence[str], recursive: bool = False, listed: Path | None = None, null: bool = False
    ) -> None:
        self._arguments, self._recursive, self._listed, self._null = arguments, recursive, listed, null
        self._stdin = _stdin() if STDIN in arguments else None
        self.skipped = 0
        self.unread = 0

    def __iter__(self) -> Iterator[Input]:
        for argument in self._arguments:
            if argument == STDIN and self._stdin is not None:
                yield Input(STDIN, self._stdin)
            elif glob.has_magic(argument) and not os.path.lexists(argument):
                yield from self._matches(argument)
            else:
                yield from self._one(argument)
        if self._listed is not None:
            for name in _names(self._listed, b"\0" if self._null else b"\n"):
                yield from self._one(os.fsdecode(name))

    @property
    def repeatable(self) -> bool:
        """Whether a second iteration finds the same inputs, which it does not if names come through a pipe."""
        return self._listed is None or (str(self._listed) != STDIN and self._listed.is_file())

    def missing_folders(self) -> list[str]:
        """With ``recursive``, the arguments that do not exist and have no image suffix: folders were meant."""
        if not self._recursive:
            return []
        from cifar_edge.runtime.formats import image_suffixes

        suffixes = image_suffixes()
        names = [name for name in self._arguments if name not in {"", STDIN} and not glob.has_magic(name)]
        return [name for name in names if Path(name).suffix.lower() not in suffixes and not os.path.lexists(name)]

    def _matches(self, pattern: str) -> Iterator[Input]:
        matches = sorted(set(_expanded(pattern)))
        if not matches:
            yield _error(pattern, "no file has this name, and none matches it as a pattern")
        for match in matches:
            yield from self._one(match)

    def _one(self, name: str) -> Iterator[Input]:
        if not name:  # Path("") would be the current folder
            yield Input(name, ImageError("the name of an input is empty"))
        elif not _is_folder(Path(name)):
            yield Input(name, name)
        elif not self._recursive:
            yield _error(name, "a folder, not an image; --recursive reads the images in it")
        else:
            found = False
            for found_input in self._walk(name):
                found = True
                yield found_input
            if not found:
                yield _error(name, "no file in this folder has the suffix of an image")

    def _walk(self, folder: str) -> Iterator[Input]:
        from cifar_edge.runtime.formats import image_suffixes

        suffixes = image_suffixes()
        levels = [iter([folder.rstrip(os.sep) + os.sep])]
        while levels:
            for name in levels[-1]:
                if name.endswith(os.sep):
                    try:
                        levels.append(self._sorted_entries(name, suffixes))
                    except OSError as error:
                        yield _error(name, f"this folder cannot be listed ({error.strerror or error})")
                        continue
                    break
                yield Input(name, name)
            else:
                levels.pop()

    def _sorted_entries(self, folder: str, suffixes: frozenset[str]) -> Iterator[str]:
        """The names of images and folders in ``folder``; those of folders end with a separator."""
        from cifar_edge.runtime.formats import unread_photographs

        names, skipped = [], []
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    if not entry.is_symlink() and not entry.name.startswith("."):
                        names.append(entry.name + os.sep)
                elif entry.name.startswith(".") or Path(entry.name).suffix.lower() not in suffixes:
                    skipped.append(entry.name)
                else:
                    names.append(entry.name)
        self.skipped += len(skipped)
        self.unread += len(unread_photographs(name for name in skipped if not name.startswith(".")))
        names.sort()
        return (folder + name for name in names)


def _expanded(pattern: str) -> Iterator[str]:
    """What a pattern matches. `glob` follows links for ``**``, and never ends if two lead to a parent folder."""
    found = _ANY_FOLDERS.search(pattern)
    if not found:
        yield from glob.iglob(pattern)  # noqa: PTH207 - Path.glob takes no absolute pattern, and finds what is hidden
        return
    head, tail = pattern[: found.start()], pattern[found.end() :] or "*"
    folders = list(_expanded(head)) if glob.has_magic(head) else [head]
    while folders:
        folder = folders.pop()
        yield from _expanded(glob.escape(folder) + tail)
        try:
            with os.scandir(folder or os.curdir) as entries:
                below = [entry for entry in entries if _is_folder(entry) and not entry.name.startswith(".")]
        except OSError:  # as glob: what cannot be listed has no matches
            continue
        folders += [folder + entry.name + os.sep for entry in below if not entry.is_symlink()]


def _stdin() -> bytes:
    """The bytes on stdin, at most one more than an image may have, so that a longer one is refused."""
    from cifar_edge.runtime.images import MAX_FILE_BYTES

    return sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if sys.stdin is not None else b""


def _error(name: str, reason: str) -> Input:
    from cifar_edge.messages import display_name

    return Input(name, ImageError(f"{display_name(name)}: {reason}"))


def _is_folder(entry: "Path | os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except (OSError, ValueError):  # a link to itself, a name too long, a null byte: reading it raises the error
        return False


def _names(listed: Path, separator: bytes) -> Iterator[bytes]:
    """The names in a list, each as soon as it can be read: the list may be a pipe that is still written to.

    Raises:
        CifarEdgeError: the list cannot be read, or is not a list of names.
    """
    rest, in_lines, as_utf8 = b"", separator == b"\n", _as_utf8()
    try:
        # Unbuffered: Python ends with a fatal error if a thread still waits for buffered stdin.
        stdin = str(listed) == STDIN
        with open(0 if stdin else listed, "rb", buffering=0, closefd=not stdin) as file:
            while block := file.read(_LONGEST_NAME):
                block = as_utf8(block) if in_lines else block
                if in_lines and b"\0" in block:
                    raise CifarEdgeError(f"{listed} is not a list of names: one has a null byte; -0 separates by them")
                *names, rest = (rest + block).split(separator)
                yield from filter(None, map(_stripped, names) if in_lines else names)
                if len(rest) > _LONGEST_NAME:
                    raise CifarEdgeError(f"{listed} is not a list of names: one has more than {_LONGEST_NAME:,} bytes")
    except OSError as error:
        raise CifarEdgeError(f"cannot read the list {listed}: {error.strerror or error}") from error
    if rest := _stripped(rest) if in_lines else rest:
        yield rest


def _as_utf8() -> Callable[[bytes], bytes]:
    """A function from the blocks of a list, in order, to the same without a byte order mark; UTF-16 becomes UTF-8.

    PowerShell writes UTF-16.
    """
    decoder: codecs.IncrementalDecoder | None = None
    begun = False

    def as_utf8(block: bytes) -> bytes:
        nonlocal decoder, begun
        if not begun:
            begun = True
            if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                decoder = codecs.getincrementaldecoder("utf-16")("replace")
            block = block.removeprefix(codecs.BOM_UTF8)
        return block if decoder is None else decoder.decode(block).encode()

    return as_utf8


def _stripped(name: bytes) -> bytes:
    return name.removesuffix(b"\r")  # of a list written on Windows
