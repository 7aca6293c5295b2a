"""The embedded sample: 750 real images of CIFAR-10; 350 of them, all test images among these, are in the wheel.

Three sheets hold 32x32 tiles, 25 a row, class by class; ``sample.json`` has their indices in the original training
and test set. A sheet is a lossless WebP, a quarter smaller than a PNG. ``more.webp`` has most of the training images,
and is left out of the wheel: see ``exclude`` in pyproject.toml. ``README.md`` says where the images come from;
`cifar_edge.data.sample.make` made the files.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from cifar_edge.data.dataset import Arrays, Dataset, Images
from cifar_edge.errors import DataError
from cifar_edge.runs.dataset import Fingerprints
from cifar_edge.spec import CIFAR10_LABELS

NAME = "cifar10-sample"
SHEETS = {"train": slice(10), "more": slice(10, 50), "test": slice(25)}
"""Which images of each class of its split a sheet has; ``more`` are training images."""
TILES_A_ROW = 25
FOLDER = Path(__file__).parent
RECORD = "sample.json"


def load_sample() -> Dataset:
    """Load the sample, in the order of the original dataset, so that classes are mixed.

    Raises:
        DataError: a file of the installed package is missing or damaged, or Pillow reads no WebP.
    """
    if not features.check("webp"):
        raise DataError("the embedded sample is WebP, which this Pillow was built without; install Pillow from a wheel")
    try:
        record = json.loads((FOLDER / RECORD).read_bytes())
        train = ["train", "more"] if sheet_path("more").exists() else ["train"]
        arrays = Arrays(*_read(train, record), *_read(["test"], record))
        known = Fingerprints(**record["sha256"][" and ".join(train)], **record["sha256"]["test"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"the embedded sample in {FOLDER} is damaged ({error}); install cifar-edge again") from error
    if Fingerprints.of(arrays) != known:
        raise DataError(f"the embedded sample in {FOLDER} is damaged (other pixels); install cifar-edge again")
    return Dataset(
        name=NAME,
        labels=CIFAR10_LABELS,
        train_images=arrays.train_images,
        train_labels=arrays.train_labels.astype(np.int64),
        test_images=arrays.test_images,
        test_labels=arrays.test_labels.astype(np.int64),
        source=f"embedded sample of {len(arrays.train_labels)} training and {len(arrays.test_labels)} test images",
    )


def sheet_path(name: str) -> Path:
    """The file of one of `SHEETS`."""
    return FOLDER / f"{name}.webp"


def _read(
    names: Sequence[str], record: Mapping[str, Mapping[str, list[int]]]
) -> tuple[Images, np.ndarray[Any, np.dtype[np.uint8]]]:
    """Images and labels of some sheets, in the order of the original dataset."""
    indices = [record[name][label] for name in names for label in CIFAR10_LABELS]
    classes = np.tile(np.arange(len(CIFAR10_LABELS), dtype=np.uint8), len(names))
    labels = np.repeat(classes, [len(each) for each in indices])
    order = np.argsort(np.concatenate(indices))
    return np.concatenate([_tiles(sheet_path(name)) for name in names])[order], labels[order]


def _tiles(sheet: Path) -> Images:
    with Image.open(sheet) as image:
        tiles = np.asarray(image).reshape(-1, 32, TILES_A_ROW, 32, 3)
    return tiles.swapaxes(1, 2).reshape(-1, 32, 32, 3)
