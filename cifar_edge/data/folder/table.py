"""A CSV file that names images and their classes, in place of folders.

    file,label,split
    photos/1.jpg,cat,train
    photos/2.jpg,dog,test

Names are relative to the folder of the CSV file. The column ``split`` may be missing; then ``--holdout`` splits.
"""

import csv
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cifar_edge.errors import DataError
from cifar_edge.messages import display_name, reason

FILE, LABEL, SPLIT = "file", "label", "split"
_NAMES = {FILE: (FILE, "filename", "path", "image"), LABEL: (LABEL, "class"), SPLIT: (SPLIT,)}
"""Column -> the names that its header may have, in any case."""
_SPLITS = {"train": "train", "training": "train", "test": "test"}
_MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One image.

    Attributes:
        file: its name, relative to the folder of the table.
        label: name of its class, in Unicode's composed form (NFC).
        split: ``train`` or ``test``; empty where the table has no such column.
    """

    file: str
    label: str
    split: str


def is_table(path: Path) -> bool:
    """Whether ``path`` is a file called ``*.csv``."""
    return path.suffix.lower() == ".csv" and path.is_file()


def base_folder(root: Path) -> Path:
    """The folder that names of images are relative to: ``root`` itself, or that of the CSV file ``root``."""
    return root.parent if is_table(root) else root


def has_splits(path: Path) -> bool:
    """Whether the table says which images are test images.

    Raises:
        DataError: as `read_table`.
    """
    return any(row.split for row in read_table(path)[:1])


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV file in UTF-8, in their order; empty lines do not count.

    Raises:
        DataError: it cannot be read, has no columns ``file`` and ``label``, has no rows, or a row lacks a value or has
            another split than ``train`` or ``test``. The message has the number of the line.
    """
    shown = display_name(str(path))
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{shown} is larger than {_MOST_BYTES >> 20} MiB, too large for a list of images")
        text = path.read_bytes().decode("utf-8-sig")
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(lines, [])
        columns = _columns(shown, header)
        rows = [_row(shown, lines.line_num, line, columns) for line in lines if any(line)]
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{shown} is not UTF-8; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{shown} is not CSV: {reason(error)}") from error
    if not rows:
        raise DataError(f"{shown} names no image")
    return rows


def _columns(shown: str, header: Sequence[str]) -> dict[str, int]:
    names = [name.strip().casefold() for name in header]
    columns = {}
    for column, aliases in _NAMES.items():
        if found := [alias for alias in aliases if alias in names]:
            columns[column] = names.index(found[0])
    if FILE not in columns or LABEL not in columns:
        hint = "; separate them with commas" if len(header) == 1 and set(header[0]) & set(";\t") else ""
        wanted = f"{FILE},{LABEL} or {FILE},{LABEL},{SPLIT}"
        raise DataError(f"the first line of {shown} must name its columns: {wanted}{hint}")
    return columns


def _row(shown: str, number: int, line: Sequence[str], columns: dict[str, int]) -> Row:
    if max(columns.values()) >= len(line):
        raise DataError(f"line {number} of {shown} has {len(line)} values, too few")
    file, label = line[columns[FILE]].strip(), unicodedata.normalize("NFC", line[columns[LABEL]].strip())
    if not file or not label:
        raise DataError(f"line {number} of {shown} has no {LABEL if file else FILE}")
    split = line[columns[SPLIT]].strip().casefold() if SPLIT in columns else "train"
    if split not in _SPLITS:
        raise DataError(f"line {number} of {shown} has the split {display_name(split)!r}; it is train or test")
    return Row(file, label, _SPLITS[split] if SPLIT in columns else "")
