"""Near duplicates: images that show the same, but differ in pixels: saved again, made smaller, brighter, cut a little.

Two images are near duplicates where their perceptual hashes (pHash, of the library imagehash: 64 signs of the lowest
frequencies) differ in few bits. On 1,394 photographs the closest two of 971,000 pairs that show different things differ
in 12 bits. Copies saved at JPEG quality 50, or at half the size, differ in at most 6, brighter ones in 8; of those cut
by 3 % on each side 86 % are found (`python -m benchmarks.pictures.near_duplicates`).
"""

from collections.abc import Iterable, Iterator
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
Positions = npt.NDArray[np.int64]


def near_duplicates(images: Iterable[Images]) -> list[list[int]]:
    """The groups of near duplicates among ``images``, each uint8 ``[32, 32, 3]``: see `close_groups`."""
    return close_groups(np.fromiter(map(perceptual_hash, images), np.uint64))


def close_groups(hashes: Hashes) -> list[list[int]]:
    """The positions that close hashes connect, directly or through others: a list for each thing that is shown.

    Only which hashes are connected is kept, never all pairs: of 5,000 frames of a camera that stands still there are
    12 million.

    Args:
        hashes: uint64 ``[n]``; two are close if they differ in at most `MOST_BITS` bits.

    Returns:
        Groups of two or more positions, each in ascending order, by their first position.
    """
    unique, inverse = np.unique(hashes, return_inverse=True)
    group = np.arange(len(unique))
    for first, second in _close(unique):
        group = _connected(group, first, second)
    of_each = group[inverse]
    order = np.argsort(of_each, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(of_each[order])) + 1)
    return sorted(each.tolist() for each in members if len(each) > 1)


def _connected(group: Positions, first: Positions, second: Positions) -> Positions:
    """The ``group`` of each hash, where ``first[i]`` and ``second[i]`` are hashes that become one group."""
    while True:
        one, other = group[first], group[second]
        if (one == other).all():
            return group
        root = np.arange(len(group))
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while (root[root] != root).any():
            root = root[root]
        group = root[group]


def _close(hashes: Hashes) -> Iterator[tuple[Positions, Positions]]:
    """The positions of close pairs of different hashes, many at once. A pair may come more than once.

    Two close hashes are equal in at least one of nine bands of bits, so only hashes with an equal band are compared.
    """
    edges = np.linspace(0, _BITS, _BANDS + 1).astype(int).tolist()
    for low, high in pairwise(edges):
        bands = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(bands, kind="stable")
        borders = np.flatnonzero(np.diff(bands[order])) + 1
        for members in np.split(order, borders):
            rows = max(1, _COMPARED // max(1, len(members)))
            for start in range(0, len(members) - 1, rows):
                block, others = members[start : start + rows], members[start:]
                bits = _differing(hashes[block][:, None] ^ hashes[others][None, :])
                found = np.nonzero(bits <= MOST_BITS)
                yield block[found[0]], others[found[1]]


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
