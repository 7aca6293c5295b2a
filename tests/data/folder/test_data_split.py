"""Image folders: which images are test images, duplicates, and warnings of small and uneven classes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_folder_helpers import SPLIT, reported_by, write_images
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cifar_edge.data import Dataset, image_digests, load_dataset
from cifar_edge.data.dataset import PIXELS_RULE
from cifar_edge.data.folder.image_folder import held_out
from cifar_edge.data.reference import change, reference_to
from cifar_edge.errors import DataError
from cifar_edge.runs.dataset import Fingerprints


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def split(tmp_path: Path, sample: Dataset) -> Path:
    return write_images(tmp_path / "pets", SPLIT, sample)


def saved_anew(path: Path, copy: Path) -> None:
    """The same pixels in other bytes: another compression, and a comment."""
    about = PngInfo()
    about.add_text("Comment", "exported from a phone")
    with Image.open(path) as image:
        image.save(copy, "PNG", pnginfo=about, compress_level=1)
    assert copy.read_bytes() != path.read_bytes()


# The share of each class


def test_every_class_is_tested_by_the_same_share(tmp_path: Path, sample: Dataset) -> None:
    folders = {"cat": range(40), "dog": range(40, 80), "owl": range(80, 120), "few": range(120, 123)}
    dataset = load_dataset(write_images(tmp_path, folders, sample), holdout=0.2)
    assert np.bincount(dataset.test_labels).tolist() == [8, 8, 1, 8]
    assert np.bincount(dataset.train_labels).tolist() == [32, 32, 2, 32]


def test_the_bytes_of_a_file_decide_its_split(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path / "a", {"cat": range(10), "dog": range(10, 30)}, sample)
    before = load_dataset(root, holdout=0.3)
    for number, (label, share) in enumerate((("cat", 3), ("dog", 6))):
        files = sorted((root / label).iterdir(), key=lambda path: hashlib.sha256(path.read_bytes()).digest())
        names = before.names_of(before.test_images[before.test_labels == number])
        assert names == [f"{label}/{path.name}" for path in files[:share]]
    for index, path in enumerate(sorted((root / "cat").iterdir())):
        path.rename(path.with_name(f"renamed {index}.png"))
    assert Fingerprints.of(load_dataset(root, holdout=0.3).arrays()) == Fingerprints.of(before.arrays())


def test_the_split_is_the_same_at_every_size(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {"cat": range(20), "dog": range(20, 40)}, sample)
    sides = []
    for size in (32, 48, 96):
        dataset = load_dataset(root, size=size, holdout=0.4)
        sides.append((dataset.names_of(dataset.train_images), dataset.names_of(dataset.test_images)))
    assert sides[0] == sides[1] == sides[2]


def test_an_earlier_rule_goes_by_pixels(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {"cat": range(10), "dog": range(10, 30)}, sample)
    before = load_dataset(root, holdout=0.3, split_rule=PIXELS_RULE)
    for number, (members, share) in enumerate(((range(10), 3), (range(10, 30), 6))):
        smallest = sorted(image_digests(sample.train_images[members]))[:share]
        assert set(image_digests(before.test_images[before.test_labels == number])) == set(smallest)
    for path in sorted((root / "cat").iterdir()):
        saved_anew(path, path.with_name(f"copy of {path.name}"))
        path.unlink()
    again = load_dataset(root, holdout=0.3, split_rule=PIXELS_RULE)
    assert Fingerprints.of(again.arrays()) == Fingerprints.of(before.arrays())
    assert change(reference_to(before), again) is None
    assert "another rule" in str(change(reference_to(before), load_dataset(root, holdout=0.3)))


images_and_share = (
    st.lists(
        st.tuples(st.integers(0, 1_000_000), st.integers(0, 3)), min_size=1, max_size=60, unique_by=lambda x: x[0]
    ),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
)


def splits(images: list[tuple[int, int]], holdout: float) -> dict[int, bool]:
    """Image -> whether it is a test image, for images and their classes."""
    ordered = sorted(images, key=lambda each: hashlib.sha256(str(each[0]).encode()).digest())
    test = held_out(np.array([label for _, label in ordered]), holdout)
    return {image: bool(is_test) for (image, _), is_test in zip(ordered, test, strict=True)}


@given(*images_and_share)
def test_the_share_is_rounded_and_leaves_an_image_in_both_splits(images: list[tuple[int, int]], holdout: float) -> None:
    test = splits(images, holdout)
    for label in {label for _, label in images}:
        members = [test[image] for image, other in images if other == label]
        if len(members) > 1:
            assert 1 <= sum(members) < len(members)
            assert abs(sum(members) - holdout * len(members)) <= 0.5 + 1e-9 or sum(members) in {1, len(members) - 1}


@given(*images_and_share)
def test_one_more_image_moves_at_most_one_other_of_its_class(images: list[tuple[int, int]], holdout: float) -> None:
    (added, label), *others = images
    before, after = splits(others, holdout) if others else {}, splits(images, holdout)
    moved = [other for image, other in others if before[image] != after[image]]
    assert moved in ([], [label]), added


# Duplicates


def test_duplicates_are_one_image_in_one_split(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {"cat": range(20), "dog": range(20, 40)}, sample)
    before = load_dataset(root, holdout=0.5)
    for index in range(20):
        saved_anew(root / "cat" / f"{index}.png", root / "cat" / f"{index} (1).png")
    dataset, lines = reported_by(root, holdout=0.5)
    images = np.concatenate([dataset.train_images, dataset.test_images])
    assert sorted(image_digests(images)) == sorted(
        image_digests(np.concatenate([before.train_images, before.test_images]))
    )
    assert lines[-1].startswith("counted once, because their pixels are equal: cat/")
    assert lines[-1].endswith(" (20 in all)")
    assert " (1).png = cat/" in lines[-1]
    assert load_dataset(root, holdout=0.5, strict=True).labels == ("cat", "dog"), "strict does not mind"


def test_training_duplicates_of_test_images_are_left_out(split: Path) -> None:
    saved_anew(split / "test" / "dog" / "11.png", split / "train" / "dog" / "copy.png")
    dataset, lines = reported_by(split)
    assert (len(dataset.train_images), len(dataset.test_images)) == (9, 3)
    assert lines[-1] == (
        "left out of the training images, because they are test images too: test/dog/11.png = train/dog/copy.png"
    )
    assert not {*image_digests(dataset.train_images)} & {*image_digests(dataset.test_images)}


@pytest.mark.parametrize("where", ["train/dog", "test/dog"])
def test_an_image_in_two_classes_counts_for_neither(split: Path, where: str) -> None:
    saved_anew(split / "train" / "cat" / "3.png", split / where / "what.png")
    dataset, lines = reported_by(split)
    assert lines[-1] == f"left out: images in two classes, train/cat/3.png = {where}/what.png"
    assert (len(dataset.train_images), len(dataset.test_images)) == (8, 3)
    with pytest.raises(DataError, match=rf"in two classes, train/cat/3\.png = {where}/what\.png; remove each from"):
        load_dataset(split, strict=True)


def test_an_image_in_all_classes_is_named_in_each(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {"cat": range(5), "dog": range(5, 10), "owl": range(10, 15)}, sample)
    write_images(root, {"cat": [20], "dog": [20], "owl": [20]}, sample)
    dataset, lines = reported_by(root, holdout=0.2)
    assert lines[-1] == "left out: images in two classes, cat/20.png = dog/20.png = owl/20.png"
    assert len(dataset.train_labels) + len(dataset.test_labels) == 15


def test_the_same_photograph_turned_by_exif_is_a_duplicate(split: Path, sample: Dataset) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    upright = Image.open(split / "train" / "cat" / "0.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(split / "test" / "cat" / "turned.png", exif=turned)
    _, lines = reported_by(split)
    assert lines[-1].endswith("test images too: test/cat/turned.png = train/cat/0.png")


def test_links_to_one_file_are_duplicates(split: Path) -> None:
    (split / "train" / "cat" / "link.png").symlink_to(split / "train" / "cat" / "0.png")
    dataset, lines = reported_by(split)
    assert len(dataset.train_images) == 9
    assert lines[-1] == "counted once, because their pixels are equal: train/cat/0.png = train/cat/link.png"


# Small and uneven classes


def warnings_of(root: Path, holdout: float | None = None) -> list[str]:
    lines: list[str] = []
    load_dataset(root, holdout=holdout, report=lines.append)
    return [line for line in lines if line.startswith("warning: ")]


def test_a_class_of_few_images_gets_a_warning(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {"cat": range(50), "owl": range(50, 53)}, sample)
    assert warnings_of(root, 0.2) == [
        "warning: few training images: owl has 2; a network learns little of a class from so few",
        "warning: few test images: owl has 1; even if that one is right, the accuracy of that class is only known to "
        "be above 21%",
        "warning: uneven classes: cat has 40 training images, owl has 2; always answering cat is right for 91% "
        "of the test images, so look at the recall of each class",
    ]


def test_few_test_images_get_a_warning(tmp_path: Path, sample: Dataset) -> None:
    folders = {"train/cat": range(30), "train/dog": range(30, 60), "test/cat": range(60, 72), "test/dog": range(72, 74)}
    assert warnings_of(write_images(tmp_path, folders, sample)) == [
        "warning: few test images: dog has 2; even if all 2 are right, the accuracy of that class is only known to be "
        "above 34%"
    ]


def test_even_classes_of_enough_images_get_no_warning(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {"cat": range(50), "dog": range(50, 110)}, sample)
    assert warnings_of(root, 0.2) == []


def test_every_image_keeps_its_label(tmp_path: Path) -> None:
    for number in range(60):
        folder = tmp_path / f"class {number % 3}"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, number, number)).save(folder / f"{number}.png")
    dataset = load_dataset(tmp_path, holdout=0.25)
    found = [
        (int(image[0, 0, 0]), label)
        for images, labels in (
            (dataset.train_images, dataset.train_labels),
            (dataset.test_images, dataset.test_labels),
        )
        for image, label in zip(images, labels.tolist(), strict=True)
    ]
    assert sorted(found) == [(number, number % 3) for number in range(60)]
    for images in (dataset.train_images, dataset.test_images):
        files = [hashlib.sha256((tmp_path / str(name)).read_bytes()).digest() for name in dataset.names_of(images)]
        assert files == sorted(files)
