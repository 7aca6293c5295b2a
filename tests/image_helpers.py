"""Images in every format that is read, and ways to damage them."""

import io
import struct
import zlib
from functools import cache
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from cifar_edge.data import load_dataset

WRITERS: dict[str, dict[str, Any]] = {
    "AVIF": {},
    "BMP": {},
    "DIB": {},
    "GIF": {},
    "ICO": {"sizes": [(32, 32)]},
    "JPEG": {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)},
    "JPEG2000": {},
    "MPO": {},
    "PNG": {"pnginfo": None},
    "PPM": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {},
}
"""What Pillow writes a small image as, with options that reach further into its readers."""


def encode(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, kind, **WRITERS[kind])
    return file.getvalue()


@cache
def corpus() -> list[bytes]:
    """One real image in every format that is read and that this Pillow writes."""
    Image.init()
    image = Image.fromarray(load_dataset("sample").test_images[0]).resize((48, 40))
    return [encode(image, kind) for kind in WRITERS if kind in Image.SAVE]


def png_claiming(width: int, height: int) -> bytes:
    """A PNG file whose header claims a size that its data do not have."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


changes = st.lists(st.tuples(st.integers(0, 127) | st.integers(0, 2000), st.integers(0, 255)), max_size=8)
"""Places in a file and the bytes written there."""
