"""The images that a run was trained on, as digests: none of them is ever a test image of that run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.data.dataset import Dataset, Images, image_digests
from cifar_edge.errors import DataError, ModelError
from cifar_edge.files import read_bounded, write_bytes
from cifar_edge.messages import display_name, reason

TRAINED_ON = "trained-on.bin"
"""A file in the folder of a run: the first 64 bits of digests of each image, little-endian, in ascending order: of its
pixels, and of the bytes of its files, by which it is found at another size. Early versions have only the first."""

Mask = npt.NDArray[np.bool_]

_HEX_DIGITS = 16
_KIND = np.dtype("<u8")

_MAX_BYTES = 256 << 20
"""Upper bound of the file: the digests of 16 million images."""

Digests = np.ndarray[Any, np.dtype[np.uint64]]
"""uint64: among a million images, the chance that two different ones share a digest is 1 in 37 million."""


def write_trained_on(folder: Path, dataset: Dataset, before: Sequence[Path] = ()) -> None:
    """Write the digests of an image folder's training and validation images to a run; CIFAR-10 needs none.

    Args:
        folder: of the run.
        dataset: that it was trained on.
        before: folders of the runs that it was made from. What they were trained on, it was trained on.

    Raises:
        CifarEdgeError: the file cannot be written.
        ModelError: the digests of an earlier run are damaged.
    """
    if dataset.folder is not None:
        each = [*_digests(dataset, dataset.train_images), *map(_read, before)]
        write_bytes(folder / TRAINED_ON, np.unique(np.concatenate(each)).tobytes())


def has_trained_on(folder: Path) -> bool:
    """Whether the run has digests of what it was trained on; runs of early versions have none."""
    return (folder / TRAINED_ON).is_file()


def trained_on(dataset: Dataset, images: Images, folder: Path) -> Mask:
    """Which of ``images`` the run in ``folder`` was trained on, bool ``[n]``, by their pixels or by their files.

    Args:
        dataset: an image folder.
        images: of it, uint8 ``[n, S, S, 3]``; S may be another than that of the run.
        folder: of the run; if it has no digests, no image is found.

    Raises:
        ModelError: the file of digests is damaged.
    """
    known = _read(folder)
    return np.array([np.isin(each, known).any() for each in _digests(dataset, images)], np.bool_)


def without_trained_on(dataset: Dataset, folder: Path) -> tuple[Dataset, int]:
    """``dataset`` without the test images that the run in ``folder`` was trained on, and their number.

    The dataset's ``source`` says their number too. It is 0 if the run has no digests.

    Raises:
        ModelError: the file of digests is damaged.
        DataError: no test image would be left.
    """
    if dataset.folder is None or not has_trained_on(folder):
        return dataset, 0
    kept = ~trained_on(dataset, dataset.test_images, folder)
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


def _read(folder: Path) -> Digests:
    """The digests of the run in ``folder``; empty if it has none."""
    if not has_trained_on(folder):
        return np.zeros(0, _KIND)
    try:
        return np.frombuffer(read_bounded(folder / TRAINED_ON, _MAX_BYTES), _KIND)
    except (OSError, ValueError) as error:
        name = display_name(str(folder / TRAINED_ON))
        raise ModelError(f"{name} is damaged ({reason(error)}); train anew, or copy the run again") from error


def _digests(dataset: Dataset, images: Images) -> list[Digests]:
    """For each of ``images`` of ``dataset`` the digests of its pixels, and of all files with these pixels."""
    return [
        np.array([int(each[:_HEX_DIGITS], 16) for each in (digest, *dataset.contents.get(digest, ()))], _KIND)
        for digest in image_digests(images)
    ]
