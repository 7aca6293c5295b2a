"""Make the embedded sample from CIFAR-10: `python -m cifar_edge.data.sample.make`.

It has the first 50 images of each class of the original training set, and the first 25 of each class of the original
test set. The same data gives the same pixels; the bytes of a WebP depend on Pillow's libwebp.
"""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from cifar_edge.data import load_dataset
from cifar_edge.data.dataset import Arrays, Images, Labels
from cifar_edge.data.sample import FOLDER, RECORD, SHEETS, TILES_A_ROW, sheet_path
from cifar_edge.files import write_bytes, write_text
from cifar_edge.runs.dataset import Fingerprints

UInt8 = np.ndarray[Any, np.dtype[np.uint8]]


def of_each_class(labels: Labels, which: slice) -> list[list[int]]:
    """For each class, the positions of these of its images."""
    return [np.flatnonzero(labels == number)[which].tolist() for number in range(int(labels.max()) + 1)]


def sheet(images: Images) -> bytes:
    """Images uint8 ``[N, 32, 32, 3]`` as tiles of one lossless WebP."""
    tiles = images.reshape(-1, TILES_A_ROW, 32, 32, 3).swapaxes(1, 2)
    content = io.BytesIO()
    most_effort = {"quality": 100, "method": 6}
    Image.fromarray(tiles.reshape(-1, TILES_A_ROW * 32, 3)).save(content, "WEBP", lossless=True, **most_effort)
    return content.getvalue()


def main() -> None:
    """Write the sheets and ``sample.json`` into the folder of this file."""
    dataset = load_dataset(report=print)
    splits = {
        "train": (dataset.train_images, dataset.train_labels),
        "more": (dataset.train_images, dataset.train_labels),
        "test": (dataset.test_images, dataset.test_labels),
    }
    record: dict[str, Mapping[str, object]] = {}
    chosen: dict[str, list[int]] = {}
    for name, (images, labels) in splits.items():
        by_class = of_each_class(labels, SHEETS[name])
        chosen[name] = [index for indices in by_class for index in indices]
        write_bytes(sheet_path(name), sheet(images[chosen[name]]))
        record[name] = dict(zip(dataset.labels, by_class, strict=True))
    test = _arrays(*splits["test"], chosen["test"])
    few = Fingerprints.of(Arrays(*_arrays(*splits["train"], chosen["train"]), *test))
    all_of_it = Fingerprints.of(Arrays(*_arrays(*splits["train"], chosen["train"] + chosen["more"]), *test))
    record["sha256"] = {
        "train": {"train_images": few.train_images, "train_labels": few.train_labels},
        "train and more": {"train_images": all_of_it.train_images, "train_labels": all_of_it.train_labels},
        "test": {"test_images": few.test_images, "test_labels": few.test_labels},
    }
    write_text(FOLDER / RECORD, _to_json(record))


def _arrays(images: Images, labels: Labels, chosen: Sequence[int]) -> tuple[Images, UInt8]:
    order = sorted(chosen)
    return images[order], labels[order].astype(np.uint8)


def _to_json(record: Mapping[str, Mapping[str, object]]) -> str:
    """JSON with one class a line, which is easier to read than one index a line."""
    parts = []
    for key, entries in record.items():
        lines = [f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in entries.items()]
        parts.append(f"  {json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
