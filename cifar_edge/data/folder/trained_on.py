"""The images that a run was trained on, as digests: none of them is ever a test image of that run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cifar_edge.data.dataset import Dataset, Images, image_digests
from cifar_edge.errors import DataError, ModelError
from cifar_edge.files import read_bounded, write_bytes
from cifar_edge.messages import display_name, reason

TRAINED_ON = "trained-on.bin"
"""A file in the folder of a run: the first 64 bits of each image's digest, little-endian, in ascending order."""

_HEX_DIGITS = 16
_KIND = np.dtype("<u8")

_MAX_BYTES = 256 << 20
"""Upper bound of the file: the digests of 33 million images."""

Digests = np.ndarray[Any, np.dtype[np.uint64]]
"""uint64 ``[n]``: among a million images, the chance that two different ones share a digest is 1 in 37 million."""


def write_trained_on(folder: Path, dataset: Dataset) -> None:
    """Write the digests of an image folder's training and validation images to a run; CIFAR-10 needs none.

    Raises:
        CifarEdgeError: the file cannot be written.
    """
    if dataset.folder is not None:
        write_bytes(folder / TRAINED_ON, np.unique(_digests(dataset.train_images)).tobytes())


def has_trained_on(folder: Path) -> bool:
    """Whether the run has digests of what it was trained on; runs of early versions have none."""
    return (folder / TRAINED_ON).is_file()


def without_trained_on(dataset: Dataset, folder: Path) -> tuple[Dataset, int]:
    """``dataset`` without the test images that the run in ``folder`` was trained on, and their number.

    The dataset's ``source`` says their number too. It is 0 if the run has no digests.

    Raises:
        ModelError: the file of digests is damaged.
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
        source=f"{dataset.source}, {left_out:,} test images left out, since they were trained on",
    )
    return tested, left_out


def _digests(images: Images) -> Digests:
    return np.array([int(digest[:_HEX_DIGITS], 16) for digest in image_digests(images)], _KIND)
