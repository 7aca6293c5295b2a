"""Near duplicates, by a perceptual hash."""

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifar_edge.data import Dataset
from cifar_edge.data.folder.near_duplicates import MOST_BITS, Pair, close_pairs, groups, near_duplicates
from cifar_edge.runtime.images import read_pixels


def _copy(photo: Image.Image, scale: float, quality: int) -> bytes:
    file = io.BytesIO()
    photo.resize((int(photo.width * scale), int(photo.height * scale))).save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_copies_of_a_photograph_are_found_and_other_photographs_are_not() -> None:
    pytest.importorskip("skimage")
    from skimage import data

    folder = Path(data.__file__).parent
    photos = [Image.open(folder / name).convert("RGB") for name in ("astronaut.png", "coffee.png", "chelsea.png")]
    images = [read_pixels(photo) for photo in photos]
    images += [read_pixels(_copy(photo, 0.5, 60)) for photo in photos]
    pairs = near_duplicates(np.stack(images))
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 3), (1, 4), (2, 5)]
    assert groups(pairs) == [[0, 3], [1, 4], [2, 5]]


def test_images_of_cifar_10_are_no_copies_of_each_other(sample: Dataset) -> None:
    assert len(near_duplicates(sample.test_images)) <= 2


def test_the_close_pairs_are_those_of_comparing_all() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 1 << 63, 400, np.uint64)
    for at in range(0, 400, 4):  # neighbours at every distance from 0 to 12
        flipped = random.permutation(64)[: at // 4 % 13]
        hashes[at + 1] = hashes[at] ^ np.uint64(sum(1 << int(bit) for bit in flipped))
    wanted = {
        (first, second): bits
        for first, second in combinations(range(400), 2)
        if (bits := (int(hashes[first]) ^ int(hashes[second])).bit_count()) <= MOST_BITS
    }
    found = close_pairs(hashes)
    assert {(pair.first, pair.second): pair.bits for pair in found} == wanted
    assert [pair.bits for pair in found] == sorted(wanted.values())


def test_many_equal_hashes_are_one_group() -> None:
    pairs = close_pairs(np.zeros(5_000, np.uint64))
    assert len(pairs) == 4_999
    assert groups(pairs) == [list(range(5_000))]
    assert groups([Pair(0, 1, 2), Pair(2, 3, 2), Pair(1, 2, 8), Pair(5, 6, 0)]) == [[0, 1, 2, 3], [5, 6]]
    assert close_pairs(np.array([], np.uint64)) == []
