"""CIFAR-10 in the parquet files of dataset hubs: a row is an encoded image and its label."""

import io
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cifar_edge.data.cifar10.dataset_spec import DatasetSpec
from cifar_edge.data.dataset import Arrays, Images, labels_of
from cifar_edge.errors import MissingExtra
from cifar_edge.runs.dataset import Fingerprints


def find_parquet(folder: Path) -> dict[str, list[Path]]:
    """Split -> its files, sorted, in ``folder`` or a folder in it; empty unless both splits are there."""
    files = sorted([*folder.glob("*.parquet"), *folder.glob("*/*.parquet")])
    splits = {
        split: [path for path in files if path.name.startswith(split) or path.parent.name == split]
        for split in ("train", "test")
    }
    return splits if all(splits.values()) else {}


def read_parquet(folder: Path, spec: DatasetSpec) -> Arrays:
    """The arrays in the parquet files of ``folder``, in the original order.

    Hubs made these files from the original archive, where the five training batches are not in the order of their
    numbers. So the batches are put in the order in which their labels have the fingerprint of the spec.

    Raises:
        MissingExtra: pyarrow is not installed.
        ValueError: a file lacks the column of images or that of labels.
    """
    splits = find_parquet(folder)
    train_images, train_labels = _read_split(splits["train"])
    test_images, test_labels = _read_split(splits["test"])
    batches = len(spec.batches) - 1
    if len(train_labels) % batches == 0:
        positions = np.arange(len(train_labels)).reshape(batches, -1)
        for order in permutations(range(batches)):
            chosen = positions[list(order)].ravel()
            candidate = Arrays(train_images[:0], train_labels[chosen], test_images[:0], test_labels[:0])
            if Fingerprints.of(candidate).train_labels == spec.fingerprints.train_labels:
                train_images, train_labels = train_images[chosen], train_labels[chosen]
                break
    return Arrays(train_images, train_labels, test_images, test_labels)


def _read_split(files: list[Path]) -> tuple[Images, Images]:
    try:
        from pyarrow import concat_tables
        from pyarrow.parquet import read_table
    except ImportError as error:
        raise MissingExtra(f"parquet files need pyarrow ({error}); pip install 'cifar-edge[hub]'") from error
    table = concat_tables([read_table(path) for path in files])
    names = table.column_names
    image_column = next((name for name in ("img", "image") if name in names), None)
    if image_column is None or "label" not in names:
        raise ValueError(f"columns {', '.join(names)}, but img or image, and label, are needed")
    images = [_decode(row["bytes"] if isinstance(row, dict) else row) for row in table[image_column].to_pylist()]
    return np.stack(images), labels_of(table["label"].to_pylist())


def _decode(content: bytes) -> Any:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if image.mode != "RGB" or image.size != (32, 32):
            raise ValueError(f"an image of {image.width} x {image.height} pixels, {image.mode}")
        return np.asarray(image)
