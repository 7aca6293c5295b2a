"""Images of no class beside the classes."""

from pathlib import Path

import numpy as np
import pytest
from image_folder_helpers import SPLIT, reported_by, write_images

from cifar_edge.data import Dataset
from cifar_edge.data.folder.other import load_other
from cifar_edge.errors import DataError

FLAT = {"cat": range(6), "dog": range(6, 12)}


@pytest.mark.parametrize("name", ["other", "_other"])
def test_beside_train_and_test_they_are_no_class(tmp_path: Path, sample: Dataset, name: str) -> None:
    root = write_images(tmp_path, {**SPLIT, name: range(20, 25)}, sample)
    dataset, lines = reported_by(root)
    assert (dataset.labels, dataset.other) == (("cat", "dog"), root / name)
    assert lines[0].startswith(f"{name}/ holds images of no class")
    assert dataset.train_images.shape[0] == 9


def test_without_train_and_test_other_is_a_class_and_the_underscore_makes_it_none(
    tmp_path: Path, sample: Dataset
) -> None:
    root = write_images(tmp_path, {**FLAT, "other": range(20, 25)}, sample)
    dataset, lines = reported_by(root, 0.3)
    assert (dataset.labels, dataset.other) == (("cat", "dog", "other"), None)
    assert lines[0] == "other/ counts as a class; images of no class belong into _other/"
    (root / "other").rename(root / "_other")
    dataset, lines = reported_by(root, 0.3)
    assert (dataset.labels, dataset.other) == (("cat", "dog"), root / "_other")
    assert not any("ignoring" in line for line in lines)


def test_inside_train_they_are_not_used_and_a_line_says_so(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {**SPLIT, "train/_other": range(20, 25)}, sample)
    dataset, lines = reported_by(root)
    assert (dataset.labels, dataset.other, len(dataset.train_images)) == (("cat", "dog"), None, 9)
    assert lines[0] == "train/_other/: ignored, since _other/ belongs beside train/ and test/"


def test_they_are_read_from_all_folders_below(tmp_path: Path, sample: Dataset) -> None:
    write_images(tmp_path, {"a": range(3), "b/c": range(3, 5), ".hidden": range(5, 6)}, sample)
    (tmp_path / "b" / "broken.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image")
    lines: list[str] = []
    images = load_other(tmp_path, 32, lines.append)
    assert np.array_equal(images, sample.train_images[[0, 1, 2, 3, 4]])
    assert any("left out: 1 image that cannot be read: b/broken.png" in line for line in lines)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "there is no folder"),
        (lambda folder: folder.mkdir(), "holds no image"),
        (lambda folder: (folder.mkdir(), (folder / "a.png").write_bytes(b"x")), "none of the 1 images"),
    ],
)
def test_what_is_no_folder_of_images_is_one_line(tmp_path: Path, make: object, message: str) -> None:
    assert callable(make)
    make(tmp_path / "x")
    with pytest.raises(DataError, match=message):
        load_other(tmp_path / "x", 32, lambda line: None)
