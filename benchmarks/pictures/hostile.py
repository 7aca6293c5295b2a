"""Pictures of a few kilobytes to a megabyte that cost far more to decode than their bytes say, in every format.

They are made here, by hand where no writer makes such a thing, for `benchmarks.attacks.pictures` and the tests.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image


def encoded(kind: str, size: tuple[int, int] = (32, 32), mode: str = "RGB", **options: Any) -> bytes:
    """A file of one colour."""
    file = io.BytesIO()
    Image.new(mode, size, 9).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(chunks: bytes) -> bytes:
    """A PNG with ``chunks`` behind its header."""
    content = encoded("PNG")
    return content[:33] + chunks + content[33:]


def png_of_profiles(number: int) -> bytes:
    """A PNG with so many colour profiles, of a kilobyte each and a megabyte when they are read."""
    return png_with(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1_000_000), 9)) * number)


def jpeg_with(segments: bytes) -> bytes:
    """A JPEG with ``segments`` behind its first marker."""
    content = encoded("JPEG")
    return content[:2] + segments + content[2:]


def arithmetic_jpeg() -> bytes:
    """A JPEG that says to be coded arithmetically."""
    return encoded("JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1)


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A progressive grey JPEG whose last scan is repeated until there are so many."""
    first, *others = encoded("JPEG", (side, side), "L", progressive=True)[:-2].split(b"\xff\xda")
    return b"\xff\xda".join([first, *others, *[others[-1]] * (scans - len(others))]) + b"\xff\xd9"


def gif_with(extension: bytes) -> bytes:
    """A GIF with ``extension`` before its frame."""
    content = encoded("GIF", mode="P")
    frame = content.index(b",")
    return content[:frame] + extension + content[frame:]


def bmp_of_runs(runs: bytes) -> bytes:
    """A BMP of 700x700 with run lengths."""
    header = struct.pack("<IiiHHIIiiII", 40, 700, 700, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + runs


def ico_of(number: int, picture: bytes) -> bytes:
    """So many icons, all of them ``picture``."""
    entry = struct.pack("<BBBBHHII", 32, 32, 0, 0, 1, 32, len(picture), 6 + 16 * number)
    return b"\0\0\1\0" + struct.pack("<H", number) + entry * number + picture


def tiff_of(tags: list[tuple[int, int, int, int]], behind: bytes = b"") -> bytes:
    """A TIFF with ``tags``: number, type, how many values, the value or where they are."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + behind


def tiff_of_strips(number: int, kind: int) -> bytes:
    """A TIFF one pixel wide with so many strips, and tags of their places of type ``kind``."""
    sizes = [(256, 4, 1, 1), (257, 4, 1, number), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (278, 4, 1, 1)]
    return tiff_of([*sizes, (273, kind, number, 150), (279, 4, number, 150)], bytes(4 * number + 150))


def tiff_of_a_tile(width: int, height: int) -> bytes:
    """A TIFF of 10x10 pixels in one tile of ``width`` x ``height``, the beginning of which is there."""
    data = zlib.compress(bytes(1 << 20), 9)
    sizes = [(256, 4, 1, 10), (257, 4, 1, 10), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    tile = [(322, 4, 1, width), (323, 4, 1, height), (324, 4, 1, 8 + 2 + 12 * 10 + 4), (325, 4, 1, len(data))]
    return tiff_of(sizes + tile, data)


def jp2_with(change: Callable[[bytes], bytes], **options: Any) -> bytes:
    """A codestream of JPEG 2000, changed."""
    return change(encoded("JPEG2000", no_jp2=True, **options))


def coding(**values: int) -> Callable[[bytes], bytes]:
    """Changes the COD segment of a codestream."""
    places = {"layers": (6, ">H"), "width": (10, ">B"), "height": (11, ">B"), "style": (12, ">B")}

    def change(content: bytes) -> bytes:
        changed, start = bytearray(content), content.index(b"\xff\x52")
        for name, value in values.items():
            place, kind = places[name]
            struct.pack_into(kind, changed, start + place, value)
        return bytes(changed)

    return change


def behind_size(segments: bytes) -> Callable[[bytes], bytes]:
    """Puts ``segments`` behind the first one of a codestream."""
    return lambda content: content[: content.index(b"\xff\x52")] + segments + content[content.index(b"\xff\x52") :]


def small_precincts(content: bytes) -> bytes:
    """Precincts of 2x2 in a codestream."""
    start = content.index(b"\xff\x52")
    levels = content[start + 9]
    old_length = int.from_bytes(content[start + 2 : start + 4])
    segment = bytearray(content[start : start + 2 + old_length])
    segment[4] |= 1
    segment[2:4] = (old_length + levels + 1).to_bytes(2)
    return content[:start] + bytes(segment) + b"\x11" * (levels + 1) + content[start + 2 + old_length :]


def small_tiles(content: bytes) -> bytes:
    """Tiles of 8x8 in a codestream."""
    place = content.index(b"\xff\x51") + 22
    return content[:place] + struct.pack(">II", 8, 8) + content[place + 8 :]


def jp2_of_boxes(parts: int) -> bytes:
    """A JP2 file with so many empty boxes."""
    content = encoded("JPEG2000")
    header = content.index(b"jp2h") - 4
    return content[:header] + b"\0\0\0\x08free" * parts + content[header:]


def webp_of_codes() -> bytes:
    """A lossless WebP of 1024x1024 with 65,536 groups of prefix codes, all of which its decoder makes tables of."""
    bits: list[int] = []

    def put(*values_and_lengths: tuple[int, int]) -> None:
        for value, length in values_and_lengths:
            bits.extend(value >> place & 1 for place in range(length))

    one_symbol = [(1, 1), (0, 1), (0, 1), (0, 1)]
    put((1023, 14), (1023, 14), (0, 1), (0, 3))  # size, no alpha, version
    put((0, 1), (0, 1), (1, 1), (0, 3))  # no transforms, no colour cache, groups, one for 4x4 pixels
    put((0, 1))  # the image of groups has no colour cache, and two codes of 256 symbols of 8 bits
    for symbols in (280, 256):
        put((0, 1), (8, 4), *((int(place in {2, 11}), 3) for place in range(12)), (0, 1))
        put(*((int(symbol < 256), 1) for symbol in range(symbols)))
    put(*one_symbol * 3)
    reversed_bits = [int(f"{value:08b}"[::-1], 2) for value in range(256)]
    put(*((reversed_bits[value], 8) for group in range(65_536) for value in (group & 255, group >> 8)))
    put(*one_symbol * 5 * 65_536)
    size = len(bits) // 16 * 2 + 8 - 1  # the signature makes it even
    data = b"\x2f" + int("".join(map(str, reversed(bits))), 2).to_bytes(size, "little")
    return b"RIFF" + struct.pack("<I", 12 + len(data)) + b"WEBPVP8L" + struct.pack("<I", len(data)) + data


def refused(parts: int) -> Mapping[str, Callable[[], bytes]]:
    """Name -> what makes the picture, with lists of ``parts`` where there should be a dozen; each is refused."""
    return {
        "PNG of colour profiles": lambda: png_of_profiles(max(101, parts // 25)),
        "PNG of texts": lambda: png_with(chunk(b"tEXt", b"x\0y") * parts),
        "PNG of empty parts": lambda: png_with(chunk(b"IDAT") * parts),
        "JPEG of comments": lambda: jpeg_with(b"\xff\xfe\0\2" * parts),
        "JPEG of fill bytes": lambda: jpeg_with(b"\xff" * parts),
        "JPEG of EXIF blocks": lambda: jpeg_with(b"\xff\xe1\0\x0aExif\0\0xx" * 101),
        "JPEG with arithmetic coding": arithmetic_jpeg,
        "large JPEG of scans": lambda: jpeg_of_scans(4_000, 40),
        "GIF of comments": lambda: gif_with(b"!\xfe\x01x\0" * parts),
        "GIF of one comment": lambda: gif_with(b"!\xfe" + b"\x01x" * parts + b"\0"),
        "BMP of runs": lambda: bmp_of_runs(b"\x01\x05" * parts),
        "text PPM": lambda: b"P3 32 32 255\n" + b"#\n" * parts + b"1 " * 3072,
        "text PBM": lambda: b"P1 32 32\n" + b"1 " * 1024,
        "PPM of comments": lambda: b"P6\n" + b"#\n" * parts + b"32 32 255\n" + bytes(3072),
        "ICO of icons": lambda: ico_of(256, encoded("PNG")),
        "ICO of a large PNG": lambda: ico_of(1, encoded("PNG", (3_000, 3_000))),
        "ICO of a large BMP": lambda: ico_of(1, encoded("BMP", (3_000, 3_000))[14:]),
        "TIFF of strips": lambda: tiff_of_strips(150_000, 4),
        "TIFF of strips at bytes": lambda: tiff_of_strips(250_000, 7),
        "TIFF of tags": lambda: tiff_of([(n, 3, 1, 1) for n in range(10_000, 60_000)]),
        "JPEG 2000 of boxes": lambda: jp2_of_boxes(parts),
        "JPEG 2000 of segments": lambda: jp2_with(behind_size(b"\xff\x63\0\2" * parts)),
        "JPEG 2000 of layers": lambda: jp2_with(coding(layers=65_535)),
        "JPEG 2000 of tiny blocks": lambda: jp2_with(coding(width=0, height=0)),
        "JPEG 2000 of passes": lambda: jp2_with(coding(style=4)),
        "JPEG 2000 of precincts": lambda: jp2_with(small_precincts, size=(3_000, 3_000)),
        "JPEG 2000 of tiles": lambda: jp2_with(small_tiles, size=(3_000, 2_000)),
        "JPEG 2000 with regions": lambda: jp2_with(behind_size(b"\xff\x5e\0\5\0\0\7")),
    }


def bounded() -> Mapping[str, Callable[[], bytes]]:
    """Name -> what makes a picture that is one, and takes too much time or memory for a service."""
    return {
        "PNG, 7000x7000": lambda: encoded("PNG", (7_000, 7_000)),
        "WebP, 7000x7000": lambda: encoded("WEBP", (7_000, 7_000), lossless=True),
        "WebP of codes": webp_of_codes,
        "AVIF, 7000x7000": lambda: encoded("AVIF", (7_000, 7_000), speed=10),
        "JPEG 2000, 7000x7000": lambda: encoded("JPEG2000", (7_000, 7_000)),
        "TIFF, one tile of 65536x4096": lambda: tiff_of_a_tile(65_536, 4_096),
        "progressive JPEG, 12000x12000": lambda: encoded("JPEG", (12_000, 12_000), progressive=True),
    }
