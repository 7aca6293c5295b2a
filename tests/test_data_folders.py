"""Own pictures in folders by class: what is found, read, kept, held out, and refused."""

import hashlib
import os
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_helpers import write_pictures
from PIL import Image

from cifar_edge import runtime
from cifar_edge.data import Dataset, decoding, load_dataset
from cifar_edge.data.corpus import Fingerprints
from cifar_edge.data.dataset import Images
from cifar_edge.data.own import held_out
from cifar_edge.errors import DataError
from cifar_edge.runtime.images import read_pixels

SPLIT = {"train/cat": range(4), "train/dog": range(4, 9), "test/cat": range(9, 11), "test/dog": range(11, 12)}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("cifar_edge.data.decoding.cache_folder", lambda: folder)
    return folder


@pytest.fixture
def split(tmp_path: Path, sample: Dataset) -> Path:
    return write_pictures(tmp_path / "pets", SPLIT, sample)


def pixels_of(folder: Path) -> set[bytes]:
    return {read_pixels(path).tobytes() for path in folder.iterdir()}


def told_by(root: Path, holdout: float | None = None, strict: bool = False) -> tuple[Dataset, list[str]]:
    lines: list[str] = []
    return load_dataset(root, holdout=holdout, strict=strict, report=lines.append), lines


def test_train_and_test_folders(split: Path) -> None:
    dataset, lines = told_by(split)
    assert lines == [f"reading 12 pictures in {split}"]
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
    root = write_pictures(tmp_path, {"cat": range(4), "dog": range(4, 8)}, sample)
    big = Image.fromarray(sample.test_images[0]).resize((300, 200))
    turned = Image.Exif()
    turned[0x0112] = 6
    big.save(root / "cat" / "turned.JPG", exif=turned)
    big.convert("L").save(root / "cat" / "grey.webp")
    big.resize((7, 9)).convert("P").save(root / "dog" / "no suffix", "GIF")
    dataset, lines = told_by(root, holdout=0.3)
    assert lines == [f"reading 11 pictures in {root}"]
    found = {image.tobytes() for image in [*dataset.train_images, *dataset.test_images]}
    assert found == pixels_of(root / "cat") | pixels_of(root / "dog")


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: not name.startswith(".") and len(name.encode()) < 200
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        names, min_size=2, max_size=5, unique_by=lambda name: unicodedata.normalize("NFC", name).casefold()
    ).filter(lambda labels: not {"train", "test"} & {label.casefold() for label in labels})
)
def test_any_names_become_labels_in_sorted_order(sample: Dataset, labels: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        folders = {label: range(3 * number, 3 * number + 3) for number, label in enumerate(labels)}
        dataset = load_dataset(write_pictures(Path(folder), folders, sample), holdout=0.4)
        composed = [unicodedata.normalize("NFC", label) for label in labels]
        assert dataset.labels == tuple(sorted(composed))
        for number, label in enumerate(dataset.labels):
            own = Path(folder, labels[composed.index(label)])
            images = [*dataset.train_images[dataset.train_labels == number]]
            images += [*dataset.test_images[dataset.test_labels == number]]
            assert {image.tobytes() for image in images} == pixels_of(own)


def test_a_class_may_be_called_train(tmp_path: Path, sample: Dataset) -> None:
    root = write_pictures(tmp_path, {"train": range(4), "bus": range(4, 8)}, sample)
    assert load_dataset(root, holdout=0.5).labels == ("bus", "train")
    (root / "train" / "thumbnails").mkdir()
    assert load_dataset(root, holdout=0.5).labels == ("bus", "train")


@pytest.mark.parametrize(("classes", "kind"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (1000, np.uint16)])
def test_two_to_a_thousand_classes(tmp_path: Path, sample: Dataset, classes: int, kind: type) -> None:
    content = [_png(sample, index) for index in range(2)]
    for split_name, picture in zip(("train", "test"), content, strict=True):
        for number in range(classes):
            folder = tmp_path / split_name / f"class {number:04}"
            folder.mkdir(parents=True)
            (folder / "1.png").write_bytes(picture + number.to_bytes(2))  # another file of the same pixels
    dataset = load_dataset(tmp_path)
    assert sorted(dataset.train_labels.tolist()) == list(range(classes))
    assert dataset.arrays().test_labels.dtype == kind
    assert sorted(dataset.arrays().test_labels.tolist()) == list(range(classes))


def _png(sample: Dataset, index: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return (write_pictures(Path(folder), {"x": [index]}, sample) / "x" / f"{index}.png").read_bytes()


# The held-out split


def test_the_bytes_of_a_picture_decide_on_which_side_it_is(tmp_path: Path, sample: Dataset) -> None:
    root = write_pictures(tmp_path / "a", {"cat": range(60), "dog": range(60, 120)}, sample)
    dataset = load_dataset(root, holdout=0.25)
    expected = {
        read_pixels(path).tobytes()
        for path in root.glob("*/*")
        if int(hashlib.sha256(path.read_bytes()).hexdigest(), 16) < 2**254
    }
    assert {image.tobytes() for image in dataset.test_images} == expected
    assert 10 < len(expected) < 50


def test_added_and_renamed_pictures_move_no_other(tmp_path: Path, sample: Dataset) -> None:
    root = write_pictures(tmp_path, {"cat": range(40), "dog": range(40, 80)}, sample)
    before = load_dataset(root, holdout=0.25)
    for number, path in enumerate(sorted((root / "cat").iterdir())):
        path.rename(path.with_name(f"renamed {97 * number % 40}.png"))
    assert Fingerprints.of(load_dataset(root, holdout=0.25).arrays()) == Fingerprints.of(before.arrays())
    after = load_dataset(write_pictures(root, {"cat": range(80, 120), "dog": range(120, 200)}, sample), holdout=0.25)
    trained = {image.tobytes() for image in before.train_images}
    assert len(after.test_images) > len(before.test_images)
    assert not trained & {image.tobytes() for image in after.test_images}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=60),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_held_out_leaves_both_sides_a_picture(pictures: list[tuple[int, int]], holdout: float) -> None:
    digests = np.array([hashlib.sha256(bytes([picture])).hexdigest() for picture, _ in pictures])
    order = np.argsort(digests)
    digests, labels = digests[order], np.array([label for _, label in pictures])[order]
    test = held_out(digests, labels, holdout)
    for label in set(labels.tolist()):
        own = labels == label
        sides = {digest: set(test[own & (digests == digest)].tolist()) for digest in set(digests[own].tolist())}
        assert all(len(each) == 1 for each in sides.values()), "copies are on one side"
        if len(sides) > 1:
            assert test[own].any()
            assert not test[own].all()


def test_training_copies_of_test_images_are_left_out(split: Path, sample: Dataset) -> None:
    (split / "train" / "dog" / "copy.png").write_bytes((split / "test" / "cat" / "9.png").read_bytes())
    dataset, lines = told_by(split)
    assert len(dataset.train_images) == 9
    assert lines[-1] == "left out of the training, because they are test images too: train/dog/copy.png"
    assert not {image.tobytes() for image in dataset.train_images} & {image.tobytes() for image in dataset.test_images}


# What cannot be read, and what is no picture


def test_unreadable_pictures_are_left_out_and_counted(split: Path) -> None:
    (split / "train" / "cat" / "broken.jpg").write_bytes(b"no picture")
    (split / "train" / "cat" / "empty.png").touch()
    (split / "test" / "dog" / "loop.png").symlink_to(split / "test" / "dog" / "loop.png")
    for _ in range(2):
        dataset, lines = told_by(split)
        assert (len(dataset.train_images), len(dataset.test_images)) == (9, 3)
        assert lines[-1].startswith(
            f"left out: 3 of 15 pictures in {split} cannot be read, such as train/cat/broken.jpg: "
        )
    with pytest.raises(DataError, match=r"3 of 15 .* cannot be read, such as train/cat/broken.jpg: .*--strict"):
        load_dataset(split, strict=True)


def test_hidden_and_stray_files_are_left_alone(split: Path) -> None:
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
    dataset, lines = told_by(split, strict=True)
    assert Fingerprints.of(dataset.arrays()) == before
    assert lines == ["ignoring what is no picture by its name: README.md, loop, val, ... (7 in all)"]


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
        (lambda root: [(root / part / "owl").mkdir() for part in ("train", "test")], r"picture: train/owl, test/owl; "),
        (_one_class, r"has one class, cat; a classifier tells 2 to 1,000 apart"),
        (_no_test, r"has classes in train/ but none in test/: .* alone, with --holdout"),
        (_not_utf8, r"is not UTF-8; rename it"),
        (_only_broken, r"leaves no picture to test on of dog; every class needs one in train/ and in test/"),
        (_only_copies, r"leaves no picture to train on of dog; every class needs one in train/ and in test/"),
        (
            lambda root: (root / "train" / "cafe\u0301").mkdir() or (root / "train" / "caf\u00e9").mkdir(),
            r"same name in",
        ),
    ],
)
def test_folders_that_are_no_data_set(split: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(split)
    with pytest.raises(DataError, match=message) as error:
        load_dataset(split)
    assert len(str(error.value).splitlines()) == 1
    assert str(split) in str(error.value)


def test_too_many_classes(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / str(number)).mkdir()
    with pytest.raises(DataError, match="has 1,001 classes; a classifier tells 2 to 1,000 apart"):
        load_dataset(tmp_path, holdout=0.2)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds no CIFAR-10: .*; nor classes of your own, train/CLASS/\* and test/CLASS"
    ):
        load_dataset(tmp_path)


def test_one_folder_needs_a_holdout_and_two_pictures_a_class(tmp_path: Path, sample: Dataset) -> None:
    root = write_pictures(tmp_path, {"cat": range(2), "dog": range(2, 3)}, sample)
    with pytest.raises(DataError, match=r"is one folder of classes: give --holdout 0.2"):
        load_dataset(root)
    with pytest.raises(DataError, match=r"leaves no picture to (train|test) on of dog; .* on each side of --holdout"):
        load_dataset(root, holdout=0.5)
    for holdout in (0.0, 1.0, 2.0, float("nan")):
        with pytest.raises(DataError, match="is no share between 0 and 1"):
            load_dataset(root, holdout=holdout)


def test_holdout_is_refused_where_there_are_test_images(split: Path) -> None:
    with pytest.raises(DataError, match=r"has train/ and test/; leave --holdout out"):
        load_dataset(split, holdout=0.2)
    with pytest.raises(DataError, match="CIFAR-10 has test images"):
        load_dataset("sample", holdout=0.2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look anywhere")
def test_a_folder_that_must_not_be_looked_into(split: Path) -> None:
    (split / "train" / "cat").chmod(0)
    try:
        with pytest.raises(DataError, match=r"cannot look into .*train/cat: Permission denied"):
            load_dataset(split)
    finally:
        (split / "train" / "cat").chmod(0o755)


# The cache


def test_the_second_time_nothing_is_decoded(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(split)
    monkeypatch.setattr("cifar_edge.data.decoding.read_pixels", lambda path: pytest.fail(f"{path} is read again"))
    again, lines = told_by(split)
    assert lines == []
    assert Fingerprints.of(again.arrays()) == Fingerprints.of(first.arrays())


def test_changed_new_and_removed_files_are_noticed(split: Path, sample: Dataset) -> None:
    load_dataset(split)
    cat = split / "train" / "cat"
    Image.fromarray(sample.test_images[0]).save(cat / "0.png")
    os.utime(cat / "0.png", ns=(1, 1))
    Image.fromarray(sample.test_images[1]).save(cat / "new.png")
    (cat / "1.png").unlink()
    dataset, lines = told_by(split)
    assert lines == [f"reading 2 pictures in {split}"]
    number = dataset.labels.index("cat")
    assert {image.tobytes() for image in dataset.train_images[dataset.train_labels == number]} == pixels_of(cat)
    assert told_by(split)[1] == []


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-100], lambda content: b"x" * 1000])
def test_a_damaged_cache_is_made_anew(split: Path, cache: Path, damage: Callable[[bytes], bytes]) -> None:
    before = Fingerprints.of(load_dataset(split).arrays())
    (file,) = cache.glob("own/*.npz")
    file.write_bytes(damage(file.read_bytes()))
    dataset, lines = told_by(split)
    assert lines == [f"reading 12 pictures in {split}"]
    assert Fingerprints.of(dataset.arrays()) == before
    assert told_by(split)[1] == []


def test_another_rule_or_pillow_decodes_anew(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_dataset(split)
    monkeypatch.setattr("cifar_edge.data.decoding._rule", lambda: "another")
    assert told_by(split)[1] == [f"reading 12 pictures in {split}"]


@pytest.mark.parametrize("module", [runtime.images, runtime.transform])
def test_other_code_that_decodes_is_another_rule(
    split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    load_dataset(split)
    (tmp_path / "other.py").write_text("# changed")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "other.py"))
    decoding._rule.cache_clear()
    try:
        assert told_by(split)[1] == [f"reading 12 pictures in {split}"]
    finally:
        decoding._rule.cache_clear()


def test_without_a_cache_it_goes_on(split: Path, cache: Path) -> None:
    (cache / "own").write_text("a file where the folder should be")
    dataset, lines = told_by(split)
    assert len(dataset.train_images) == 9
    assert lines[-1].startswith("cannot write ")
    assert lines[-1].endswith("; the pictures will be decoded again the next time")


def test_a_picture_that_another_process_writes_meanwhile_is_left_out(
    split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pixels would be those of one picture, its SHA-256 that of another."""
    first, second = sorted((split / "train").rglob("*.png"))[:2]

    def read_while_another_writes(path: Path) -> Images:
        pixels = read_pixels(path)
        if path == first:
            first.write_bytes(second.read_bytes())
        return pixels

    monkeypatch.setattr(decoding, "read_pixels", read_while_another_writes)
    dataset, lines = told_by(split)
    assert len(dataset.train_images) == 8
    assert f"{first.relative_to(split)}: it was changed while it was read" in lines[-1]
