"""The embedded sample: 750 real images of CIFAR-10, in the wheel.

Two sheets hold 32x32 tiles, 25 a row, class by class; ``sample.json`` has their indices in the original training and
test set. A sheet is a grey PNG of three planes, one below the other: green, red minus green, blue minus green, modulo
256. That is a fifth smaller than an RGB PNG. Lossless WebP would save 70 kB more, but not every Pillow reads it.
``README.md`` says where the images come from; `cifar_edge.data.sample.make` made the files.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cifar_edge.data.dataset import Arrays, Dataset, Images
from cifar_edge.errors import DataError
from cifar_edge.runs.dataset import Fingerprints
from cifar_edge.spec import CIFAR10_LABELS

NAME = "cifar10-sample"
SPLITS = ("train", "test")
TILES_A_ROW = 25
FOLDER = Path(__file__).parent
RECORD = "sample.json"


def load_sample() -> Dataset:
    """Load the sample, in the order of the original dataset, so that classes are mixed.

    Raises:
        DataError: a file of the installed package is missing or damaged.
    """
    try:
        record = json.loads((FOLDER / RECORD).read_bytes())
        (train_images, train_labels), (test_images, test_labels) = (
            _read_split(FOLDER / f"{split}.png", record[split]) for split in SPLITS
        )
    except (OSError, ValueError, KeyError, SyntaxError) as error:
        raise DataError(f"the embedded sample in {FOLDER} is damaged ({error}); install cifar-edge again") from error
    arrays = Arrays(train_images, train_labels, test_images, test_labels)
    if Fingerprints.of(arrays) != Fingerprints(**record["sha256"]):
        raise DataError(f"the embedded sample in {FOLDER} is damaged (other pixels); install cifar-edge again")
    return Dataset(
        name=NAME,
        labels=CIFAR10_LABELS,
        train_images=train_images,
        train_labels=train_labels.astype(np.int64),
        test_images=test_images,
        test_labels=test_labels.astype(np.int64),
        source=f"embedded sample of {len(train_images)} training and {len(test_images)} test images",
    )


def _read_split(sheet: Path, indices: Mapping[str, list[int]]) -> tuple[Images, np.ndarray[Any, np.dtype[np.uint8]]]:
    labels = np.concatenate([np.full(len(indices[name]), i, np.uint8) for i, name in enumerate(CIFAR10_LABELS)])
    order = np.argsort(np.concatenate([indices[name] for name in CIFAR10_LABELS]))
    with Image.open(sheet) as image:
        green, red, blue = np.asarray(image).reshape(3, -1, 32, TILES_A_ROW, 32)
    pixels = np.stack([red + green, green, blue + green], axis=-1)  # uint8: modulo 256
    return pixels.swapaxes(1, 2).reshape(-1, 32, 32, 3)[order], labels[order]
