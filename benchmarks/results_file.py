"""Results as CSV files whose lines are frozen dataclasses: str, int, float, or one of the last two and None (empty)."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from cifar_edge.errors import DataError
from cifar_edge.files import write_text

Row = TypeVar("Row")


def read(path: Path, kind: type[Row]) -> list[Row]:
    """The lines of ``path``; none if there is no such file.

    Raises:
        DataError: its columns are not the fields of ``kind``, or a value is not of its field's type.
    """
    if not path.exists():
        return []
    hints = get_type_hints(kind)
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != list(hints):
            raise DataError(f"{path} has the columns {reader.fieldnames}; they must be {list(hints)}")
        try:
            return [kind(**{name: _value(line[name], hints[name]) for name in hints}) for line in reader]
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: {error}") from error


def write(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write ``rows`` to ``path``, whole or not at all.

    Raises:
        CifarEdgeError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(get_type_hints(kind)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)  # type: ignore[call-overload] # rows are dataclasses
    write_text(path, text.getvalue())


def append(path: Path, row: Any) -> None:
    """Add one line to ``path``, which is made if it is missing.

    Raises:
        DataError: as `read`.
        CifarEdgeError: the file cannot be written.
    """
    kind = type(row)
    write(path, kind, [*read(path, kind), row])


def _value(text: str, hint: Any) -> Any:
    if hint is str:
        return text
    if hint in (int, float):
        return hint(text)
    return (int if hint == int | None else float)(text) if text else None
