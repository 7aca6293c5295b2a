"""Accuracies with confidence intervals, and the confusion matrix."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution, for two-sided 95 % intervals."""
CONCLUSIVE_IMAGES = 5000
"""With fewer images, a paired confidence interval is too wide to say "passed" as soon as some change class."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A proportion, or a difference of two, measured on a sample of images.

    Attributes:
        value: the observed value, as a fraction of 1.
        low: lower end of its 95 % confidence interval.
        high: upper end of its 95 % confidence interval.
        images: size of the sample.
    """

    value: float
    low: float
    high: float
    images: int


def accuracy(correct: int, images: int) -> Estimate:
    """The accuracy ``correct / images`` with Wilson's score interval.

    It keeps its level for few images and near 0 and 1, where the usual normal interval fails
    (Wilson 1927, J. Am. Stat. Assoc. 22:209; Brown, Cai & DasGupta 2001, Statistical Science 16:101).

    Raises:
        ValueError: there are no images, or more correct ones than images.
    """
    if not 0 <= correct <= images or images == 0:
        raise ValueError(f"{correct} correct of {images} images is not an accuracy")
    value = correct / images
    shrink = 1 + Z_95**2 / images
    centre = (value + Z_95**2 / (2 * images)) / shrink
    half = Z_95 / shrink * math.sqrt(value * (1 - value) / images + Z_95**2 / (4 * images**2))
    # min and max: in exact arithmetic the interval contains the value, and ends at 0 or 1 if the value does.
    return Estimate(value, max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half)), images)


def accuracy_difference(reference: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> Estimate:
    """The accuracy of ``other`` minus that of ``reference``, on the same images in the same order.

    With b images that only ``reference`` classifies correctly and c that only ``other`` does, out of n, the difference
    is (c - b) / n. Its interval is Bonett and Price's adjusted Wald interval for paired proportions: with
    p = (b + 1) / (n + 2) and q = (c + 1) / (n + 2), it is q - p ± z sqrt((p + q - (p - q)^2) / (n + 2)), cut to
    [-1, 1]. Images on which both agree say nothing about the difference, so this interval is far narrower than that of
    two separate accuracies (Bonett & Price 2012, J. Educ. Behav. Stat. 37:479; recommended by Fagerland, Lydersen &
    Laake 2014, Statistics in Medicine 33:2850).

    Args:
        reference: ``[images]``, whether the reference was correct.
        other: ``[images]``, whether the other was correct.

    Raises:
        ValueError: the two differ in shape, or there are no images.
    """
    if reference.shape != other.shape or reference.ndim != 1 or reference.size == 0:
        raise ValueError(f"no pairs: {reference.shape} and {other.shape}")
    images = int(reference.size)
    only_reference = int(np.count_nonzero(reference & ~other))
    only_other = int(np.count_nonzero(other & ~reference))
    p = (only_reference + 1) / (images + 2)
    q = (only_other + 1) / (images + 2)
    half = Z_95 * math.sqrt((p + q - (p - q) ** 2) / (images + 2))
    return Estimate((only_other - only_reference) / images, max(-1.0, q - p - half), min(1.0, q - p + half), images)


def confusion_matrix(
    labels: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], classes: int
) -> npt.NDArray[np.int64]:
    """Counts ``[classes, classes]``: row = true class, column = predicted class.

    Args:
        labels: ``[images]``, true class indices.
        predicted: ``[images]``, predicted class indices.
        classes: number of classes; every index is below it.

    Raises:
        ValueError: the two differ in shape, or an index lies outside ``[0, classes)``.
    """
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise ValueError(f"labels have shape {labels.shape}, predictions {predicted.shape}")
    for indices in (labels, predicted):
        if indices.size and not 0 <= indices.min() <= indices.max() < classes:
            raise ValueError(f"class indices {indices.min()} to {indices.max()} of {classes} classes")
    cells = labels.astype(np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def recall(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Per class, the fraction of its images classified correctly, ``[classes]``; NaN for a class without images.

    Args:
        confusion: as `confusion_matrix` returns it.
    """
    images = confusion.sum(axis=1)
    right = np.diagonal(confusion)
    fractions = np.full(len(images), np.nan)
    np.divide(right, images, out=fractions, where=images > 0)
    return fractions
