"""What `cifar-edge predict` says of an input, as records for programs: JSON, JSON Lines and CSV (docs/predict.md)."""

import base64
import csv
import io
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from cifar_edge.errors import ImageError
from cifar_edge.messages import display_name

if TYPE_CHECKING:
    from cifar_edge.runtime.results import Prediction

VERSION = 1
"""Of the records; raised when a field changes its meaning or goes, not when one comes."""

UNKNOWN = "unknown"
"""The label of an answer below the threshold."""

Record = dict[str, Any]

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that a spreadsheet computes; the last four are the same in the width of Chinese letters."""


def record(name: str, answer: "Prediction | ImageError", model: str, top: int, threshold: float) -> Record:
    """What ``model`` says of the input ``name``: ``top`` best classes, ``UNKNOWN`` below ``threshold``, or its error.

    Every value is text, a number, None, or a list of such records, so that every JSON reader takes it: bytes of a name
    that are no UTF-8 become U+FFFD, and ``input_base64`` holds them all.
    """
    name_bytes = os.fsencode(name)
    said: Record = {"version": VERSION, "input": name_bytes.decode(errors="replace")}
    if said["input"] != name:
        said["input_base64"] = base64.b64encode(name_bytes).decode()
    if isinstance(answer, ImageError):
        return said | {"error": str(answer)}
    known = answer.score >= threshold
    return said | {
        "model": model,
        "label": answer.label if known else UNKNOWN,
        "index": answer.index if known else None,
        "score": answer.score,
        "top": [asdict(candidate) for candidate in answer.top(top)],
    }


def name_of(said: Record) -> bytes:
    """The bytes of the name that a record is about.

    Raises:
        ValueError: it is no such record.
    """
    encoded = said.get("input_base64")
    name = encoded or said.get("input")
    if not isinstance(name, str):
        raise ValueError("no name of an input")
    return base64.b64decode(name) if encoded else name.encode()


class Writer(Protocol):
    """Writes records to a binary file, each at once."""

    def write(self, said: Record) -> None:
        """Write one record."""

    def close(self) -> None:
        """Write what has to stand at the end."""


class JsonArray:
    """One JSON array, whole even if it ends early."""

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
    """One JSON object a line (https://jsonlines.org)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, said: Record) -> None:
        self._file.write(json.dumps(said, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """There is nothing to write."""


class Csv:
    """CSV (RFC 4180, but lines end with a line feed) in UTF-8, its first line the columns."""

    def __init__(self, file: BinaryIO, top: int, with_header: bool = True) -> None:
        self._file, self._top = file, top
        if with_header:
            self._put(columns(top))

    def write(self, said: Record) -> None:
        flat = dict(said)
        if inert(said["input"]) != said["input"]:
            flat.setdefault("input_base64", base64.b64encode(said["input"].encode()).decode())
        for rank, candidate in enumerate(said.get("top", [])[1:], start=2):
            flat |= {f"{key}_{rank}": value for key, value in candidate.items()}
        values = [flat.get(column) for column in columns(self._top)]
        self._put([inert(value) if isinstance(value, str) else value for value in values])

    def close(self) -> None:
        """There is nothing to write."""

    def _put(self, values: list[Any]) -> None:
        self._file.write(csv_line(values))
        self._file.flush()


def columns(top: int) -> list[str]:
    """The columns of CSV for ``top`` classes: the second best and further ones are numbered."""
    further = [f"{key}_{rank}" for rank in range(2, top + 1) for key in ("label", "index", "score")]
    return ["version", "input", "model", "label", "index", "score", *further, "error", "input_base64"]


def inert(text: str) -> str:
    """``text`` for a cell that does nothing: no spreadsheet takes it for a formula, no terminal for a command."""
    shown = display_name(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def csv_line(values: list[Any]) -> bytes:
    """One line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # so that fields with either are put in quotes
    return text.getvalue().removesuffix("\r\n").encode() + b"\n"
