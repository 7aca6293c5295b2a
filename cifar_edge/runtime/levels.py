"""Which values are black and white in a picture whose pixels are no bytes; an error where that is not known.

The rules are in docs/predict.md. Files and arrays of integers or floating-point numbers often hold something else than
they seem to: 12 bits of a camera, 0..255, heights, counts. Most of that shows in the values and is refused, because a
guess would make a black or a white picture of many.
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
"""Where no value reaches this part of white, it may be the white of fewer bits: a sixteenth is that of 12 in 16."""

_DEFINED = frozenset({"JPEG2000", "PNG", "PPM"})
"""Formats that define white, and of which Pillow scales what has another one to 16 bits."""
_UNDEFINED = frozenset({"FITS", "MCIDAS"})
"""Formats whose white is in fields that Pillow does not read."""

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
"""Tags of TIFF, and values of the last two (TIFF 6.0, sections 8 and 19)."""

_ROWS_BYTES = 1 << 24
"""Values are looked at in strips of about so many bytes."""


class Levels(NamedTuple):
    """The values of a picture that are black and white; the others lie between."""

    black: float
    white: float


BYTES = Levels(0, 255)


def levels_of(image: Image.Image) -> Levels:
    """The levels of a loaded picture as it was opened, in whose copies Pillow keeps no format; `BYTES` of most modes.

    Raises:
        ImageError: its white is not known, or its values are not between black and white.
    """
    tags = image.tag_v2 if image.format == "TIFF" and hasattr(image, "tag_v2") else {}
    bits, formats = _numbers(tags.get(_BITS)), _numbers(tags.get(_SAMPLE_FORMAT))
    if _SIGNED in formats and not set(bits).isdisjoint({8, 16}):
        raise ImageError("a TIFF of signed integers, whose black and white are not known; save it with unsigned ones")
    if image.mode == "F":
        white = _checked_floats(image)
    elif image.mode.startswith("I"):
        white = _WHITE_12 if 12 in bits else _checked_integers(image)
    else:
        if 16 in bits:
            _check_colours(image)
        return BYTES
    # Of bytes and bits Pillow turns these itself.
    return Levels(white, 0) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else Levels(0, white)


def _numbers(tag: object) -> tuple[int, ...]:
    found = tag if isinstance(tag, tuple) else (tag,)
    return tuple(number for number in found if isinstance(number, int))


def _checked_floats(image: Image.Image) -> float:
    lows, highs = zip(*((strip.min(), strip.max()) for strip in _strips(image)), strict=True)
    low, high = float(np.min(lows)), float(np.max(highs))
    if math.isnan(low):
        raise ImageError("grey in floating point, and some values are no numbers")
    if low < 0 or high > 1:
        raise ImageError(f"grey in floating point from {low:.9g} to {high:.9g}; black is 0 and white is 1, so scale it")
    return 1


def _checked_integers(image: Image.Image) -> float:
    if image.format in _DEFINED:
        return _WHITE_16
    if image.format in _UNDEFINED:
        raise ImageError(f"grey in integers, whose white a {image.format} file does not tell; save it as PNG")
    low = min(int(strip.min()) for strip in _strips(image))
    high = max(int(strip.max()) for strip in _strips(image))
    if low < 0 or high > _WHITE_16:
        raise ImageError(f"grey in integers from {low} to {high}; black is 0 and white is {_WHITE_16}, so scale it")
    if 0 < high <= _WHITE_16 // _DARKEST:
        raise ImageError(
            f"grey in integers up to {high}, where white is {_WHITE_16}: dark, or of fewer bits; scale it, or save it "
            "with 8 bits or as PNG"
        )
    return _WHITE_16


def _check_colours(image: Image.Image) -> None:
    """Of 16 bits in colour Pillow brings the upper 8."""
    colours = [image.getchannel(band) for band in image.getbands() if band in "RGBCMYK"]
    highest = max(int(np.asarray(colour).max()) for colour in colours)
    if highest < 256 // _DARKEST:
        raise ImageError(
            f"a TIFF of 16 bits, all below {(highest + 1) * 256}, where white is {_WHITE_16}: dark, or of fewer bits; "
            "scale it"
        )


def _strips(image: Image.Image) -> Iterator[Greys]:
    rows = max(1, _ROWS_BYTES // (4 * image.width))
    for top in range(0, image.height, rows):
        yield np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
