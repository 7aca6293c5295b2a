"""A data set in memory: uint8 images and their labels, training and test apart."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import dtype, int64, ndarray, uint8

Images = ndarray[Any, dtype[uint8]]
"""uint8 ``[N, S, S, 3]``, RGB, of one size S."""
Labels = ndarray[Any, dtype[int64]]
"""int64 ``[N]``, positions in the tuple of labels."""
Report = Callable[[str], None]
"""Told in a line what a person should know while data is fetched or decoded."""


class Arrays(NamedTuple):
    """What files hold and fingerprints are taken of: images uint8 ``[N, S, S, 3]``, labels ``[N]``.

    Labels are uint8, or uint16 where there are more than 256 classes.
    """

    train_images: Images
    train_labels: ndarray[Any, dtype[Any]]
    test_images: Images
    test_labels: ndarray[Any, dtype[Any]]


def labels_of(values: object) -> ndarray[Any, dtype[uint8]]:
    """A list of label numbers as uint8 ``[N]``.

    Raises:
        ValueError: it is no list of whole numbers from 0 to 255.
    """
    labels = np.asarray(values)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not ((labels >= 0) & (labels <= 255)).all():
        raise ValueError("its labels are no list of whole numbers from 0 to 255")
    return labels.astype(uint8)


def image_digests(images: Images) -> tuple[str, ...]:
    """What tells pictures apart: of each the SHA-256 of its pixels, in hexadecimal.

    Pictures of equal pixels are one picture to every network, whatever files they came in.

    Args:
        images: uint8 ``[n, S, S, 3]``, RGB, as networks are given them.
    """
    return tuple(hashlib.sha256(np.ascontiguousarray(image).data).hexdigest() for image in images)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set: CIFAR-10, whose pixels have been verified, or a folder of own pictures.

    Attributes:
        name: ``cifar10`` or ``cifar10-sample``; of own pictures the name of their folder.
        labels: class names, in the order of the numbers in ``train_labels`` and ``test_labels``.
        train_images: uint8 ``[N, S, S, 3]``, RGB.
        train_labels: int64 ``[N]``.
        test_images: uint8 ``[M, S, S, 3]``, RGB.
        test_labels: int64 ``[M]``.
        source: where the bytes came from, for people.
        folder: of own pictures, absolute; None for CIFAR-10.
        holdout: share of the pictures kept as test images, in (0, 1), where they came in one folder; else None.
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

    @property
    def size(self) -> int:
        """Height and width of the images, in pixels."""
        return int(self.train_images.shape[1])

    def arrays(self) -> Arrays:
        """The four arrays as files hold them and as fingerprints are taken."""
        kind = np.min_scalar_type(len(self.labels) - 1)
        return Arrays(
            self.train_images, self.train_labels.astype(kind), self.test_images, self.test_labels.astype(kind)
        )
