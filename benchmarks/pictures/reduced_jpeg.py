"""What decoding large JPEGs at reduced scale changes: pixels and classes, against the full decode.

    python -m benchmarks.pictures.reduced_jpeg PHOTO... [--count N]

Makes N JPEGs of the photos: random parts of them, 512 to 2,048 pixels a side, of random quality, subsampling and
progression. Prints a table and writes benchmarks/pictures/reduced_jpeg.csv. Besides the reduced decode it compares the
picture before it became a JPEG, to show how much the JPEG itself changes. docs/reliability.md says what follows.
"""

import argparse
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import results_file
from cifar_edge import Classifier
from cifar_edge.runtime.images import read_pixels
from cifar_edge.runtime.transform import to_pixels

RESULTS = Path(__file__).with_suffix(".csv")
MODELS = ("gn-cnn", "gn-cnn.fp32")

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Result:
    """How far pictures are from the full decode of their JPEGs.

    Attributes:
        pictures: which they are: of a reduced decode, or not yet JPEGs.
        images: how many.
        mean_difference: of the 32x32 pixels, absolute, in grey levels.
        p99_difference: 99 of 100 pixels differ by at most that.
        max_difference: the largest.
        same_class_int8: fraction of pictures that keep their class, gn-cnn in int8.
        same_class_fp32: the same, in fp32.
    """

    pictures: str
    images: int
    mean_difference: float
    p99_difference: float
    max_difference: int
    same_class_int8: float
    same_class_fp32: float


def part_of(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    """A random part, at least a third of the shorter side, scaled to 512 to 2,048 pixels on its shorter side."""
    least = min(photo.size)
    width, height = (int(random.integers(least // 3, length + 1)) for length in photo.size)
    left, top = int(random.integers(0, photo.width - width + 1)), int(random.integers(0, photo.height - height + 1))
    scale = 2 ** random.uniform(9, 11) / min(width, height)
    size = max(512, round(width * scale)), max(512, round(height * scale))
    return photo.resize(size, Image.Resampling.BICUBIC, (left, top, left + width, top + height))


def as_jpeg(picture: Image.Image, random: np.random.Generator) -> bytes:
    """``picture`` as some camera or program might write it."""
    file = io.BytesIO()
    picture.save(
        file,
        "JPEG",
        quality=int(random.integers(60, 98)),
        subsampling=int(random.integers(0, 3)),
        progressive=bool(random.random() < 0.3),
    )
    return file.getvalue()


def compared(name: str, pictures: Pixels, full: Pixels) -> Result:
    """``pictures`` against ``full``, both uint8 ``[n, 32, 32, 3]``."""
    differences = np.abs(pictures.astype(int) - full)
    same = []
    for model in MODELS:
        classifier = Classifier(model)
        first, second = classifier.classify(pictures), classifier.classify(full)
        same.append(np.mean([one.index == other.index for one, other in zip(first, second, strict=True)]))
    return Result(
        pictures=name,
        images=len(full),
        mean_difference=round(float(differences.mean()), 3),
        p99_difference=float(np.percentile(differences, 99)),
        max_difference=int(differences.max()),
        same_class_int8=round(float(same[0]), 4),
        same_class_fp32=round(float(same[1]), 4),
    )


def main() -> None:
    """Measure, print, and write the CSV."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.pictures.reduced_jpeg", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    parser.add_argument("--count", type=int, default=500)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    before, reduced, full = [], [], []
    for number in range(arguments.count):
        with Image.open(arguments.photos[number % len(arguments.photos)]) as photo:
            picture = part_of(photo.convert("RGB"), random)
        content = as_jpeg(picture, random)
        before.append(to_pixels(picture))
        reduced.append(read_pixels(content))
        with Image.open(io.BytesIO(content)) as image:
            full.append(to_pixels(image))
    results = [
        compared("reduced decode", np.stack(reduced), np.stack(full)),
        compared("before JPEG", np.stack(before), np.stack(full)),
    ]
    print(f"{arguments.count:,} JPEGs of {len(arguments.photos)} photos, against their full decode, in grey levels\n")
    for row in results:
        print(
            f"{row.pictures:<16} mean {row.mean_difference:.3f}  99 % {row.p99_difference:.0f}  "
            f"max {row.max_difference}  same class {row.same_class_int8:.2%} int8, {row.same_class_fp32:.2%} fp32"
        )
    results_file.write(RESULTS, Result, results)


if __name__ == "__main__":
    main()
