"""The layout of an image folder: CLASS/*, or train/CLASS/* and test/CLASS/*."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from image_folder_helpers import reported_by, write_images

from cifar_edge.data import Dataset, load_dataset
from cifar_edge.errors import DataError

SPLIT = {"train/cat": range(4), "train/dog": range(4, 8), "test/cat": range(8, 10), "test/dog": range(10, 12)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def split(tmp_path: Path, sample: Dataset) -> Path:
    return write_images(tmp_path / "pets", SPLIT, sample)


@pytest.mark.parametrize(
    "folders",
    [
        {"train": range(4), "bus": range(4, 8)},
        {"train": range(4), "test": range(4, 8)},
        {"train": range(4), "test": range(4, 8), "bus": range(8, 12)},
        {"train": range(4), "train/thumbnails": range(20, 22), "bus": range(4, 8)},
        {"train": range(4), "train/thumbnails": range(20, 22), "test": range(4, 8)},
        {"Train": range(4), "TEST": range(4, 8)},
    ],
    ids=lambda folders: ",".join(folders),
)
def test_classes_may_be_called_train_and_test(tmp_path: Path, sample: Dataset, folders: dict[str, range]) -> None:
    root = write_images(tmp_path / "data", folders, sample)
    dataset, lines = reported_by(root, holdout=0.5)
    assert dataset.labels == tuple(sorted(folder for folder in folders if "/" not in folder))
    assert [len(dataset.train_labels), len(dataset.test_labels)] == [2 * len(dataset.labels)] * 2
    expected = ["folders inside a class are not searched: train/thumbnails"] if "train/thumbnails" in folders else []
    assert lines[:-1] == expected


def test_an_empty_folder_in_a_class_called_train_changes_nothing(tmp_path: Path, sample: Dataset) -> None:
    root = write_images(tmp_path, {"train": range(4), "test": range(4, 8)}, sample)
    for name in ("train", "test"):
        for inside in ("a", "b"):
            (root / name / inside).mkdir()
    assert load_dataset(root, holdout=0.5).labels == ("test", "train")


def _thumbnails(root: Path, sample: Dataset) -> None:
    write_images(root, {"train": range(40, 42), "test": range(42, 44)}, sample)


def _images_next_to_splits(root: Path, sample: Dataset) -> None:
    write_images(root, {"bus": range(40, 42)}, sample)


def _images_next_to_train(root: Path, sample: Dataset) -> None:
    _images_next_to_splits(root, sample)
    shutil.rmtree(root / "test")


def _capitals(root: Path, sample: Dataset) -> None:
    (root / "train").rename(root / "Train")
    (root / "test").rename(root / "Test")


def _validation(root: Path, sample: Dataset) -> None:
    (root / "test").rename(root / "val")


def _flat_test(root: Path, sample: Dataset) -> None:
    shutil.rmtree(root / "test")
    write_images(root, {"test": range(40, 42)}, sample)


def _wrapped(root: Path, sample: Dataset) -> None:
    shutil.rmtree(root / "test")
    (root / "train").rename(root / "pets")


def _nested(root: Path, sample: Dataset) -> None:
    write_images(root, {"train/cat/more": range(40, 42)}, sample)
    for path in (root / "train" / "cat").glob("*.png"):
        path.unlink()


def _not_read(root: Path, sample: Dataset) -> None:
    for path in (root / "train" / "cat").glob("*.png"):
        path.rename(path.with_suffix(".HEIC"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _thumbnails,
            r"could be train/CLASS/\* and test/CLASS/\* or two classes of these names: train/ and test/ hold ",
        ),
        (_images_next_to_splits, r"is neither .*: test/, train/ hold folders of classes, bus/ holds images; move one"),
        (_images_next_to_train, r"is neither .*: train/ holds folders of classes, bus/ holds images; move one"),
        (_capitals, r"Test holds folders, as test/CLASS/\* does; if these are classes, rename it to test$"),
        (_validation, r"has classes in train/ but none in test/: .*; or rename val/ to test/, if it is that split$"),
        (_flat_test, r"has classes in train/ but none in test/: add test/CLASS/\*"),
        (
            _wrapped,
            r"has one class, pets; a classifier takes 2 to 1,000; its folders may be the classes: give .*pets",
        ),
        (_nested, r"has classes without an image: train/cat; .* that is read, which train/cat/more is not$"),
        (_not_read, r"without an image: train/cat; .* that is read, which train/cat/0.HEIC, ... \(4 in all\) is not$"),
    ],
)
def test_an_ambiguous_layout_is_one_error_that_says_how_to_fix_it(
    split: Path, sample: Dataset, change: Callable[[Path, Dataset], None], message: str
) -> None:
    change(split, sample)
    with pytest.raises(DataError, match=message) as error:
        load_dataset(split)
    assert len(str(error.value).splitlines()) == 1


def test_images_directly_in_train_are_stray_if_the_classes_are_clear(split: Path, sample: Dataset) -> None:
    write_images(split, {"train": range(40, 41)}, sample)
    dataset, lines = reported_by(split)
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (8, 4)
    assert lines[0] == "ignoring what is not an image in a class: train/40.png"


# Neither an image folder nor CIFAR-10


@pytest.mark.parametrize("holdout", [None, 0.2])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", r"empty holds neither folders of images \(CLASS/\* with --holdout, .*\) nor CIFAR-10"),
        ("nowhere", r"there is no .*nowhere; give an image folder \(CLASS/\* with --holdout, or train/"),
        ("flat", r"flat holds images, but no folders of classes: give its parent folder, or make CLASS/"),
        ("a" * 300, r"cannot look into .*a: File name too long|there is no .*a"),
        ("pets.zip", r"pets\.zip .*unpack"),
        ("loop", r"cannot look into .*loop: Too many levels of symbolic links|there is no .*loop"),
    ],
)
def test_what_is_not_a_dataset_has_its_own_message(
    tmp_path: Path, sample: Dataset, name: str, message: str, holdout: float | None
) -> None:
    (tmp_path / "empty").mkdir()
    write_images(tmp_path, {"flat": range(2)}, sample)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path / "flat")
    with pytest.raises(DataError, match=message) as error:
        load_dataset(tmp_path / name, holdout=holdout)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("name", "meant"), [("petz", "pets"), ("label.csv", "labels.csv"), ("sampel", "sample")])
def test_a_misspelt_name_is_answered_with_the_one_that_was_meant(tmp_path: Path, name: str, meant: str) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "labels.csv").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=rf"there is no .*{name} \(did you mean {meant}\?\); give an image folder"):
        load_dataset(tmp_path / name)
    with pytest.raises(DataError, match=r"there is no .*dangling; give"):
        load_dataset(tmp_path / "dangling")


def test_holdout_is_refused_if_there_are_test_images(split: Path) -> None:
    with pytest.raises(DataError, match=r"has train/ and test/ already; leave --holdout out"):
        load_dataset(split, holdout=0.2)
    with pytest.raises(DataError, match="CIFAR-10 has test images"):
        load_dataset("sample", holdout=0.2)
