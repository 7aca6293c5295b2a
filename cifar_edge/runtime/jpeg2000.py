"""Estimates the cost of decoding a JPEG 2000 file from its headers (ITU-T T.800, annex A).

OpenJPEG decodes in one call that cannot be interrupted, and no other Python thread runs meanwhile. So files in which a
few bytes stand for much work are refused; for all others the headers give an upper bound.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cifar_edge.errors import ImageError
from cifar_edge.runtime.formats import CONVERT_ONE

SIGNATURES = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
"""The first bytes of a codestream, and of a JP2 file."""

_SIZ, _COD, _QCD, _QCC, _SOT, _SOD, _EOC = 0xFF51, 0xFF52, 0xFF5C, 0xFF5D, 0xFF90, 0xFF93, 0xFFD9
_NO_WORK = frozenset({0xFF55, 0xFF57, 0xFF58, 0xFF63, 0xFF64})
"""The markers TLM, PLM, PLT, CRG and COM, which cost nothing."""

_MOST_BOXES, _MOST_HEADER_BYTES, _MOST_SEGMENTS = 1_000, 4 << 20, 10_000
_MOST_COMPONENTS, _MOST_LAYERS, _MOST_PRECINCTS, _MOST_PACKETS = 4, 100, 100_000, 1_000_000
_LEAST_BLOCK = 8
"""Sum of the exponents of a code block's sides: 16x16."""
_MANY_PASSES = 0x05
"""Code block styles that take memory for each pass: bypass and termination."""

_BYTES_A_TILE = 10_000
_SECONDS_A_BIT = 15e-9
"""Time to decode one bit of a coefficient; noise takes 12 ns on the machine of docs/serve.md."""


@dataclass(frozen=True, slots=True)
class Work:
    """The cost of decoding a file.

    Attributes:
        memory: bytes that the decoder holds besides the decoded image.
        seconds: processor time, at most.
    """

    memory: int
    seconds: float


def work(file: BinaryIO) -> Work:
    """The cost of decoding ``file``, a JPEG 2000 file.

    Raises:
        ImageError: the file takes memory or time out of proportion to its pixels.
        struct.error, IndexError: the file is truncated.
    """
    _go_to_codestream(file)
    sizes = None
    coded = False
    bits = 0
    for marker, body in _segments(file):
        if marker == _SIZ and sizes is None:
            sizes = _Sizes.of(body)
        elif marker == _COD and sizes is not None and not coded:
            _check_coding(body, sizes)
            coded = True
        elif marker in {_QCD, _QCC}:
            bits = max(bits, _bits(body if marker == _QCD else body[1:]))
        elif marker not in _NO_WORK:
            raise _rare(f"marker {marker:04X}")
    if sizes is None or not coded:
        raise _rare("no header")
    in_tile = sizes.tile_samples if sizes.tiles > 1 else 0
    memory = 5 * sizes.samples + 4 * in_tile + _BYTES_A_TILE * sizes.tiles
    return Work(memory, sizes.samples * bits * _SECONDS_A_BIT)


@dataclass(frozen=True, slots=True)
class _Sizes:
    tile: tuple[int, int]
    tiles: int
    components: int
    samples: int
    tile_samples: int

    @classmethod
    def of(cls, body: bytes) -> "_Sizes":
        _, *numbers, components = struct.unpack_from(">H8IH", body)
        right, below, left, above, width, height, tile_left, tile_above = numbers
        if components > _MOST_COMPONENTS:
            raise _rare(f"{components:,} components")
        steps = [(body[37 + 3 * number], body[38 + 3 * number]) for number in range(components)]
        if 0 in (width, height) or any(0 in step for step in steps):
            raise _rare("tiles or components without a size")
        tile = min(width, right), min(height, below)
        tiles = math.ceil((right - tile_left) / width) * math.ceil((below - tile_above) / height)
        samples, tile_samples = (
            sum(math.ceil(across / x) * math.ceil(down / y) for x, y in steps)
            for across, down in ((right - left, below - above), tile)
        )
        return cls(tile, tiles, components, samples, tile_samples)


def _go_to_codestream(file: BinaryIO) -> None:
    """Seek to the third byte of the codestream; in a JP2 file, of the first one."""
    file.seek(0)
    if file.read(4) == SIGNATURES[0]:
        file.seek(2)
        return
    position = 0
    for _ in range(_MOST_BOXES):
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if kind == b"jp2c":
            file.read(2)
            return
        if length < 8 or (kind == b"jp2h" and length > _MOST_HEADER_BYTES):
            raise _rare("a box of an impossible length")
        position += length
    raise _rare("too many boxes")


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the segments of the main header and of all tile-part headers."""
    tile_part = None
    for _ in range(_MOST_SEGMENTS):
        start = file.tell()
        head = file.read(4)
        marker, length = int.from_bytes(head[:2]), int.from_bytes(head[2:])
        if marker == _SOD and tile_part is not None:
            begun, all_bytes = tile_part
            if all_bytes == 0:  # the tile-part extends to the end of the file
                return
            file.seek(max(begun + all_bytes, start + 2))
        elif marker == _EOC or len(head) < 4:
            return
        else:
            body = file.read(length - 2) if length > 2 else b""
            if marker == _SOT:
                tile_part = start, int.from_bytes(body[2:6])
            else:
                yield marker, body
    raise _rare("too many segments")


def _check_coding(body: bytes, sizes: _Sizes) -> None:
    style, _, layers, _, levels, block_width, block_height, block_style = struct.unpack_from(">BBHBBBBB", body)
    if levels > 32 or layers > _MOST_LAYERS:
        raise _rare(f"{levels} levels, {layers:,} layers")
    if block_width + block_height + 4 < _LEAST_BLOCK or block_style & _MANY_PASSES:
        raise _rare("its code blocks")
    precincts = 0
    for level in range(levels + 1):
        exponent = body[10 + level] if style & 1 else 0xFF
        sides = (
            math.ceil(length / (1 << (levels - level + exponents))) + 1
            for length, exponents in zip(sizes.tile, (exponent & 15, exponent >> 4), strict=True)
        )
        precincts += math.prod(sides)
    precincts *= sizes.components
    if precincts > _MOST_PRECINCTS or precincts * sizes.tiles * layers > _MOST_PACKETS:
        raise _rare("too many small parts")


def _bits(quantisation: bytes) -> int:
    """Most bits of a coefficient in any band, from the content of a QCD segment."""
    style, guard = quantisation[0] & 31, quantisation[0] >> 5
    steps = quantisation[1:]
    exponents = [step >> 3 for step in (steps if style == 0 else steps[::2])]
    return max(exponents) + guard - 1


def _rare(what: str) -> ImageError:
    return ImageError(f"a JPEG 2000 file with unsupported features ({what}); {CONVERT_ONE}")
