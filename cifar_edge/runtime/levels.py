"""Finds which values are black and white in an image whose pixels are not 8-bit, or raises `ImageError`.

The rules are in docs/predict.md. Integers and floating-point numbers are often not what they seem: 12 bits of a camera,
0..255, heights, counts. The values show most of these cases, which are refused, because a wrong guess would turn many
images black or white.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from cifar_edge.errors import ImageError

Greys = npt.NDArray[np.uint16 | np.int32 | np.float32]

_WHITE_16 = 65535
_WHITE_12 = 4095
_DARKEST = 16
"""If no value reaches this fraction of white, the image may have fewer bits: 12 bits in 16 reach a sixteenth."""

_DEFINED = frozenset({"JPEG2000", "PNG", "PPM"})
"""Formats that define white; Pillow scales other maxima to 16 bits."""
_UNDEFINED = frozenset({"FITS", "MCIDAS"})
"""Formats that store white in fields that Pillow does not read."""

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
"""TIFF tags, and values of the last two (TIFF 6.0, sections 8 and 19)."""

_ROWS_BYTES = 1 << 24
"""Values are checked in strips of about this size."""


class Levels(NamedTuple):
    """The values that are black and white in an image."""

    black: float
    white: float


BYTES = Levels(0, 255)


def levels_of(image: Image.Image) -> Levels:
    """The levels of a loaded image; `BYTES` in most modes. Copies of an image will not do: they have no format.

    Raises:
        ImageError: its white is unknown, or its values are not between black and white.
    """
    tags = image.tag_v2 if image.format == "TIFF" and hasattr(image, "tag_v2") else {}
    bits, formats = _numbers(tags.get(_BITS)), _numbers(tags.get(_SAMPLE_FORMAT))
    if _SIGNED in formats and not set(bits).isdisjoint({8, 16}):
        raise ImageError("a TIFF of signed integers, whose black and white are unknown; save it with unsigned integers")
    if image.mode == "F":
        white = _checked_floats(image)
    elif image.mode.startswith("I"):
        white = _WHITE_12 if 12 in bits else _checked_integers(image)
    else:
        if 16 in bits:
            _check_colours(image)
        return BYTES
    # In modes of 8 bits or 1 bit Pillow inverts such images itself.
    return Levels(white, 0) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else Levels(0, white)


def _numbers(tag: object) -> tuple[int, ...]:
    found = tag if isinstance(tag, tuple) else (tag,)
    return tuple(number for number in found if isinstance(number, int))


def _checked_floats(image: Image.Image) -> float:
    lows, highs = zip(*((strip.min(), strip.max()) for strip in _strips(image)), strict=True)
    low, high = float(np.min(lows)), float(np.max(highs))
    if math.isnan(low):
        raise ImageError("grey in floating point, and some values are NaN")
    if low < 0 or high > 1:
        raise ImageError(f"grey in floating point from {low:.9g} to {high:.9g}; black is 0 and white is 1, so scale it")
    return 1


def _checked_integers(image: Image.Image) -> float:
    if image.format in _DEFINED:
        return _WHITE_16
    if image.format in _UNDEFINED:
        raise ImageError(f"grey in integers, and {image.format} files do not define white; save it as PNG")
    low = min(int(strip.min()) for strip in _strips(image))
    high = max(int(strip.max()) for strip in _strips(image))
    if low < 0 or high > _WHITE_16:
        raise ImageError(f"grey in integers from {low} to {high}; black is 0 and white is {_WHITE_16}, so scale it")
    if 0 < high <= _WHITE_16 // _DARKEST:
        raise ImageError(
            f"grey in integers up to {high}, where white is {_WHITE_16}: too dark, or of fewer bits; scale it, or save "
            "it with 8 bits or as PNG"
        )
    return _WHITE_16


def _check_colours(image: Image.Image) -> None:
    """Refuse a dark image of 16 bits in colour. Pillow has read the upper 8 bits of each value."""
    colours = [image.getchannel(band) for band in image.getbands() if band in "RGBCMYK"]
    highest = max(int(np.asarray(colour).max()) for colour in colours)
    if highest < 256 // _DARKEST:
        raise ImageError(
            f"a TIFF of 16 bits, all below {(highest + 1) * 256}, where white is {_WHITE_16}: too dark, or of fewer "
            "bits; scale it"
        )


def _strips(image: Image.Image) -> Iterator[Greys]:
    rows = max(1, _ROWS_BYTES // (4 * image.width))
    for top in range(0, image.height, rows):
        yield np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
