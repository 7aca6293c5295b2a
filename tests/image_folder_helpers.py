"""Image folders, made of the embedded sample of CIFAR-10."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from cifar_edge.data import Dataset, load_dataset
from cifar_edge.runtime.images import read_pixels

SPLIT = {"train/cat": range(4), "train/dog": range(4, 9), "test/cat": range(9, 11), "test/dog": range(11, 12)}
"""Folders and image indices for `write_images`, with a training and a test split."""


def write_images(root: Path, folders: Mapping[str, Sequence[int]], sample: Dataset) -> Path:
    """Write training images of the sample as PNG files, by folder; return ``root``."""
    for folder, indices in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in indices:
            Image.fromarray(sample.train_images[index]).save(root / folder / f"{index}.png")
    return root


def of_class(sample: Dataset, label: str, count: int, start: int = 0) -> list[int]:
    """The indices of ``count`` training images of a class of the sample."""
    number = sample.labels.index(label)
    found = [index for index, each in enumerate(sample.train_labels.tolist()) if each == number]
    return found[start : start + count]


def pixels_of(folder: Path) -> set[bytes]:
    """The pixels of all images in ``folder``, as a network gets them."""
    return {read_pixels(path).tobytes() for path in folder.iterdir()}


def reported_by(root: Path, holdout: float | None = None, strict: bool = False) -> tuple[Dataset, list[str]]:
    """The dataset in ``root``, and the reported lines except for warnings."""
    lines: list[str] = []
    dataset = load_dataset(root, holdout=holdout, strict=strict, report=lines.append)
    return dataset, [line for line in lines if not line.startswith("warning: ")]
