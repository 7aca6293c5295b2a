"""Resumes a file of prediction records, however the command that wrote it was stopped."""

import codecs
import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from cifar_edge.cli.prediction_records import MAY_BE_MISSING, Csv, JsonLines, Record, Writer, columns, csv_line, name_of
from cifar_edge.errors import CifarEdgeError
from cifar_edge.files import try_lock
from cifar_edge.messages import display_name
from cifar_edge.runtime.inputs import Input

_LONGEST_FIELD = (1 << 31) - 1
"""Most characters of a CSV field. Python's default is 131,072, and the error for a long name may be longer."""


_LONGEST_HEADER = 1 << 16
"""Most bytes of a CSV header."""


class Done:
    """The inputs that a file has records for, as digests of their names, of 16 bytes each.

    Attributes:
        records: number of records in the file.
        failed: how many of them are errors.
        models: model -> how many of them are its predictions.
    """

    def __init__(self) -> None:
        self.records = self.failed = 0
        self.models: Counter[str] = Counter()
        self._names: Counter[bytes] = Counter()

    def add(self, said: Record) -> None:
        """Count one record.

        Raises:
            ValueError: it is not a record of an input.
        """
        self._names[_digest(name_of(said))] += 1
        self.records += 1
        if said.get("error"):
            self.failed += 1
        else:
            self.models[str(said.get("model"))] += 1

    def take(self, given: Input) -> bool:
        """Whether ``given`` has a record, which is then used up: an input that is given twice needs two."""
        if not self._names:
            return False
        name = _digest(os.fsencode(given.name))
        count = self._names[name]
        if count > 1:
            self._names[name] -= 1
        else:
            del self._names[name]  # no error if it is missing, unlike in a dict
        return count > 0


@contextmanager
def resumed(path: Path, as_csv: bool, top: int) -> Iterator[tuple[Writer, Done]]:
    """A writer that appends to ``path``, and the inputs that the file had before. An incomplete last line is removed.

    Raises:
        CifarEdgeError: the file cannot be read or written, holds something else, or another process is writing to it.
    """
    shown = display_name(path)
    try:
        if path.exists() and not path.is_file():
            raise CifarEdgeError(f"{shown} is not a regular file; --resume needs one that it can read again")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if not try_lock(file):
                raise CifarEdgeError(f"another process is writing to {shown}")
            done = Done()
            header = _header(file, top) if as_csv else None
            end = _read(path, file, header, done)
            file.truncate(end)
            file.seek(end)
            yield (JsonLines(file) if header is None else Csv(file, header, with_header=end == 0)), done
    except OSError as error:
        raise CifarEdgeError(f"cannot write {shown}: {error.strerror or error}") from error


def _header(file: BinaryIO, top: int) -> list[str]:
    """The columns of a CSV file: those of today, less those that an earlier version did not write."""
    file.seek(0)
    line = file.readline(_LONGEST_HEADER).removeprefix(codecs.BOM_UTF8)
    today = columns(top)
    own = line.decode(errors="replace").rstrip("\r\n").split(",")
    known = [column for column in today if column in own or column not in MAY_BE_MISSING]
    return known if line.endswith(b"\n") and own == known else today


def _read(path: Path, file: BinaryIO, header: list[str] | None, done: Done) -> int:
    """Count the complete records in ``file``; returns the position after them."""
    csv.field_size_limit(_LONGEST_FIELD)
    file.seek(0)
    end = 0
    for number, line in enumerate(_whole_lines(file, quoted=header is not None), start=1):
        end += len(line)
        try:
            if header is None:
                done.add(json.loads(line))
            elif number > 1:
                done.add(dict(zip(header, next(csv.reader([line.decode()])), strict=True)))
            # An editor may have added a byte order mark and carriage returns.
            elif line.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n") != csv_line(header):
                raise ValueError("other columns")
        except (ValueError, AttributeError, RecursionError, csv.Error) as error:
            kind = "JSON Lines" if header is None else f"CSV with the columns {','.join(header)}"
            raise CifarEdgeError(
                f"record {number} of {display_name(path)} is not one that predict writes as {kind}"
            ) from error
    start = b'{"version":' if header is None else csv_line(header)
    file.seek(end)
    rest = file.read(len(start))
    if end == 0 and not start.startswith(rest):  # neither empty nor an incomplete first record
        raise CifarEdgeError(
            f"{display_name(path)} contains something other than records of predict; it was not changed"
        )
    return end


def _whole_lines(file: BinaryIO, quoted: bool) -> Iterator[bytes]:
    """The complete lines of ``file``. If ``quoted``, line breaks inside quotes do not end a line."""
    parts: list[bytes] = []
    inside = False
    for part in file:
        parts.append(part)
        inside ^= quoted and part.count(b'"') % 2 == 1
        if part.endswith(b"\n") and not inside:
            yield b"".join(parts)
            parts = []


def _digest(name: bytes) -> bytes:
    return blake2b(name, digest_size=16).digest()
