"""How a picture of any size and mode becomes the 32x32 RGB pixels that a model reads. The only place that knows.

The rule is part of the edge contract (`cifar_edge.spec.RESIZE_RULE`): EXIF orientation; centre-crop to a square; RGB,
with whatever is transparent over grey 128, the pixel value that the model maps to zero; area averaging down, bicubic
up. A 32x32 RGB picture passes bit for bit. Everything is done by Pillow in integers, so that the same picture gives
the same pixels on every machine.
"""

import contextlib

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from cifar_edge.errors import ImageError
from cifar_edge.spec import IMAGE_SIZE, PIXEL_ZERO_POINT

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the picture upright (Exif 2.32, tag 0x0112); 1 is upright already."""


def to_pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels that a model reads of ``image``: uint8 ``[32, 32, 3]``, RGB. ``image`` itself is not changed.

    Every mode of Pillow is taken. Greys of 16 bits (modes ``I;16`` and ``I``) are scaled to 8; floating-point greys
    (``F``) lie in 0..255, or in 0..1 where none is greater than 1.

    Raises:
        ImageError: the picture has no pixels.
        Exception: a picture that Pillow reads lazily turns out to be damaged; whatever its decoder raises.
    """
    if 0 in image.size:
        raise ImageError(f"a picture of {image.width}x{image.height} has no pixels")
    square = _rgb(_centre_square(_upright(image)))
    side = square.width
    if side != IMAGE_SIZE:
        # Pillow's BOX filter averages areas of whole pixels: each counts for the target pixel that its centre is in.
        filter_ = Image.Resampling.BOX if side > IMAGE_SIZE else Image.Resampling.BICUBIC
        square = square.resize((IMAGE_SIZE, IMAGE_SIZE), filter_)
    return np.array(square, dtype=np.uint8)


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # before the look at EXIF: TIFF and AVIF turn themselves while they load
    orientation = None
    # A camera's broken EXIF block, which Pillow parses with errors of any type, makes no picture unreadable.
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _centre_square(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image if image.width == image.height else image.crop((left, top, left + side, top + side))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        image = _grey(np.asarray(image).astype(np.float32) / 257.0)
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image), posinf=255.0, neginf=0.0)
        image = _grey(values * 255.0 if values.max() <= 1.0 else values)
    elif image.mode == "La":
        image = image.convert("LA")
    if not image.has_transparency_data:
        return image.convert("RGB")
    grey = Image.new("RGBA", image.size, (PIXEL_ZERO_POINT,) * 3 + (255,))
    return Image.alpha_composite(grey, image.convert("RGBA")).convert("RGB")


def _grey(values: npt.NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.rint(values.clip(0.0, 255.0)).astype(np.uint8))
