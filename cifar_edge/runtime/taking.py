"""What was handed over, taken at once: its owner may refill it, rewind it or close it before it is read."""

import os
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from cifar_edge.errors import ImageError
from cifar_edge.messages import reason
from cifar_edge.runtime.images import ImageSource, contents, read_pixels, source_name

MOST_COPIED_BYTES = 4 << 20
"""What has more bytes is read at once instead: copies wait in numbers, and theirs would take much memory."""

Given = TypeVar("Given", bound=ImageSource)


class Taken(NamedTuple, Generic[Given]):
    """An image source as it was when it was handed over.

    Attributes:
        given: what was handed over.
        now: itself, where nobody can change it; a copy; its pixels; or the error that says why there are none.
    """

    given: Given
    now: ImageSource | ImageError


def take(given: Given) -> Taken[Given]:
    """Take ``given`` as it is now. Paths and bytes stay what they are, and what a path means is read later.

    Of arrays and PIL images the pixels are taken: a copy would cost nearly as much, or has to be decoded first. Of the
    rest it is a copy, up to `MOST_COPIED_BYTES`.
    """
    if isinstance(given, str | bytes | os.PathLike):
        return Taken(given, given)
    try:
        return Taken(given, _unchanging(given))
    except ImageError as error:
        return Taken(given, error)
    except MemoryError:
        return Taken(given, ImageError(f"{source_name(given)}: there is not enough memory for it"))
    except Exception as error:  # an open file may be anybody's, a memoryview may be released
        return Taken(given, ImageError(f"{source_name(given)}: cannot be read ({reason(error)})"))


def read(taken: Taken[Any]) -> npt.NDArray[np.uint8]:
    """The pixels of what was taken, uint8 ``[32, 32, 3]``; see `cifar_edge.runtime.images.read_pixels`.

    Raises:
        ImageError: it is no readable image.
    """
    if isinstance(taken.now, ImageError):
        raise taken.now
    if isinstance(taken.now, np.ndarray):
        return taken.now
    return read_pixels(taken.now, None if taken.now is taken.given else source_name(taken.given))


def name(taken: Taken[Any]) -> str:
    """What errors call it."""
    return source_name(taken.given)


def _unchanging(given: ImageSource) -> ImageSource:
    if isinstance(given, np.ndarray | Image.Image):
        return read_pixels(given)
    if isinstance(given, bytearray | memoryview):
        size = given.nbytes if isinstance(given, memoryview) else len(given)
        return bytes(given) if size <= MOST_COPIED_BYTES else read_pixels(given)
    if not hasattr(given, "read"):
        return given  # which is no picture, and whoever reads it says so
    try:
        content = contents(given)
    except ImageError as error:
        raise ImageError(f"{source_name(given)}: {error}") from error
    return content if len(content) <= MOST_COPIED_BYTES else read_pixels(content, source_name(given))
