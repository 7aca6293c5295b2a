"""Warnings of small or uneven classes, which make a network or its accuracy unreliable."""

import numpy as np

from cifar_edge.data.dataset import Dataset
from cifar_edge.measure.metrics import accuracy
from cifar_edge.messages import display_name, listed

FEW_TRAINING = 20
"""A class with fewer training images gets a warning."""
FEW_TEST = 10
"""A class with fewer test images gets a warning: each image is more than 10 percentage points of its recall."""
UNEVEN = 3
"""There is a warning where the largest class has this many times the training images of the smallest."""

_NAMED = 3


def class_warnings(dataset: Dataset) -> list[str]:
    """One line for each warning: few training images, few test images, uneven classes."""
    names = [display_name(label) for label in dataset.labels]
    train, test = (np.bincount(labels, minlength=len(names)) for labels in (dataset.train_labels, dataset.test_labels))
    lines: list[str] = []
    if few := _fewer(names, train, FEW_TRAINING):
        lines.append(f"few training images: {few}; a network learns little of a class from so few")
    if few := _fewer(names, test, FEW_TEST):
        least = int(test.min())
        low = accuracy(least, least).low
        meaning = f"even if all {least} are right" if least > 1 else "even if that one is right"
        lines.append(
            f"few test images: {few}; {meaning}, the accuracy of that class is only known to be above {low:.0%}"
        )
    largest, smallest = int(train.argmax()), int(train.argmin())
    if train[largest] >= UNEVEN * train[smallest]:
        always = test[largest] / test.sum()
        lines.append(
            f"uneven classes: {names[largest]} has {train[largest]:,} training images, {names[smallest]} has "
            f"{train[smallest]:,}; always answering {names[largest]} is right for {always:.0%} of the test images, so "
            "look at the recall of each class"
        )
    return lines


def _fewer(names: list[str], counts: "np.ndarray[tuple[int], np.dtype[np.int64]]", most: int) -> str:
    few = sorted((int(count), name) for name, count in zip(names, counts, strict=True) if count < most)
    return listed([f"{name} has {count}" for count, name in few], _NAMED)
