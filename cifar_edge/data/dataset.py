"""A dataset in memory: uint8 images and their labels, split into training and test."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import dtype, int64, ndarray, uint8

Images = ndarray[Any, dtype[uint8]]
"""uint8 ``[N, S, S, 3]``, RGB, of one size S."""
Labels = ndarray[Any, dtype[int64]]
"""int64 ``[N]``, indices into the class names."""
SPLIT_RULE = 3
"""Number of the rule that orders and splits an image folder: by the bytes of its files, so that the size of the images
does not matter. Rule 2 went by their pixels, and its runs go on by it; rule 1 by the bytes, and kept duplicates."""
PIXELS_RULE = 2
Report = Callable[[str], None]
"""Called with each line that a person should read while data is fetched or decoded."""


class Arrays(NamedTuple):
    """A dataset as files hold it and as fingerprints hash it: images uint8 ``[N, S, S, 3]``, labels ``[N]``.

    Labels are uint8, or uint16 where there are more than 256 classes.
    """

    train_images: Images
    train_labels: ndarray[Any, dtype[Any]]
    test_images: Images
    test_labels: ndarray[Any, dtype[Any]]


def labels_of(values: object) -> ndarray[Any, dtype[uint8]]:
    """A list of label numbers as uint8 ``[N]``.

    Raises:
        ValueError: the values are not a list of whole numbers from 0 to 255.
    """
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels <= 255)).all():
        raise ValueError("its labels are not a list of whole numbers from 0 to 255")
    return labels.astype(uint8)


def image_digests(images: Images) -> tuple[str, ...]:
    """The SHA-256 of each image's pixels, in hexadecimal: equal digests mean duplicates.

    Args:
        images: uint8 ``[n, S, S, 3]``, RGB.
    """
    return tuple(hashlib.sha256(np.ascontiguousarray(image).data).hexdigest() for image in images)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A dataset: CIFAR-10, whose pixels have been verified, or an image folder.

    Attributes:
        name: ``cifar10`` or ``cifar10-sample``; for an image folder, the name of the folder.
        labels: class names; ``train_labels`` and ``test_labels`` index them.
        train_images: uint8 ``[N, S, S, 3]``, RGB.
        train_labels: int64 ``[N]``.
        test_images: uint8 ``[M, S, S, 3]``, RGB.
        test_labels: int64 ``[M]``.
        source: where the images came from, for people to read.
        folder: absolute path of the image folder, or of the CSV file that names the images; None for CIFAR-10.
        holdout: share of the images held out as test images, in (0, 1); None where the dataset has its own split.
        other: folder of images of no class; None where there is none.
        split_rule: number of the rule that ordered and split an image folder; None for CIFAR-10.
        names: SHA-256 of an image's pixels (see `image_digests`) -> its file, relative to the folder; empty
            for CIFAR-10.
        contents: the same -> SHA-256 of the bytes of each file with these pixels, in hexadecimal: equal at every size.
        train_sources: the training images at a larger size, to take crops from, uint8 ``[N, L, L, 3]``; None where they
            were not asked for.
    """

    name: str
    labels: tuple[str, ...]
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    source: str
    folder: Path | None = None
    holdout: float | None = None
    other: Path | None = None
    split_rule: int | None = None
    names: Mapping[str, str] = field(default_factory=dict, repr=False)
    contents: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    train_sources: Images | None = None

    @property
    def size(self) -> int:
        """Height and width of the images, in pixels."""
        return int(self.train_images.shape[1])

    def names_of(self, images: Images) -> list[str | None]:
        """The files of ``images``, uint8 ``[n, S, S, 3]``, relative to `folder`; None where there is none."""
        return [self.names.get(digest) for digest in image_digests(images)] if self.names else [None] * len(images)

    def arrays(self) -> Arrays:
        """The four arrays as files hold them and as fingerprints hash them."""
        kind = np.min_scalar_type(len(self.labels) - 1)
        return Arrays(
            self.train_images, self.train_labels.astype(kind), self.test_images, self.test_labels.astype(kind)
        )
