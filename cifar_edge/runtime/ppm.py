"""Decodes PGM and PPM files with a maximum other than 255 or 65,535, whose values Pillow scales one at a time."""

from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

CODEC = "ppm"
"""Pillow's name of its decoder."""


def scaled(image: ImageFile, file: BinaryIO) -> Image.Image:
    """Decode ``image``, which Pillow opened from ``file``, as its decoder `CODEC` would, only faster.

    Raises:
        EOFError: the file is cut off.
    """
    _, _, offset, arguments = image.tile[0]
    brightest = int(arguments[-1]) if arguments else 0
    kind = np.dtype(">u2" if brightest > 255 else np.uint8)
    white, result = (65_535, np.int32) if image.mode == "I" else (255, np.uint8)
    shape = (image.height, image.width, *[3] * (image.mode == "RGB"))
    numbers = np.prod(shape, dtype=np.int64)
    file.seek(offset)
    content = file.read(int(numbers) * kind.itemsize)
    if len(content) < numbers * kind.itemsize:
        raise EOFError("image file is truncated")
    values = np.minimum(np.rint(np.arange(1 << 16) / brightest * white), white).astype(result)
    made = Image.fromarray(values[np.frombuffer(content, kind).reshape(shape)])
    made.format = image.format  # determines which value is white
    return made
