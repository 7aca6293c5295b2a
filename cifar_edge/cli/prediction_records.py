"""Predictions as records for programs: JSON, JSON Lines and CSV (docs/predict.md)."""

import base64
import csv
import io
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from cifar_edge.errors import ImageError
from cifar_edge.messages import display_name
from cifar_edge.runtime.results import ANSWER_FIELDS, CLASS_FIELDS

if TYPE_CHECKING:
    from cifar_edge.runtime.results import Prediction

VERSION = 1
"""Version of the records; it is raised when a field changes its meaning or is removed, not when one is added."""

Record = dict[str, Any]

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The first characters of cells that spreadsheets compute; the last four are full-width forms."""


def record(name: str, answer: "Prediction | ImageError", model: str, top: int, threshold: float | None) -> Record:
    """The record of the input ``name``: its ``top`` best classes by ``model``, or its error.

    The label is `UNKNOWN` if the answer is unknown by ``threshold`` (see `Prediction.is_unknown`). Bytes of a name that
    are not UTF-8 become U+FFFD, and ``input_base64`` has the original bytes, so that every JSON reader can read a
    record.
    """
    name_bytes = os.fsencode(name)
    said: Record = {"version": VERSION, "input": name_bytes.decode(errors="replace")}
    if said["input"] != name:
        said["input_base64"] = base64.b64encode(name_bytes).decode()
    if isinstance(answer, ImageError):
        return said | {"error": str(answer)}
    return said | {"model": model, **answer.to_record(top, threshold)}


def name_of(said: Record) -> bytes:
    """The bytes of the input's name in a record.

    Raises:
        ValueError: the record has none.
    """
    encoded = said.get("input_base64")
    name = encoded or said.get("input")
    if not isinstance(name, str):
        raise ValueError("no name of an input")
    return base64.b64decode(name) if encoded else name.encode()


class Writer(Protocol):
    """Writes records to a binary file, and flushes each."""

    def write(self, said: Record) -> None:
        """Write one record."""

    def close(self) -> None:
        """Write the end of the file."""


class JsonArray:
    """Writes one JSON array, which is complete even if the command ends early."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._any = file, False

    def write(self, said: Record) -> None:
        text = json.dumps(said, indent=2).replace("\n", "\n  ")
        self._put((",\n  " if self._any else "[\n  ") + text)
        self._any = True

    def close(self) -> None:
        self._put("\n]\n" if self._any else "[]\n")

    def _put(self, text: str) -> None:
        self._file.write(text.encode())
        self._file.flush()


class JsonLines:
    """Writes JSON Lines: one object a line (https://jsonlines.org)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, said: Record) -> None:
        self._file.write(json.dumps(said, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Nothing remains to be written."""


class Csv:
    """Writes CSV (RFC 4180, but lines end with a line feed) in UTF-8.

    Args:
        file: to write to.
        header: the columns, of `columns`.
        with_header: whether to begin with them; False where the file has them already.
    """

    def __init__(self, file: BinaryIO, header: Sequence[str], with_header: bool = True) -> None:
        self._file, self._header = file, header
        if with_header:
            self._put(list(header))

    def write(self, said: Record) -> None:
        flat = dict(said)
        if inert(said["input"]) != said["input"]:
            flat.setdefault("input_base64", base64.b64encode(said["input"].encode()).decode())
        for rank, candidate in enumerate(said.get("top", [])[1:], start=2):
            flat |= {f"{key}_{rank}": value for key, value in candidate.items()}
        values = [flat.get(column) for column in self._header]
        self._put([inert(value) if isinstance(value, str) else value for value in values])

    def close(self) -> None:
        """Nothing remains to be written."""

    def _put(self, values: list[Any]) -> None:
        self._file.write(csv_line(values))
        self._file.flush()


MAY_BE_MISSING = frozenset({*ANSWER_FIELDS, "input_base64"} - {"label"})
"""Columns that a file of an earlier version may do without: records that are appended to it have its columns."""


def columns(top: int) -> list[str]:
    """The columns of CSV for ``top`` classes; those of the second best class and further ones are numbered."""
    further = [f"{key}_{rank}" for rank in range(2, top + 1) for key in CLASS_FIELDS]
    return ["version", "input", "model", *ANSWER_FIELDS, *further, "error", "input_base64"]


def inert(text: str) -> str:
    """``text`` as a cell that no spreadsheet takes for a formula, and no terminal for an escape sequence."""
    shown = display_name(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def csv_line(values: list[Any]) -> bytes:
    """One line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # CRLF, so that fields with either character are quoted
    return text.getvalue().removesuffix("\r\n").encode() + b"\n"
