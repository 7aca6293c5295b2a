"""Reads files and folders that may be damaged or written by other programs, without unexpected exceptions."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from cifar_edge.files import read_bounded
from cifar_edge.json_values import mapping, text
from cifar_edge.spec import IMAGE_SIZE, IMAGE_SIZES, MAX_CLASSES, METADATA_KEY, MIN_CLASSES

_MAX_HEADER_BYTES = 16 * 1024 * 1024
_MAX_RECORD_BYTES = 16 * 1024 * 1024
"""Larger than any report or summary."""


def record_in(path: Path) -> dict[str, Any]:
    """The JSON object in the file; empty if there is no file, or no JSON object in it."""
    try:
        record = json.loads(read_bounded(path, _MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def header_record(file: BinaryIO) -> Any:
    """The JSON that cifar-edge keeps in the header of an open safetensors file; safetensors itself only reads paths.

    The format is the header's length in 8 bytes, little-endian, then the header in JSON, then the tensors.

    Raises:
        ValueError, KeyError, TypeError: the file has no such JSON.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes")
    try:
        return json.loads(json.loads(file.read(length))["__metadata__"][METADATA_KEY])
    except RecursionError as error:
        raise ValueError("a header with too many nested brackets") from error


@dataclass(frozen=True, slots=True)
class NamedNetwork:
    """The network that a file of weights belongs to.

    Attributes:
        model: its registered name.
        labels: class names in the order of the logits.
        size: height and width of its input.
        layers: of a folded network: its description, not checked; None where the file has none.
    """

    model: str
    labels: tuple[str, ...]
    size: int
    layers: object = None


def network_named(file: BinaryIO) -> NamedNetwork:
    """The network that the header of a file of weights names.

    Raises:
        ValueError, KeyError, TypeError: the header names no network.
    """
    about = mapping(header_record(file))
    found = about["labels"]
    labels = tuple(label for label in found if isinstance(label, str) and label) if isinstance(found, list) else ()
    if not isinstance(found, list) or len(set(labels)) != len(found) or not MIN_CLASSES <= len(labels) <= MAX_CLASSES:
        raise ValueError("its labels are not class names")
    size = about.get("size", IMAGE_SIZE)
    if size not in IMAGE_SIZES:
        raise ValueError(f"its size is {size}")
    return NamedNetwork(text(about["model"]), labels, size, about.get("layers"))


def time_of(recorded: object) -> datetime | None:
    """The time in an ISO 8601 string, in UTC if it has no time zone; None for anything else."""
    try:
        time = datetime.fromisoformat(recorded) if isinstance(recorded, str) else None
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


def folders_in(parent: Path) -> list[Path]:
    """The folders in ``parent``; empty if it is missing or cannot be read."""
    try:
        return [entry for entry in parent.iterdir() if path_is(Path.is_dir, entry)]
    except OSError:
        return []


def path_is(test: Any, path: Path) -> bool:
    """A test of `pathlib.Path`; False if the operating system denies access."""
    try:
        return bool(test(path))
    except OSError:
        return False
