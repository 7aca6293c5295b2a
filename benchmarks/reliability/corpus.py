"""Inputs of the reliability run: pictures in all formats and modes that Pillow writes, and damaged ones."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cifar_edge.data import load_dataset
from cifar_edge.runtime.formats import readable_formats

GREYS = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B")
COLOURS = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "GIF": [{"interlace": 0}],
    "JPEG": [{"progressive": True}, {"subsampling": 0, "quality": 100}, {"restart_marker_rows": 1}],
    "JPEG2000": [{"irreversible": True}],
    "PNG": [{"optimize": True}],
    "TGA": [{"compression": "tga_rle"}],
    "TIFF": [
        {"compression": name}
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma", "group4", "tiff_ccitt")
    ],
    "WEBP": [{"lossless": True}, {"quality": 30}],
}
"""What else a format can be told, so that other parts of its reader run."""

MAGIC = (
    *(b"\x59\xa6\x6a\x95", b"8BPS\x00\x01", b"/* XPM */", b"SIMPLE  =                    T", b"\x00\x00\x02\x00"),
    *(b"GIMP", b"P7 332", b"FTEX", b"\x80\xe8\x00\x00", b"icns", b"BLP1", b"BLP2", b"DDS ", b"\x0a\x05\x01\x08"),
    *(
        b"\xb1\x68\xde\x3a",
        b"\x00\x00\x00\x00\x00\x00\x00\x04",
        b"qoif",
        b"\x01\xda\x01\x01",
        b"RIFF\xff\xff\xff\xffWEBP",
    ),
    *(
        b"\x00\x00\x00\x20ftypavif",
        b"\xff\x4f\xff\x51",
        b"II*\x00",
        b"MM\x00*",
        b"II+\x00",
        b"\x1c\x02\x00",
        b"%!PS-Adobe",
    ),
)
"""Beginnings of files in formats that Pillow reads, those included that it cannot write."""


@dataclass(frozen=True)
class Sample:
    """One input.

    Attributes:
        kind: what was done to it.
        form: Pillow's name of its format, empty where it has none.
        content: the bytes of the file.
    """

    kind: str
    form: str
    content: bytes


def originals() -> list[Sample]:
    """A real picture in every mode, in every format that can hold it, in three sizes, turned, with several frames."""
    forms = [form for form in readable_formats() if form in Image.SAVE]
    photo = Image.fromarray(load_dataset("sample").test_images[0])
    samples = []
    for size in ((48, 40), (1, 1), (3, 700)):
        for mode in GREYS + COLOURS:
            picture = in_mode(photo.resize(size), mode)
            for form in forms:
                for options in [{}, *OPTIONS.get(form, [])]:
                    samples += _encoded("intact", form, picture, options)
    for mode in ("L", "RGB", "CMYK"):  # large enough for a JPEG to be decoded at reduced scale
        for options in [{}, *OPTIONS["JPEG"]]:
            samples += _encoded("intact", "JPEG", in_mode(photo.resize((600, 520)), mode), options)
    picture = photo.resize((48, 40))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text" * 50
    frames: dict[str, Any] = {"save_all": True, "append_images": [picture.rotate(90), picture.rotate(180)]}
    for form in forms:
        samples += _encoded("EXIF", form, picture, {"exif": exif})
        samples += _encoded("frames", form, picture, frames)
    return samples


def in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """``picture``, RGB, in any mode of Pillow's."""
    if mode == "La":
        return picture.convert("LA").convert("La")
    if mode == "RGBa":
        return picture.convert("RGBA").convert("RGBa")
    if mode == "PA":
        return picture.convert("P").convert("PA")
    if mode == "F":
        return picture.convert("F").point(lambda level: level * (1 / 255) + 0)  # white is 1
    if mode.startswith("I"):
        return picture.convert("I").point(lambda level: level * 257 + 0).convert(mode)  # white is 65535
    return picture.convert(mode)


def damaged(samples: list[Sample], count: int, seed: int) -> Iterator[Sample]:
    """``count`` damaged inputs, the same for the same seed."""
    random = np.random.default_rng(seed)
    kinds: list[tuple[str, Callable[[bytes, bytes, np.random.Generator], bytes]]] = [
        ("truncated", _truncated),
        ("bytes changed", _changed),
        ("bytes changed", _changed),
        ("block moved", _moved),
        ("two files spliced", _spliced),
        ("size claimed", _claimed),
        ("noise after a magic", _noise),
    ]
    for number in range(count):
        kind, damage = kinds[number % len(kinds)]
        sample, other = (samples[index] for index in random.integers(0, len(samples), 2))
        content = damage(sample.content, other.content, random)
        yield Sample(kind, "" if damage is _noise else sample.form, content)


def _encoded(kind: str, form: str, picture: Image.Image, options: dict[str, Any]) -> list[Sample]:
    if form == "SPIDER" and picture.mode != "F":
        return []  # Pillow would write floating-point numbers up to 255
    file = io.BytesIO()
    try:
        picture.save(file, form, **options)
    except Exception:  # this format cannot hold that: Pillow's writers say so in many ways
        return []
    return [Sample(kind, form, file.getvalue())]


def _truncated(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    return content[: int(random.integers(0, len(content)))]


def _changed(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One to eight bytes, half of them among the first 128: headers are where damage hurts."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 9)):
        reach = min(128, len(changed)) if random.random() < 0.5 else len(changed)
        extreme = random.choice([0, 1, 127, 128, 254, 255])
        changed[random.integers(0, reach)] = extreme if random.random() < 0.3 else random.integers(0, 256)
    return bytes(changed)


def _moved(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    start, stop, place = sorted(random.integers(0, len(content) + 1, 3))
    return content[:start] + content[stop:place] + content[start:stop] * int(random.integers(0, 4)) + content[place:]


def _spliced(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    return content[: random.integers(1, len(content) + 1)] + other[random.integers(0, len(other)) :]


def _claimed(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Another size in the header: a PNG's with its checksum, else some 2 or 4 bytes among the first 64."""
    sizes = [0, 1, 2, 0x7F, 0x7FFF, 0x8000, 13_000, 0xFFFF, 70_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
    first, second = (int(random.choice(sizes)) for _ in range(2))
    if content.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", first, second) + content[24:29]
        return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    place = int(random.integers(0, min(64, len(content))))
    form = ("<" if random.random() < 0.5 else ">") + ("I" if random.random() < 0.5 else "H")
    value = struct.pack(form, first & (0xFFFFFFFF if form.endswith("I") else 0xFFFF))
    return content[:place] + value + content[place + len(value) :]


def _noise(content: bytes, other: bytes, random: np.random.Generator) -> bytes:
    magic = MAGIC[random.integers(0, len(MAGIC))]
    return magic + random.bytes(int(random.integers(0, 3000)))
