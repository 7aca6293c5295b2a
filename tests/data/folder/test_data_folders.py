"""Image folders: what is found, read, kept, held out, and refused."""

import os
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from image_folder_helpers import SPLIT, pixels_of, reported_by, write_images
from PIL import Image

from cifar_edge.data import Dataset, load_dataset
from cifar_edge.errors import DataError
from cifar_edge.runs.dataset import Fingerprints
from cifar_edge.runtime.transform import to_pixels


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def split(tmp_path: Path, sample: Dataset) -> Path:
    return write_images(tmp_path / "pets", SPLIT, sample)


def test_train_and_test_folders(split: Path) -> None:
    dataset, lines = reported_by(split)
    assert lines == [f"reading 12 images in {split}"]
    assert (dataset.name, dataset.labels) == ("pets", ("cat", "dog"))
    assert (dataset.folder, dataset.holdout) == (split, None)
    for name, images, labels in (
        ("train", dataset.train_images, dataset.train_labels),
        ("test", dataset.test_images, dataset.test_labels),
    ):
        assert (images.dtype.name, labels.dtype.name) == ("uint8", "int64")
        for number, label in enumerate(dataset.labels):
            assert {image.tobytes() for image in images[labels == number]} == pixels_of(split / name / label)
    assert len(set(dataset.train_labels[:5].tolist())) == 2, "classes are mixed"


def test_photos_of_any_size_and_format_go_through_the_runtime_transform(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {"cat": range(4), "dog": range(4, 8)}, sample)
    big = Image.fromarray(sample.test_images[0]).resize((300, 200))
    turned = Image.Exif()
    turned[0x0112] = 6
    big.save(root / "cat" / "turned.JPG", exif=turned)
    big.convert("L").save(root / "cat" / "grey.webp")
    big.resize((7, 9)).convert("P").save(root / "dog" / "no suffix", "GIF")
    dataset, lines = reported_by(root, holdout=0.3)
    assert lines == [f"reading 11 images in {root}"]
    found = {image.tobytes() for image in [*dataset.train_images, *dataset.test_images]}
    assert found == pixels_of(root / "cat") | pixels_of(root / "dog")


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: not name.startswith(".") and len(name.encode()) < 200
)


@settings(max_examples=25, deadline=None)
@example(labels=["0", "data_batch_1"])  # the name of a file of CIFAR-10
@given(
    labels=st.lists(
        names, min_size=2, max_size=5, unique_by=lambda name: unicodedata.normalize("NFC", name).casefold()
    ).filter(lambda labels: not {"train", "test"} & {label.casefold() for label in labels})
)
def test_any_names_become_labels_in_sorted_order(sample: Dataset, labels: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        folders = {label: range(3 * number, 3 * number + 3) for number, label in enumerate(labels)}
        dataset = load_dataset(write_images(Path(folder), folders, sample), holdout=0.4)
        composed = [unicodedata.normalize("NFC", label) for label in labels]
        assert dataset.labels == tuple(sorted(composed))
        for number, label in enumerate(dataset.labels):
            own = Path(folder, labels[composed.index(label)])
            images = [*dataset.train_images[dataset.train_labels == number]]
            images += [*dataset.test_images[dataset.test_labels == number]]
            assert {image.tobytes() for image in images} == pixels_of(own)


@pytest.mark.parametrize(("classes", "kind"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (1000, np.uint16)])
def test_two_to_a_thousand_classes(tmp_path: Path, classes: int, kind: type) -> None:
    for number in range(classes):
        for side, split_name in enumerate(("train", "test")):
            folder = tmp_path / split_name / f"class {number:04}"
            folder.mkdir(parents=True)
            Image.new("RGB", (4, 4), (number // 256, number % 256, side)).save(folder / "1.ppm")
    dataset = load_dataset(tmp_path)
    assert sorted(dataset.train_labels.tolist()) == list(range(classes))
    assert dataset.arrays().test_labels.dtype == kind
    assert sorted(dataset.arrays().test_labels.tolist()) == list(range(classes))


# What cannot be read, and what is not an image


def test_unreadable_images_are_left_out_and_counted(split: Path) -> None:
    (split / "train" / "cat" / "broken.jpg").write_bytes(b"not an image")
    (split / "train" / "cat" / "empty.png").touch()
    (split / "test" / "dog" / "loop.png").symlink_to(split / "test" / "dog" / "loop.png")
    for _ in range(2):
        dataset, lines = reported_by(split)
        assert (len(dataset.train_images), len(dataset.test_images)) == (9, 3)
        assert lines[-1].startswith(
            f"left out: 3 of 15 images in {split} cannot be read, such as train/cat/broken.jpg: "
        )
    with pytest.raises(DataError, match=r"3 of 15 .* cannot be read, such as train/cat/broken.jpg: .*--strict"):
        load_dataset(split, strict=True)


def test_hidden_and_stray_files_are_ignored(split: Path) -> None:
    before = Fingerprints.of(load_dataset(split).arrays())
    for hidden in (".DS_Store", "train/.cache", "train/cat/._1.png"):
        (split / hidden).write_bytes(b"hidden")
    (split / ".git").mkdir()
    for stray in ("README.md", "train/labels.csv", "test/dog/Thumbs.db"):
        (split / stray).write_bytes(b"stray")
    (split / "loop").symlink_to(split / "loop")
    (split / "train" / "cat" / "more").mkdir()
    (split / "train" / "cat" / "back").symlink_to(split)
    (split / "val").mkdir()
    dataset, lines = reported_by(split, strict=True)
    assert Fingerprints.of(dataset.arrays()) == before
    assert lines == ["ignoring what is not an image in a class: README.md, loop, val, ... (7 in all)"]


def test_photographs_of_a_format_that_is_not_read_are_named_apart(split: Path) -> None:
    for name in ("train/cat/IMG_1.HEIC", "test/dog/IMG_2.heif", "train/cat/notes.txt"):
        (split / name).write_bytes(b"\0\0\0\x18ftypheic")
    _, lines = reported_by(split)
    assert lines[:2] == [
        "photographs of a format that is not read, convert them to JPEG: train/cat/IMG_1.HEIC, test/dog/IMG_2.heif",
        "ignoring what is not an image in a class: train/cat/notes.txt",
    ]


# Errors


def _one_class(root: Path) -> None:
    for split_name in ("train", "test"):
        for path in (root / split_name / "dog").iterdir():
            path.unlink()
        (root / split_name / "dog").rmdir()


def _no_test(root: Path) -> None:
    for path in (root / "test").iterdir():
        path.rename(root / "train" / f"{path.name}2")


def _not_utf8(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root / "train") + b"/caf\xe9")).mkdir()


def _only_broken(root: Path) -> None:
    for path in (root / "test" / "dog").iterdir():
        path.write_bytes(b"broken")


def _only_copies(root: Path) -> None:
    (content,) = {path.read_bytes() for path in (root / "test" / "dog").iterdir()}
    for path in (root / "train" / "dog").iterdir():
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "train" / "owl").mkdir(), r"but in train/ only: owl$"),
        (lambda root: (root / "test" / "a\nb").mkdir(), r"but in test/ only: 'a\\nb'$"),
        (lambda root: (root / "test" / "Cat").mkdir(), r"the classes Cat and cat in .* differ by case only"),
        (lambda root: (root / "train" / "STRASSE").mkdir() or (root / "train" / "straße").mkdir(), r"by case only"),
        (lambda root: [(root / part / "owl").mkdir() for part in ("train", "test")], r"image: train/owl, test/owl; "),
        (_one_class, r"has one class, cat; a classifier takes 2 to 1,000"),
        (_no_test, r"has classes in train/ but none in test/: .* alone, with --holdout"),
        (_not_utf8, r"is not UTF-8; rename it"),
        (_only_broken, r"leaves no image to test on of dog; every class needs one in train/ and in test/"),
        (_only_copies, r"leaves no image to train on of dog; every class needs one in train/ and in test/"),
        (
            lambda root: (root / "train" / "cafe\u0301").mkdir() or (root / "train" / "caf\u00e9").mkdir(),
            r"one name in",
        ),
    ],
)
def test_folders_that_are_not_a_dataset(split: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(split)
    with pytest.raises(DataError, match=message) as error:
        load_dataset(split)
    assert len(str(error.value).splitlines()) == 1
    assert str(split) in str(error.value)


def test_too_many_classes(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / str(number)).mkdir()
    with pytest.raises(DataError, match="has 1,001 classes; a classifier takes 2 to 1,000"):
        load_dataset(tmp_path, holdout=0.2)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds neither folders of images \(CLASS/\* with --holdout, .*\) nor CIFAR-10"
    ):
        load_dataset(tmp_path)


def test_a_folder_without_a_split_needs_a_holdout_and_two_images_a_class(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {"cat": range(2), "dog": range(2, 3)}, sample)
    with pytest.raises(DataError, match=r"has no test images of its own: give --holdout 0.2"):
        load_dataset(root)
    with pytest.raises(DataError, match=r"leaves no image to (train|test) on of dog; .* on each side of --holdout"):
        load_dataset(root, holdout=0.5)
    for holdout in (0.0, 1.0, 2.0, float("nan")):
        with pytest.raises(DataError, match="is not a share between 0 and 1"):
            load_dataset(root, holdout=holdout)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look anywhere")
def test_a_folder_that_may_not_be_read(split: Path) -> None:
    (split / "train" / "cat").chmod(0)
    try:
        with pytest.raises(DataError, match=r"cannot look into .*train/cat: Permission denied"):
            load_dataset(split)
    finally:
        (split / "train" / "cat").chmod(0o755)


@pytest.mark.parametrize("size", [48, 128])
def test_images_of_another_size_are_made_kept_and_the_same_the_next_time(split: Path, size: int) -> None:
    first, again = load_dataset(split, size=size), load_dataset(split, size=size)
    small = load_dataset(split)
    assert (first.size, small.size) == (size, 32)
    assert first.train_images.shape[1:] == (size, size, 3)
    np.testing.assert_array_equal(first.train_images, again.train_images)
    np.testing.assert_array_equal(first.test_images, again.test_images)
    originals = {to_pixels(Image.open(path), size).tobytes() for path in split.rglob("*.*") if path.is_file()}
    assert {image.tobytes() for image in first.train_images} < originals
    assert len(first.train_labels) == len(small.train_labels)


def test_images_of_cifar10_are_enlarged(sample: Dataset) -> None:
    large = load_dataset("sample", size=64)
    assert (large.size, large.name) == (64, sample.name)
    expected = to_pixels(Image.fromarray(sample.test_images[7]), 64)
    np.testing.assert_array_equal(large.test_images[7], expected)
    np.testing.assert_array_equal(large.train_labels, sample.train_labels)
