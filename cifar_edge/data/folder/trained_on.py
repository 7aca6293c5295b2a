"""The own pictures that a run was trained on: none of them ever counts as a test image of that run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cifar_edge.data.dataset import Dataset, Images, image_digests
from cifar_edge.errors import DataError, ModelError
from cifar_edge.files import read_bounded, write_bytes
from cifar_edge.messages import display_name, reason

TRAINED_ON = "trained-on.bin"
"""In the folder of a run: of each picture the first 64 bits of its digest, little-endian, in ascending order."""

_HEX_DIGITS = 16
_KIND = np.dtype("<u8")

_MAX_BYTES = 256 << 20
"""Of the file: the digests of 33 million pictures."""

Digests = np.ndarray[Any, np.dtype[np.uint64]]
"""uint64 ``[n]``: among a million pictures the chance that two differing ones share one is 1 to 37 million."""


def write_trained_on(folder: Path, dataset: Dataset) -> None:
    """Keep in the folder of a run what it was trained on, held-out images included; of CIFAR-10 nothing need be kept.

    Raises:
        CifarEdgeError: the file cannot be written.
    """
    if dataset.folder is not None:
        write_bytes(folder / TRAINED_ON, np.unique(_digests(dataset.train_images)).tobytes())


def has_trained_on(folder: Path) -> bool:
    """Whether the run keeps what it was trained on: those of early versions do not."""
    return (folder / TRAINED_ON).is_file()


def without_trained_on(dataset: Dataset, folder: Path) -> tuple[Dataset, int]:
    """``dataset`` without the test images that the run in ``folder`` was trained on, and how many these are.

    The source of the data set tells them too. Where the run keeps no such record, there are none.

    Raises:
        ModelError: the record is damaged.
        DataError: no test image would be left.
    """
    if dataset.folder is None or not has_trained_on(folder):
        return dataset, 0
    try:
        content = read_bounded(folder / TRAINED_ON, _MAX_BYTES)
        trained_on = np.frombuffer(content, _KIND)
    except (OSError, ValueError) as error:
        name = display_name(str(folder / TRAINED_ON))
        raise ModelError(f"{name} is damaged ({reason(error)}); train anew, or copy the run again") from error
    kept = ~np.isin(_digests(dataset.test_images), trained_on)
    left_out = len(kept) - int(kept.sum())
    if not left_out:
        return dataset, 0
    if not kept.any():
        raise DataError(
            f"{display_name(str(folder))} was trained on every test image of {display_name(dataset.name)}; give others "
            "with --data DIR"
        )
    tested = replace(
        dataset,
        test_images=dataset.test_images[kept],
        test_labels=dataset.test_labels[kept],
        source=f"{dataset.source}, {left_out:,} test images left out that were trained on",
    )
    return tested, left_out


def _digests(images: Images) -> Digests:
    return np.array([int(digest[:_HEX_DIGITS], 16) for digest in image_digests(images)], _KIND)
