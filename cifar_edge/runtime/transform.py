"""Turns an image of any size and mode into the square of RGB pixels that a model takes. Everything else calls this.

The rule is part of the edge contract (`cifar_edge.spec.resize_rule`): EXIF orientation; centre-crop to a square; RGB,
with transparency over grey 128, which the model maps to zero; area averaging down, bicubic up. An RGB image of the
model's size passes bit for bit. Everything is done by Pillow in integers, so that the same image gives the same pixels
on every machine.
"""

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from cifar_edge.errors import ImageError
from cifar_edge.runtime.levels import BYTES, Levels, levels_of
from cifar_edge.spec import IMAGE_SIZE, PIXEL_ZERO_POINT

STRIP_PIXELS = 1 << 22
"""A larger image is converted in strips of about so many pixels, so that no second copy is held."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> transposition that turns the image upright (Exif 2.32, tag 0x0112); 1 is upright already."""
_SIDEWAYS = frozenset({5, 6, 7, 8})
"""Orientations that swap rows and columns."""
_FROM_THE_RIGHT, _FROM_BELOW = frozenset({2, 3, 6, 7}), frozenset({3, 4, 7, 8})
"""Orientations that turn the end of a stored row or column into the left, or the upper, edge."""


def to_pixels(image: Image.Image, size: int = IMAGE_SIZE) -> npt.NDArray[np.uint8]:
    """The input pixels of a model of ``size``: uint8 ``[size, size, 3]``, RGB. ``image`` itself is not changed.

    Every mode of Pillow is accepted. White is 65535 in integers (modes ``I;16`` and ``I``), and 1 in floating point
    (``F``); see `cifar_edge.runtime.levels`.

    Raises:
        ImageError: the image has no pixels, or its white is unknown.
        Exception: whatever its decoder raises, if Pillow has not read the image yet and it is damaged.
    """
    if 0 in image.size:
        raise ImageError(f"an image of {image.width}x{image.height} has no pixels")
    image.load()  # before EXIF is read: Pillow rotates TIFF and AVIF while it loads them
    levels = levels_of(image)
    image = _turned(image, _orientation(image))
    side = min(image.size)
    if side <= size:
        square = _rgb(_square_rows(image, 0, side), levels)
        if side < size:
            square = square.resize((size, size), Image.Resampling.BICUBIC)
        return np.array(square, dtype=np.uint8)
    # Pillow resizes across, rounds to bytes, and then resizes down: done so by strips, the pixels are the same as
    # without strips. Its BOX filter averages whole pixels: each counts for the target pixel that contains its centre.
    rows = max(1, STRIP_PIXELS // side)
    strips = []
    for first in range(0, side, rows):
        strip = _rgb(_square_rows(image, first, min(first + rows, side)), levels)
        strips.append(np.asarray(strip.resize((size, strip.height), Image.Resampling.BOX)))
    return np.array(Image.fromarray(np.concatenate(strips)).resize((size, size), Image.Resampling.BOX))


def reduced_to_pixels(image: Image.Image, full_size: tuple[int, int], size: int = IMAGE_SIZE) -> npt.NDArray[np.uint8]:
    """The input pixels for an image of ``full_size`` that was decoded as ``image``, at 1/2, 1/4 or 1/8 of it.

    Each decoded pixel stands for a square of full-size pixels, and counts by the part of it inside the target pixel:
    whole decoded pixels, as `to_pixels` averages them, would be too coarse. The result differs from that of `to_pixels`
    only by how the decoder averages. ``image`` has to have the size that libjpeg gives it.

    Raises:
        Exception: the image turns out to be damaged.
    """
    image.load()
    factor = next(each for each in (2, 4, 8) if image.size == tuple(-(-length // each) for length in full_size))
    orientation = _orientation(image)
    # Length of the full image, and how far the last decoded pixel extends beyond it, across and down.
    extents = [(full, reduced * factor - full) for full, reduced in zip(full_size, image.size, strict=True)]
    (width, right), (height, below) = reversed(extents) if orientation in _SIDEWAYS else extents
    image = _turned(image, orientation)
    side = min(full_size)
    left = (width - side) // 2 + (right if orientation in _FROM_THE_RIGHT else 0)
    top = (height - side) // 2 + (below if orientation in _FROM_BELOW else 0)
    edges = (2 * side * np.arange(size + 1, dtype=np.int64) + size) // (2 * size)  # of the target pixels, rounded
    box = (left // factor, top // factor, -(-(left + side) // factor), -(-(top + side) // factor))
    pixels = np.asarray(_rgb(image.crop(box), BYTES))
    rows = _sums(pixels, edges + top % factor, factor)
    sums = _sums(rows.swapaxes(0, 1), edges + left % factor, factor).swapaxes(0, 1)
    lengths = np.diff(edges)
    counts = (lengths[:, None] * lengths)[..., None]
    means: npt.NDArray[np.uint8] = ((2 * sums + counts) // (2 * counts)).astype(np.uint8)
    return means


def _sums(pixels: npt.NDArray[np.integer], edges: npt.NDArray[np.int64], factor: int) -> npt.NDArray[np.int64]:
    """Sums ``[n, ...]`` of ``pixels`` ``[length, ...]``, each ``factor`` long, between the ``n + 1`` ``edges``."""
    whole, part = np.divmod(edges, factor)
    # A cumulative sum would be as large as eight images, and its memory would take as long as the decoding.
    sums = factor * np.add.reduceat(pixels[: whole[-1]], whole[:-1], axis=0, dtype=np.int64)
    begun = pixels[np.minimum(whole, len(pixels) - 1)].astype(np.int64)
    return sums + np.diff(part.reshape(-1, *[1] * (pixels.ndim - 1)) * begun, axis=0)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of a loaded image; 1, upright, if it has none."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Warning:  # if warnings are errors, going on would give another orientation than elsewhere
        raise
    except Exception:  # a broken EXIF block may raise anything, and must not make the image unreadable
        return 1
    return orientation if isinstance(orientation, int) and orientation in _UPRIGHT else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _square_rows(image: Image.Image, first: int, last: int) -> Image.Image:
    """Rows ``first`` to ``last`` (exclusive) of the centre square."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped even if that changes nothing, since only then Pillow gives some images their palette (ICNS).
    return image.crop((left, top + first, left + side, top + last))


def _rgb(image: Image.Image, levels: Levels) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        values, transparent = np.asarray(image), image.info.get("transparency")
        # Whole numbers up to 65535 times 255 are exact in float32.
        greys = (values.astype(np.float32) - levels.black) * np.float32(255) / np.float32(levels.white - levels.black)
        image = Image.fromarray(np.rint(greys.clip(0, 255)).astype(np.uint8))
        if transparent is not None:
            image.putalpha(Image.fromarray(np.where(values == transparent, np.uint8(0), np.uint8(255))))
    elif image.mode == "La":
        image = image.convert("LA")
    if not image.has_transparency_data:
        return image.convert("RGB")
    grey = Image.new("RGBA", image.size, (PIXEL_ZERO_POINT,) * 3 + (255,))
    return Image.alpha_composite(grey, image.convert("RGBA")).convert("RGB")
