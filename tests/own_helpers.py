"""Folders of own pictures, made of the embedded sample of CIFAR-10."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from cifar_edge.data import Dataset


def write_pictures(root: Path, folders: Mapping[str, Sequence[int]], sample: Dataset) -> Path:
    """PNG files of these training images of the sample, in these folders; returns ``root``."""
    for folder, indices in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in indices:
            Image.fromarray(sample.train_images[index]).save(root / folder / f"{index}.png")
    return root


def of_class(sample: Dataset, label: str, count: int, start: int = 0) -> list[int]:
    """The numbers of ``count`` training images of a class of the sample."""
    number = sample.labels.index(label)
    found = [index for index, each in enumerate(sample.train_labels.tolist()) if each == number]
    return found[start : start + count]
