"""Evaluates a classifier's logits on labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cifar_edge.measure.metrics import Estimate, accuracy, confusion_matrix, recall


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        accuracy: fraction of images classified correctly, with its 95 % confidence interval.
        confusion: int64 ``[classes, classes]``; row = true class, column = predicted class.
        recall: per class, the fraction of its images classified correctly, ``[classes]``; NaN without images.
        labels: the class names.
    """

    accuracy: Estimate
    confusion: npt.NDArray[np.int64]
    recall: npt.NDArray[np.float64]
    labels: tuple[str, ...]


def evaluate(logits: npt.NDArray[np.float32], truth: npt.NDArray[np.integer], labels: Sequence[str]) -> Evaluation:
    """Compare ``logits``, float32 ``[images, classes]``, with the true class indices ``truth``, ``[images]``.

    Raises:
        ValueError: there are no images, or the shapes do not fit together.
    """
    predicted = logits.argmax(axis=1)
    confusion = confusion_matrix(truth, predicted, len(labels))
    right = int(np.count_nonzero(predicted == truth))
    return Evaluation(accuracy(right, len(truth)), confusion, recall(confusion), tuple(labels))
