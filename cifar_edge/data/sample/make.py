"""Make the embedded sample from CIFAR-10: `python -m cifar_edge.data.sample.make`.

It has the first 50 images of each class of the original training set, and the first 25 of each class of the original
test set. The same data gives the same pixels; the bytes of a PNG depend on Pillow's zlib.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
from PIL import Image

from cifar_edge.data import load_dataset
from cifar_edge.data.dataset import Arrays, Images, Labels
from cifar_edge.data.sample import FOLDER, RECORD, SPLITS, TILES_A_ROW
from cifar_edge.files import write_bytes, write_text
from cifar_edge.runs.dataset import Fingerprints

PER_CLASS = {"train": 50, "test": 25}


def first_of_each_class(labels: Labels, count: int) -> list[list[int]]:
    """For each class, the positions of its first ``count`` images."""
    return [np.flatnonzero(labels == number)[:count].tolist() for number in range(int(labels.max()) + 1)]


def sheet(images: Images) -> bytes:
    """Images uint8 ``[N, 32, 32, 3]`` as one grey PNG: see `cifar_edge.data.sample`."""
    red, green, blue = np.moveaxis(images, -1, 0)
    planes = np.stack([green, red - green, blue - green])  # uint8: modulo 256
    tiles = planes.reshape(3, -1, TILES_A_ROW, 32, 32).swapaxes(2, 3)
    content = io.BytesIO()
    Image.fromarray(tiles.reshape(-1, TILES_A_ROW * 32)).save(content, "PNG", optimize=True)
    return content.getvalue()


def main() -> None:
    """Write both sheets and ``sample.json`` into the folder of this file."""
    dataset = load_dataset(report=print)
    record: dict[str, Mapping[str, object]] = {}
    arrays = []
    for split in SPLITS:
        images = getattr(dataset, f"{split}_images")
        labels = getattr(dataset, f"{split}_labels")
        by_class = first_of_each_class(labels, PER_CLASS[split])
        write_bytes(FOLDER / f"{split}.png", sheet(images[np.concatenate(by_class)]))
        record[split] = dict(zip(dataset.labels, by_class, strict=True))
        chosen = np.sort(np.concatenate(by_class))
        arrays += [images[chosen], labels[chosen].astype(np.uint8)]
    record["sha256"] = asdict(Fingerprints.of(Arrays(*arrays)))
    write_text(FOLDER / RECORD, _to_json(record))


def _to_json(record: Mapping[str, Mapping[str, object]]) -> str:
    """JSON with one class a line, which is easier to read than one index a line."""
    parts = []
    for key, entries in record.items():
        lines = [f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in entries.items()]
        parts.append(f"  {json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
