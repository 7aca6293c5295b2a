"""Near duplicates: images that show the same, but differ in pixels: saved again, made smaller, brighter, cut a little.

Two images are near duplicates where their perceptual hashes (pHash, of the library imagehash: 64 signs of the lowest
frequencies) differ in few bits. On 1,394 photographs the closest two of 971,000 pairs that show different things differ
in 12 bits. Copies saved at JPEG quality 50, or at half the size, differ in at most 6, brighter ones in 8; of those cut
by 3 % on each side 86 % are found (`python -m benchmarks.pictures.near_duplicates`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from cifar_edge.data.dataset import Images

MOST_BITS = 8
"""The largest number of different bits of near duplicates."""
_BITS = 64
_BANDS = MOST_BITS + 1
_COMPARED = 1 << 22
"""Pairs that are compared at once, which bounds the memory."""

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two near duplicates.

    Attributes:
        first: position of one image.
        second: position of the other, which is larger.
        bits: in how many of 64 bits their hashes differ.
    """

    first: int
    second: int
    bits: int


def near_duplicates(images: Images) -> list[Pair]:
    """The near duplicates among ``images``, uint8 ``[n, 32, 32, 3]``; those that differ least first."""
    return close_pairs(np.array([perceptual_hash(image) for image in images], np.uint64))


def close_pairs(hashes: Hashes) -> list[Pair]:
    """The pairs of ``hashes``, uint64 ``[n]``, that differ in at most `MOST_BITS` bits; those that differ least first.

    Of equal hashes only the first is compared with others, so that many equal ones do not make the pairs of all.
    """
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    found = {(int(first[group]), at): 0 for at, group in enumerate(inverse.tolist()) if first[group] != at}
    for one, other, bits in _close(unique):
        low, high = sorted((int(first[one]), int(first[other])))
        found[low, high] = bits
    pairs = [Pair(low, high, bits) for (low, high), bits in found.items()]
    return sorted(pairs, key=lambda pair: (pair.bits, pair.first, pair.second))


def _close(hashes: Hashes) -> Iterator[tuple[int, int, int]]:
    """The close pairs of different hashes: positions and bits. A pair may come more than once.

    Two close hashes are equal in at least one of nine bands of bits, so only hashes with an equal band are compared.
    """
    edges = np.linspace(0, _BITS, _BANDS + 1).astype(int).tolist()
    for low, high in pairwise(edges):
        bands = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(bands, kind="stable")
        borders = np.flatnonzero(np.diff(bands[order])) + 1
        for members in np.split(order, borders):
            rows = max(1, _COMPARED // max(1, len(members)))
            for start in range(0, len(members), rows):
                block = members[start : start + rows]
                bits = _differing(hashes[block][:, None] ^ hashes[members][None, :])
                for row, column in np.argwhere(bits <= MOST_BITS).tolist():
                    if block[row] < members[column]:
                        yield int(block[row]), int(members[column]), int(bits[row, column])


def groups(pairs: Sequence[Pair]) -> list[list[int]]:
    """The positions that pairs connect, directly or through others: one list for each thing that is shown."""
    group: dict[int, list[int]] = {}
    for pair in pairs:
        first, second = group.setdefault(pair.first, [pair.first]), group.setdefault(pair.second, [pair.second])
        if first is not second:
            first.extend(second)
            group.update(dict.fromkeys(second, first))
    return [sorted(members) for members in {id(members): members for members in group.values()}.values()]


def perceptual_hash(image: Images) -> int:
    """The pHash of an image, uint8 ``[32, 32, 3]``: 64 bits."""
    signs = imagehash.phash(Image.fromarray(image)).hash
    return int.from_bytes(np.packbits(signs).tobytes(), "big")


def _differing(x: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    """The number of ones in each value (numpy's own is new in 2.0)."""
    twos, fours, bytes_ = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
    x = x - ((x >> np.uint64(1)) & twos)
    x = (x & fours) + ((x >> np.uint64(2)) & fours)
    x = (x + (x >> np.uint64(4))) & bytes_
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)
