"""Odd images: formats, modes, orientations, damage. Most are as in the tests of the runtime."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

_WRITERS: dict[str, dict[str, Any]] = {
    "AVIF": {},
    "BMP": {},
    "DIB": {},
    "GIF": {},
    "ICO": {"sizes": [(32, 32)]},
    "JPEG": {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)},
    "JPEG2000": {},
    "MPO": {},
    "PNG": {},
    "PPM": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {},
}
_ROTATIONS = (None, *(Image.Transpose(number) for number in (0, 3, 1, 5, 2, 6, 4)))
"""How a picture of EXIF orientation 1 to 8 is stored."""
_SIZES = (
    (1, 1),
    (1, 700),
    (700, 1),
    (12, 40),
    (31, 33),
    (33, 32),
    (48, 40),
    (64, 64),
    (100, 333),
    (333, 100),
    (700, 500),
)
_DAMAGED = 40
"""Damaged versions of each file."""


def corpus(images: Pixels) -> list[tuple[str, Any]]:
    """Name and image (bytes, array, PIL image, or anything that is none); ``images`` are a dozen real ones."""
    frog = images[0]
    found: list[tuple[str, Any]] = [(f"array {number}", image) for number, image in enumerate(images)]
    found += _formats(frog)
    found += _orientations(frog)
    found += _sizes(frog)
    found += _modes(frog)
    found += _transparent(frog)
    found += _jpegs(frog)
    found += _not_images(frog)
    found += _damaged(frog)
    return found


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A file's bytes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _files(frog: Pixels) -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray(frog).resize((48, 40))
    Image.init()
    for kind, options in _WRITERS.items():
        if kind in Image.SAVE:
            yield kind, encoded(image, kind, **options)


def _formats(frog: Pixels) -> Iterator[tuple[str, bytes]]:
    for kind, content in _files(frog):
        yield f"format {kind}", content
    values = frog[..., 0].astype(np.uint16) * 257
    yield "16 bits PNG", encoded(Image.fromarray(values), "PNG")
    yield "16 bits TIFF", encoded(Image.fromarray(values), "TIFF")
    yield "16 bits TIFF big-endian", encoded(Image.fromarray(values.astype(">u2")), "TIFF")
    yield "16 bits PGM", b"P5 32 32 65535\n" + values.astype(">u2").tobytes()
    yield "PPM text", b"P3 2 1 255\n255 0 0 0 255 0\n"
    yield "animation", encoded(Image.fromarray(frog), "PNG", save_all=True, append_images=[Image.fromarray(255 - frog)])
    yield "broken EXIF", encoded(Image.fromarray(frog), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken")


def _orientations(frog: Pixels) -> Iterator[tuple[str, bytes]]:
    wide = Image.fromarray(np.pad(frog, ((0, 0), (10, 11), (0, 0)), mode="symmetric"))
    for orientation, turn in enumerate(_ROTATIONS, 1):
        stored = wide if turn is None else wide.transpose(turn)
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 90})):
            yield f"orientation {orientation} {kind}", encoded(stored, kind, exif=exif, **options)
    exif[0x0112] = 9
    yield "orientation 9", encoded(wide, "PNG", exif=exif)


def _sizes(frog: Pixels) -> Iterator[tuple[str, Any]]:
    for width, height in _SIZES:
        yield f"size {width}x{height}", np.asarray(Image.fromarray(frog).resize((width, height)))
    for factor in (2, 3, 7):
        yield f"times {factor}", frog.repeat(factor, 0).repeat(factor, 1)
    for margins in (((0, 0), (40, 41)), ((17, 17), (0, 0)), ((1, 0), (0, 0)), ((0, 0), (0, 1))):
        yield f"margins {margins}", np.pad(frog, (*margins, (0, 0)), constant_values=255)
    for size in ((1, 100_000), (100_000, 1), (5000, 4000)):
        yield f"grey {size}", Image.new("L", size, 200)


def _modes(frog: Pixels) -> Iterator[tuple[str, Image.Image]]:
    image = Image.fromarray(frog)
    levels = np.asarray(image.convert("L"))
    for mode in ("1", "L", "LA", "P", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"):
        yield f"mode {mode}", image.convert(mode)
    yield "mode La", image.convert("LA").convert("La")
    yield "mode RGBa", image.convert("RGBA").convert("RGBa")
    yield "mode PA", image.quantize(16).convert("RGBA").convert("PA")
    yield "mode I", Image.fromarray(levels.astype(np.int32) * 257)
    yield "mode I small", Image.fromarray(levels.astype(np.int32))
    yield "mode F", Image.fromarray(levels / np.float32(255))
    yield "mode F large", Image.fromarray(levels * np.float32(100))
    yield "mode I;16", Image.fromarray(levels.astype(np.uint16) * 257)
    for mode in ("L", "RGBA", "P", "CMYK", "F"):
        yield f"mode {mode} large", Image.fromarray(np.asarray(image.resize((211, 160)))).convert(mode)


def _transparent(frog: Pixels) -> Iterator[tuple[str, Any]]:
    alpha = np.zeros((32, 32), np.uint8)
    alpha[:16], alpha[16] = 255, 51
    yield "alpha", Image.fromarray(np.dstack([frog, alpha]))
    large = Image.fromarray(np.dstack([frog, alpha])).resize((170, 130))
    yield "alpha large", large
    yield "alpha WEBP", encoded(large, "WEBP", lossless=True)
    for mode in ("LA", "PA", "RGBa", "La"):
        image = Image.fromarray(frog).convert({"L": "L", "P": "P", "R": "RGB"}[mode[0]])
        image.putalpha(Image.fromarray(alpha))
        yield f"alpha {mode}", image if image.mode == mode else image.convert(mode)
    corner = Image.new("RGB", (32, 32))
    corner.paste((255, 255, 255), (0, 0, 16, 16))
    for mode in ("1", "L", "P", "RGB"):
        image = corner.quantize(2) if mode == "P" else corner.convert(mode)
        yield f"transparent colour {mode}", encoded(image, "PNG", transparency=image.getpixel((31, 31)))
    levels = np.full((32, 32), 300, np.uint16)
    levels[:16] = 301
    yield "transparent colour 16 bits", encoded(Image.fromarray(levels), "PNG", transparency=300)


def _jpegs(frog: Pixels) -> Iterator[tuple[str, bytes]]:
    exif = Image.Exif()
    exif[0x0112] = 6
    for size in ((511, 511), (700, 512), (1301, 1103), (2050, 4100)):
        for mode in ("RGB", "L", "CMYK"):
            image = Image.fromarray(frog).resize(size, Image.Resampling.BICUBIC).convert(mode)
            yield f"JPEG {size[0]}x{size[1]} {mode}", encoded(image, "JPEG", quality=90, exif=exif)
    large = Image.fromarray(frog).resize((1024, 1024))
    yield "JPEG progressive", encoded(large, "JPEG", quality=90, progressive=True)
    for scans in (8, 100, 101):
        yield f"JPEG of {scans} scans", _jpeg_of(scans)


def _jpeg_of(scans: int) -> bytes:
    whole = encoded(Image.new("L", (64, 48), 200), "JPEG", progressive=True)
    first, *others = whole[:-2].split(b"\xff\xda")
    return b"\xff\xda".join([first, *others, *[others[-1]] * (scans - len(others))]) + b"\xff\xd9"


def _not_images(frog: Pixels) -> Iterator[tuple[str, Any]]:
    yield "empty", b""
    yield "zeros", bytes(100)
    yield "text", b"This is no picture."
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n"
    yield "bomb", _png_claiming(60_000, 60_000)
    yield "large claim", _png_claiming(10_000, 10_000)
    for kind in (1, 4):
        for side in (65, 256, 1 << 15):
            yield f"TIFF of tiles {side} {kind}", _tiff_of_tiles(side, 256 if side < 300 else side, kind)
    yield "None", None
    yield "list", [1, 2]
    for shape in ((32, 32), (32, 32, 4), (1, 32, 32, 3), (0, 32, 3)):
        yield f"array {list(shape)}", np.zeros(shape, np.uint8)
    yield "array of floats", np.zeros((32, 32, 3), np.float32)
    yield "no pixels", Image.new("RGB", (0, 5))
    yield "bytearray", bytearray(encoded(Image.fromarray(frog), "PNG"))
    for path in ("missing.png", "/dev/zero", "/", "null\0byte.png", "long" * 1000, "line\nbreak.png"):
        yield f"path {path[:20]!r}", path


def _png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


def _tiff_of_tiles(width: int, length: int, kind: int) -> bytes:
    data = zlib.compress(bytes(min(width * length, 1 << 20)), 9)
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: width, 323: length, 324: 0, 325: len(data)}
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, kind if tag == 322 else 4, 1, value) for tag, value in tags.items())
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def _damaged(frog: Pixels) -> Iterator[tuple[str, bytes]]:
    random = np.random.default_rng(0)
    for kind, content in _files(frog):
        for number in range(_DAMAGED):
            damaged = bytearray(content)
            for _ in range(random.integers(0, 8)):
                place = random.integers(0, 128) if random.random() < 0.5 else random.integers(0, 2000)
                damaged[int(place) % len(damaged)] = int(random.integers(0, 256))
            kept = 1.0 if random.random() < 0.5 else random.random()
            yield f"damaged {kind} {number}", bytes(damaged[: int(kept * len(damaged))])
