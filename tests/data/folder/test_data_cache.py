"""The cache of decoded images: the bytes of the files decide, damage is repaired, its size is bounded."""

import os
import shutil
import threading
from collections.abc import Callable
from io import BufferedReader, FileIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_folder_helpers import pixels_of, reported_by, write_images
from PIL import Image

from cifar_edge import runtime
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.data.folder import pixel_cache
from cifar_edge.runs.dataset import Fingerprints
from cifar_edge.runtime.images import read_pixels

SPLIT = {"train/cat": range(4), "train/dog": range(4, 9), "test/cat": range(9, 11), "test/dog": range(11, 12)}
IMAGE_BYTES = 2 * 32 + 3072
"""Bytes of an image in the cache."""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "cifar-edge"


@pytest.fixture
def split(tmp_path: Path, sample: Dataset) -> Path:
    return write_images(tmp_path / "pets", SPLIT, sample)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that are decoded, in order."""
    names: list[str] = []

    def read(content: bytes, name: str, size: int) -> object:
        names.append(name)
        return read_pixels(content, name, size=size)

    monkeypatch.setattr("cifar_edge.data.folder.decoding.read_pixels", read)
    return names


def file_of(cache: Path) -> Path:
    (file,) = (cache / "own").iterdir()
    return file


def test_the_second_time_nothing_is_decoded(split: Path, decoded: list[str]) -> None:
    first, lines = reported_by(split)
    assert lines == [f"reading 12 images in {split}"]
    assert len(decoded) == 12
    again, lines = reported_by(split)
    assert (len(decoded), lines) == (12, [])
    assert Fingerprints.of(again.arrays()) == Fingerprints.of(first.arrays())


def test_changed_new_and_removed_files_are_noticed(split: Path, sample: Dataset, decoded: list[str]) -> None:
    load_dataset(split)
    cat = split / "train" / "cat"
    Image.fromarray(sample.test_images[0]).save(cat / "0.png")
    Image.fromarray(sample.test_images[1]).save(cat / "new.png")
    (cat / "1.png").unlink()
    (cat / "2.png").rename(cat / "renamed.png")
    decoded.clear()
    dataset, _ = reported_by(split)
    assert sorted(decoded) == ["train/cat/0.png", "train/cat/new.png"]
    number = dataset.labels.index("cat")
    assert {image.tobytes() for image in dataset.train_images[dataset.train_labels == number]} == pixels_of(cat)
    assert reported_by(split)[1] == []


def test_an_image_swapped_for_one_of_its_name_size_and_time_is_another(tmp_path: Path, split: Path) -> None:
    """As ``cp -p``, rsync, git and archives swap them."""
    one, other = split / "train" / "cat" / "0.ppm", split / "train" / "cat" / "1.ppm"
    Image.new("RGB", (9, 9), "red").save(one)
    Image.new("RGB", (9, 9), "blue").save(other)
    for path in (one, other):
        os.utime(path, ns=(1, 1))
    before = load_dataset(split)
    other.replace(one)
    Image.new("RGB", (9, 9), "green").save(other)
    os.utime(other, ns=(1, 1))
    assert Fingerprints.of(load_dataset(split).arrays()) != Fingerprints.of(before.arrays())
    images = {image.tobytes() for image in load_dataset(split).train_images}
    assert np.full((32, 32, 3), (255, 0, 0), np.uint8).tobytes() not in images
    assert {read_pixels(one).tobytes(), read_pixels(other).tobytes()} <= images


# Damage


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 100)


def _one_image_less(file: Path) -> None:
    os.truncate(file, file.stat().st_size - IMAGE_BYTES)


def _pixels(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5 * 3072 :] = bytes(5 * 3072)
    file.write_bytes(content)


def _huge(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(32 + IMAGE_BYTES * 1_000_000)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"x" * (32 + IMAGE_BYTES)),
        lambda file: file.write_bytes(file.read_bytes()[32:]),
        _truncated,
        _one_image_less,
        _pixels,
        _huge,
    ],
)
def test_a_damaged_cache_is_made_anew(split: Path, cache: Path, damage: Callable[[Path], object]) -> None:
    before = Fingerprints.of(load_dataset(split).arrays())
    file = file_of(cache)
    whole = file.read_bytes()
    damage(file)
    dataset, lines = reported_by(split)
    assert lines == [f"reading 12 images in {split}"]
    assert Fingerprints.of(dataset.arrays()) == before
    assert file.read_bytes() == whole
    assert reported_by(split)[1] == []


def test_a_folder_in_place_of_the_cache_file_stops_nothing(split: Path, cache: Path) -> None:
    before = Fingerprints.of(load_dataset(split).arrays())
    _folder(file_of(cache))
    dataset, lines = reported_by(split)
    assert Fingerprints.of(dataset.arrays()) == before
    assert lines[-1].startswith("cannot write ")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0), st.binary(max_size=200), st.booleans())
def test_no_damage_changes_a_pixel(
    tmp_path: Path, cache: Path, sample: Dataset, at: int, junk: bytes, cut: bool
) -> None:
    root = tmp_path / "pets"
    if not root.exists():
        write_images(root, {"cat": range(3), "dog": range(3, 6)}, sample)
    before = Fingerprints.of(load_dataset(root, holdout=0.3).arrays())
    file = file_of(cache)
    content = file.read_bytes()
    at %= len(content) + 1
    file.write_bytes(content[:at] + junk + (b"" if cut else content[at + len(junk) :]))
    assert Fingerprints.of(load_dataset(root, holdout=0.3).arrays()) == before


def test_another_rule_or_pillow_decodes_anew(split: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]) -> None:
    load_dataset(split)
    monkeypatch.setattr("PIL.__version__", "0.0.0")
    load_dataset(split)
    assert len(decoded) == 24


@pytest.mark.parametrize("module", [runtime.images, runtime.levels, runtime.transform])
def test_other_decoding_code_is_another_rule(
    split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    load_dataset(split)
    (tmp_path / "other.py").write_text("# changed")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "other.py"))
    assert reported_by(split)[1] == [f"reading 12 images in {split}"]


def test_a_dataset_loads_without_a_cache(split: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / "own").write_text("a file where the folder should be")
    dataset, lines = reported_by(split)
    assert len(dataset.train_images) == 9
    assert lines[-1].startswith("cannot write ")
    assert lines[-1].endswith("; the images will be decoded again the next time")


# Size and emptying


def test_the_least_recently_used_file_is_removed(
    tmp_path: Path, cache: Path, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_cache, "MOST_BYTES", 3 * 32 + 14 * IMAGE_BYTES)
    roots = [write_images(tmp_path / name, {"cat": range(3), "dog": range(3, 6)}, sample) for name in ("a", "b", "c")]
    for number, root in enumerate(roots[:2]):
        load_dataset(root, holdout=0.3)
        for file in (cache / "own").iterdir():
            os.utime(file, (number, number))
    load_dataset(roots[0], holdout=0.3)  # used last, although it was written first
    load_dataset(roots[2], holdout=0.3)
    assert sum(file.stat().st_size for file in (cache / "own").iterdir()) <= pixel_cache.MOST_BYTES
    assert [reported_by(root, 0.3)[1] for root in (roots[0], roots[2])] == [[], []]
    assert reported_by(roots[1], 0.3)[1] == [f"reading 6 images in {roots[1]}"]


def test_a_folder_larger_than_the_bound_is_kept_in_part(
    split: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    monkeypatch.setattr(pixel_cache, "MOST_BYTES", 32 + 10 * IMAGE_BYTES)
    before = Fingerprints.of(load_dataset(split).arrays())
    assert file_of(cache).stat().st_size == pixel_cache.MOST_BYTES
    assert Fingerprints.of(load_dataset(split).arrays()) == before
    assert len(decoded) == 12 + 2


def test_the_cache_can_be_emptied(split: Path, cache: Path, tmp_path: Path) -> None:
    load_dataset(split)
    (cache / "teachers").mkdir()
    (cache / "teachers" / "logits").write_bytes(b"1" * 1000)
    (cache / "c").mkdir()
    (cache / "c" / "library").write_bytes(b"2" * 2000)
    (cache / "cifar10.npz").write_bytes(b"fetched")
    size = file_of(cache).stat().st_size + 3000
    done = CliRunner().invoke(main, ["data", "--empty-cache"])
    assert (done.exit_code, done.stdout) == (0, f"freed {size / 1e6:,.1f} MB in {cache}\n")
    assert [path.name for path in cache.iterdir()] == ["cifar10.npz"]
    done = CliRunner().invoke(main, ["data", "--empty-cache", "--json"])
    assert (done.exit_code, done.stdout.count('"freed_bytes": 0')) == (0, 1)
    assert reported_by(split)[1] == [f"reading 12 images in {split}"]


# Two at the same time


def test_two_at_the_same_time_give_what_each_gives_alone(split: Path, cache: Path) -> None:
    alone = Fingerprints.of(load_dataset(split).arrays())
    found: list[Fingerprints] = []

    def load() -> None:
        for _ in range(5):
            shutil.rmtree(cache, ignore_errors=True)
            found.append(Fingerprints.of(load_dataset(split).arrays()))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 15


def test_a_file_that_vanishes_while_it_is_read_is_left_out(
    split: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    def read(path: Path) -> bytes:
        if path.name == "0.png":
            path.unlink()
        return runtime.images.read_bytes(path)

    monkeypatch.setattr("cifar_edge.data.folder.decoding.read_bytes", read)
    dataset, lines = reported_by(split)
    assert len(dataset.train_images) == 8
    assert lines[-1] == f"left out: 1 of 12 images in {split} cannot be read, such as train/cat/0.png: no such file"


def test_an_image_that_another_process_is_writing_is_left_out(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = split / "train" / "cat" / "0.png"
    whole = image.read_bytes()

    class Slow(BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            os.truncate(image, len(whole) - 1)
            return content

    usual = Path.open

    def opened(path: Path, mode: str = "r", **options: Any) -> object:
        return Slow(FileIO(path)) if (path, mode) == (image, "rb") else usual(path, mode, **options)

    monkeypatch.setattr(Path, "open", opened)
    dataset, lines = reported_by(split)
    assert len(dataset.train_images) == 8
    assert lines[-1].endswith("train/cat/0.png: it was written to while it was read; read it again")
