"""Snapshots of image sources: a caller may refill, rewind or close what it handed over before it is decoded."""

import os
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from cifar_edge.errors import ImageError
from cifar_edge.messages import reason
from cifar_edge.runtime.images import ImageSource, contents, source_name

MOST_COPIED_BYTES = 4 << 20
"""Larger sources are decoded at once instead: many copies wait in a queue, and would take much memory."""

Source = TypeVar("Source", bound=ImageSource)
Pixels = npt.NDArray[np.uint8]
Read = Callable[[ImageSource, str | None], Pixels]
"""Makes pixels of a source, which has the given name in errors."""


class Snapshot(NamedTuple, Generic[Source]):
    """An image source as it was when it was handed over.

    Attributes:
        source: what was handed over.
        content: the source itself, if nobody can change it; else a copy, its pixels, or the error of reading it.
    """

    source: Source
    content: ImageSource | ImageError


def take(source: Source, read_pixels: Read) -> Snapshot[Source]:
    """A snapshot of ``source``. Paths and bytes are kept as they are; the file of a path is read later.

    Arrays and PIL images are converted to the model's pixels: a copy of an array would cost nearly as much, and a PIL
    image may have to be decoded before it can be copied. Other sources are copied, up to `MOST_COPIED_BYTES`.
    """
    if isinstance(source, str | bytes | os.PathLike):
        return Snapshot(source, source)
    try:
        return Snapshot(source, _unchanging(source, read_pixels))
    except ImageError as error:
        return Snapshot(source, error)
    except MemoryError:
        return Snapshot(source, ImageError(f"{source_name(source)}: there is not enough memory for it"))
    except Exception as error:  # a caller's file object may raise anything; a memoryview may have been released
        return Snapshot(source, ImageError(f"{source_name(source)}: cannot be read ({reason(error)})"))


def read(snapshot: Snapshot[Any], read_pixels: Read) -> Pixels:
    """The pixels of a snapshot, uint8 ``[S, S, 3]``.

    Raises:
        ImageError: it is not a readable image.
    """
    source, content = snapshot
    if isinstance(content, ImageError):
        raise content
    if isinstance(content, np.ndarray):
        return content
    return read_pixels(content, None if content is source else source_name(source))


def name(snapshot: Snapshot[Any]) -> str:
    """The name of its source in error messages."""
    return source_name(snapshot.source)


def _unchanging(source: ImageSource, read_pixels: Read) -> ImageSource:
    if isinstance(source, np.ndarray | Image.Image):
        return read_pixels(source, None)
    if isinstance(source, bytearray | memoryview):
        size = source.nbytes if isinstance(source, memoryview) else len(source)
        return bytes(source) if size <= MOST_COPIED_BYTES else read_pixels(source, None)
    if not hasattr(source, "read"):
        return source  # of an unknown type: `read` raises the error
    try:
        content = contents(source)
    except ImageError as error:
        raise ImageError(f"{source_name(source)}: {error}") from error
    return content if len(content) <= MOST_COPIED_BYTES else read_pixels(content, source_name(source))
