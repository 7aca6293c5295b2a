"""Near duplicates, by a perceptual hash."""

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifar_edge.data import Dataset
from cifar_edge.data.folder.near_duplicates import MOST_BITS, close_groups, near_duplicates
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
    assert near_duplicates(images) == [[0, 3], [1, 4], [2, 5]]


def test_images_of_cifar_10_are_no_copies_of_each_other(sample: Dataset) -> None:
    assert len(near_duplicates(sample.test_images)) <= 2


def test_the_groups_are_those_of_comparing_all() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 1 << 63, 400, np.uint64)
    for at in range(0, 400, 4):  # neighbours at every distance from 0 to 12, and neighbours of these
        for further in (1, 2):
            flipped = random.permutation(64)[: at // 4 % 13]
            hashes[at + further] = hashes[at + further - 1] ^ np.uint64(sum(1 << int(bit) for bit in flipped))
    group = {position: {position} for position in range(400)}
    for first, second in combinations(range(400), 2):
        if (int(hashes[first]) ^ int(hashes[second])).bit_count() <= MOST_BITS:
            joined = group[first] | group[second]
            group |= dict.fromkeys(joined, joined)
    wanted = {tuple(sorted(members)) for members in group.values() if len(members) > 1}
    assert close_groups(hashes) == sorted(map(list, wanted))
    assert max(map(len, wanted)) == 3


def test_frames_of_a_camera_that_stands_still_are_one_group() -> None:
    flipped = np.random.default_rng(0).integers(0, 64, (3_000, 4)).astype(np.uint64)
    frames = np.bitwise_xor.reduce(np.uint64(1) << flipped, axis=1)
    assert close_groups(frames) == [list(range(3_000))]
    assert close_groups(np.zeros(5_000, np.uint64)) == [list(range(5_000))]
    assert close_groups(np.array([], np.uint64)) == []
