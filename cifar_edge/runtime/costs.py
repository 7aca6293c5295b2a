"""Estimates the cost of decoding an image from its headers, and refuses files whose cost is out of proportion.

The length of a file says little: 800 bytes may hold a gigabyte of pixels, or a list that takes seconds to read.
Each format that is read (`cifar_edge.runtime.formats`) is limited here, or by `cifar_edge.runtime.limits.Metered`
if its decoder reads piece by piece.
"""

import math
import os
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from PIL.ImageFile import ImageFile

from cifar_edge.errors import ImageError
from cifar_edge.runtime import jpeg2000, ppm
from cifar_edge.runtime.formats import CONVERT_ONE
from cifar_edge.runtime.transform import STRIP_PIXELS

_MOST_SCANS = 100
"""Most scans of a JPEG. Encoders write a dozen, and a scan of a few bytes may take as long as the whole image."""
_ANY_SCANS, _MOST_SCANNED_PIXELS = 16, 500_000_000
"""A JPEG with more scans than `_ANY_SCANS` may have so many pixels, each counted once a scan."""
_MOST_SEGMENTS = 10_000
"""Most segments of a JPEG: Pillow takes 20 us for each. Honest files have depth maps of megabytes in parts of 64 kB."""
_MOST_EXIF_BLOCKS = 100
"""Most EXIF blocks of a JPEG: Pillow concatenates them, and copies the earlier ones each time."""
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker of a JPEG, other than a restart marker; compressed data never contains one."""
_TEMPORARY, _START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _APP1 = 0x01, 0xD8, 0xD9, 0xDA, 0xE1
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
"""Frames with arithmetic coding, whose decoder takes its full time even if no bytes are left."""

_PNG, _SMALL_PNG = b"\x89PNG\r\n\x1a\n", 16_384
_COMPRESSED, _MOST_COMPRESSED = frozenset({b"iCCP", b"zTXt", b"iTXt"}), 100
"""Compressed chunks: a kilobyte may hold a megabyte, and Pillow expands each. A small file has room for few."""

_TIFF = re.compile(rb"(II|MM)([*+]\0|\0[*+])")
_TILE_WIDTH, _TILE_LENGTH, _ROWS_PER_STRIP = 322, 323, 278
_STRIP_OFFSETS, _TILE_OFFSETS, _SAMPLES, _BITS, _ORIENTATION = 273, 324, 277, 258, 274
_BYTE_TYPES = frozenset({1, 2, 6, 7})
"""Types that Pillow keeps as bytes; for any other type it makes a Python object of each value."""
_MOST_VALUES = 200_000

_ICO = b"\0\0\1\0"
_MOST_ICONS, _ICON_SIDE = 255, 1_024

_DECODED_IN_PYTHON = {"bmp_rle": "BMP with run lengths", "ppm_plain": "PBM, PGM or PPM written as text"}
"""Pillow's name of a decoder that is written in Python -> the format that it decodes."""

_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Mode -> bytes a pixel in Pillow's images; 4 in all other modes."""
_WEBP_BYTES, _AVIF_BYTES = 17, 14
"""Peak bytes a pixel, those of Pillow included (measured by `python -m benchmarks.attacks.pictures`)."""
_OPAQUE_STRIP_BYTES, _STRIP_BYTES = 8, 24
"""Bytes a pixel to convert a strip of the image, in the modes of `_OPAQUE` and in all others."""
_OPAQUE = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr"})


@dataclass(frozen=True, slots=True)
class Headers:
    """What the headers of a file tell about the cost of decoding it.

    Attributes:
        length: of the file, in bytes.
        scans: number of scans of a JPEG.
        work: cost of a JPEG 2000.
    """

    length: int
    scans: int = 1
    work: jpeg2000.Work | None = None


def headers(file: BinaryIO, length: int) -> Headers:
    """Read the headers of ``file``, which has ``length`` bytes, and rewind it.

    This comes before Pillow opens the file, which may be costly already.

    Raises:
        ImageError: the file takes memory or time out of proportion.
        Exception: the file is truncated.
    """
    file.seek(0)
    begin = file.read(8)
    found = Headers(length)
    if begin.startswith(b"\xff\xd8\xff"):
        file.seek(0)
        found = Headers(length, scans=_scans(file.read()))
    elif begin.startswith(jpeg2000.SIGNATURES):
        found = Headers(length, work=jpeg2000.work(file))
    elif begin == _PNG and length > _SMALL_PNG:
        _check_png(file)
    elif _TIFF.match(begin):
        _check_tiff(file, begin)
    elif begin.startswith(_ICO):
        _check_icons(file, int.from_bytes(begin[4:6], "little"))
    file.seek(0)
    return found


def memory(image: ImageFile, size: tuple[int, int], found: Headers) -> int:
    """Peak bytes to decode ``image``, which had ``size`` when it was opened, before any `draft`.

    Raises:
        ImageError: the file takes memory or time out of proportion.
    """
    codec = image.tile[0][0] if image.tile else ""
    if codec in _DECODED_IN_PYTHON:
        raise ImageError(f"a {_DECODED_IN_PYTHON[codec]}, which is not read; {CONVERT_ONE}")
    stored = _STORED.get(image.mode, 4)
    pixels = image.width * image.height
    opaque = image.mode in _OPAQUE and not image.has_transparency_data
    strip = min(min(image.size) ** 2, STRIP_PIXELS) * (_OPAQUE_STRIP_BYTES if opaque else _STRIP_BYTES)
    match image.format:
        case "JPEG" | "MPO":
            held = stored * pixels + _jpeg_coefficients(image, math.prod(size), found.scans)
        case "TIFF":
            held = stored * pixels + _tiff_extra(image, stored * pixels, found.length)
        case "WEBP":
            held = found.length + _WEBP_BYTES * pixels
        case "AVIF":
            held = found.length + _AVIF_BYTES * pixels
        case "PPM" if codec == ppm.CODEC:
            held = found.length + 8 * pixels
        case "JPEG2000" if found.work is not None:
            held = stored * pixels + found.work.memory
        case _:  # a second copy, if EXIF says that it has to be rotated
            held = stored * pixels * (2 if "exif" in image.info else 1)
    return held + strip


def _scans(jpeg: bytes) -> int:
    """The number of scans of a JPEG (ITU-T T.81, annex B)."""
    scans = exif_blocks = position = 0
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.search(jpeg, position)
        if found is None:
            return scans
        position = found.end()
        marker = jpeg[position - 1]
        if marker == _END_OF_IMAGE:
            return scans
        if marker in _ARITHMETIC:
            raise ImageError(f"a JPEG with arithmetic coding, which is not read; {CONVERT_ONE} without it")
        scans += marker == _START_OF_SCAN
        exif_blocks += marker == _APP1 and jpeg.startswith(b"Exif", position + 2)
        if exif_blocks > _MOST_EXIF_BLOCKS:
            raise ImageError(f"a JPEG of more than {_MOST_EXIF_BLOCKS} EXIF blocks")
        if scans > _MOST_SCANS:
            raise ImageError(f"a JPEG of more than {_MOST_SCANS} scans")
        if marker not in {_TEMPORARY, _START_OF_IMAGE}:
            position += int.from_bytes(jpeg[position : position + 2])  # the length includes these two bytes
    raise ImageError(f"a JPEG of more than {_MOST_SEGMENTS:,} segments")


def _jpeg_coefficients(image: ImageFile, pixels: int, scans: int) -> int:
    """Bytes of the coefficients. A JPEG in several scans keeps all of them, whatever the scale of decoding."""
    if scans > _ANY_SCANS and scans * pixels > _MOST_SCANNED_PIXELS:
        raise ImageError(f"a JPEG of {pixels:,} pixels in {scans} scans")
    if scans == 1 and not image.info.get("progressive"):
        return 0
    factors: list[int] = [down * across for _, down, across, _ in getattr(image, "layer", [])]
    return 2 * pixels * sum(factors) // max([1, *factors])


def _check_png(file: BinaryIO) -> None:
    """Refuse a PNG with many compressed chunks other than its pixels."""
    compressed = 0
    while len(head := file.read(8)) == 8:
        compressed += head[4:] in _COMPRESSED
        if compressed > _MOST_COMPRESSED:
            raise ImageError(f"a PNG of more than {_MOST_COMPRESSED} compressed texts and profiles")
        file.seek(int.from_bytes(head[:4]) + 4, os.SEEK_CUR)


def _check_tiff(file: BinaryIO, begin: bytes) -> None:
    """Refuse a TIFF whose first directory has more values than an image needs: Pillow makes an object of each."""
    order = "<" if begin.startswith(b"I") else ">"
    big = begin[2] == ord("+")  # BigTIFF, by the byte that Pillow looks at
    file.seek(8 if big else 4)
    (position,) = struct.unpack(f"{order}Q" if big else f"{order}I", file.read(8 if big else 4))
    file.seek(position)
    (entries,) = struct.unpack(f"{order}Q" if big else f"{order}H", file.read(8 if big else 2))
    entry = struct.Struct(f"{order}HHQ8x" if big else f"{order}HHI4x")
    values = 0
    for tag, kind, count in entry.iter_unpack(_whole(file.read(min(entries, 65_535) * entry.size), entry.size)):
        if kind not in _BYTE_TYPES or tag in {_STRIP_OFFSETS, _TILE_OFFSETS}:
            values += count
    if values > _MOST_VALUES:
        raise ImageError(f"a TIFF of {values:,} values besides its pixels")


def _whole(content: bytes, size: int) -> bytes:
    return content[: len(content) // size * size]


def _tiff_extra(image: ImageFile, stored: int, length: int) -> int:
    """Bytes besides the decoded image: a copy if it has to be rotated, and what libtiff holds.

    libtiff holds the whole file and one strip or tile, which may be larger than the image.
    """
    tags = getattr(image, "tag_v2", {})
    extra = 0 if tags.get(_ORIENTATION, 1) == 1 else stored
    width, height = (tags.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    if not isinstance(width, int) or not isinstance(height, int):  # a string, times a number, would be a long one
        raise ImageError("a TIFF whose tiles have no size")
    if image.tile[0][0] != "libtiff":
        return extra
    samples, bits = tags.get(_SAMPLES, 1), tags.get(_BITS, (1,))
    strip = min(image.width * image.height, max(image.size) * tags.get(_ROWS_PER_STRIP, max(image.size)))
    # A strip may be compressed as JPEG, whose coefficients are kept too.
    sample_bytes = max(4, math.ceil(samples * max(bits) / 8)) + 2 * samples
    return extra + length + int(max(width * height, strip) * sample_bytes)


def _check_icons(file: BinaryIO, number: int) -> None:
    """Refuse oversized icons: Pillow decodes one when it opens the file, before its size can be checked."""
    if number > _MOST_ICONS:
        raise ImageError(f"an ICO of {number:,} icons")
    file.seek(6)
    for (offset,) in struct.iter_unpack("<12xI", _whole(file.read(16 * number), 16)):
        file.seek(offset)
        begin = file.read(24)
        sides = struct.unpack(">II", begin[16:24]) if begin.startswith(_PNG) else struct.unpack("<ii", begin[4:12])
        if not all(abs(side) <= 2 * _ICON_SIDE for side in sides):
            raise ImageError(f"an ICO with an icon of more than {_ICON_SIDE} pixels a side")
