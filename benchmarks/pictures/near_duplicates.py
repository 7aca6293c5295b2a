"""How near copies and different photographs come to each other, by perceptual hash.

    python -m benchmarks.pictures.near_duplicates DIR...

Prints the bits in which different photographs below the folders differ, and the share of copies within the limit.
"""

import argparse
import io
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from cifar_edge.data.folder.near_duplicates import MOST_BITS, perceptual_hash
from cifar_edge.runtime.images import read_pixels

MOST_COPIED = 300


def saved(photo: Image.Image, quality: int = 85) -> bytes:
    """``photo`` as a JPEG file."""
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return file.getvalue()


def cut(photo: Image.Image) -> Image.Image:
    """``photo`` without 3 % of its width or height on each side."""
    width, height = photo.size
    return photo.crop((round(0.03 * width), round(0.03 * height), round(0.97 * width), round(0.97 * height)))


COPIES: Mapping[str, Callable[[Image.Image], bytes]] = {
    "JPEG quality 50": lambda photo: saved(photo, 50),
    "half the size": lambda photo: saved(photo.resize((photo.width // 2, photo.height // 2))),
    "brighter": lambda photo: saved(Image.eval(photo, lambda value: min(255, int(1.2 * value) + 8))),
    "3 % cut on each side": lambda photo: saved(cut(photo)),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    suffixes = {".jpg", ".jpeg", ".png"}
    files = sorted(
        path for folder in parser.parse_args().folders for path in folder.rglob("*") if path.suffix.lower() in suffixes
    )
    hashes = [perceptual_hash(read_pixels(path)) for path in files]
    bits = [(first ^ second).bit_count() for first, second in combinations(hashes, 2)]
    print(f"{len(files):,} photographs, {len(bits):,} pairs: at least {min(bits)} bits differ")
    for name, copy in COPIES.items():
        differing = []
        for path, original in list(zip(files, hashes, strict=True))[:MOST_COPIED]:
            with Image.open(path) as photo:
                differing.append((perceptual_hash(read_pixels(copy(photo.convert("RGB")))) ^ original).bit_count())
        print(f"{name:<22} {np.mean(np.array(differing) <= MOST_BITS):.0%} within {MOST_BITS} bits")


if __name__ == "__main__":
    main()
