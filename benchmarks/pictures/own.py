"""What an image folder costs: reading, hashing and decoding it, and the most memory that a command holds.

    python -m benchmarks.pictures.own DIR [--pictures 10000]
    python -m benchmarks.pictures.own --pictures 100000

Of DIR the pictures are repeated, each time in other bytes, until there are so many. Without it they are 32x32 pixels of
noise, so that no two are equal. They are written below a temporary folder, and removed. Times are those of the
processor, all threads together, so that a busy machine does not change them. For Linux.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from cifar_edge.measure.timing import machine

LOADING = """
import json, re, sys
from pathlib import Path
from time import process_time
from cifar_edge.data import load_dataset
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
start, before = process_time(), peak()
dataset = load_dataset(sys.argv[1], holdout=0.2)
images = len(dataset.train_images) + len(dataset.test_images)
print(json.dumps({"seconds": process_time() - start, "images": images, "before": before, "peak": peak()}))
"""


def write_pictures(root: Path, source: Path | None, count: int) -> None:
    """Write ``count`` files into two classes below ``root``."""
    for label in ("even", "odd"):
        (root / label).mkdir(parents=True)
    contents = [path.read_bytes() for path in sorted(source.rglob("*.jpg"))] if source else []
    generator = np.random.default_rng(0)
    for number in range(count):
        folder = root / ("odd" if number % 2 else "even")
        if contents:  # bytes behind the end of a JPEG change none of its pixels
            (folder / f"{number}.jpg").write_bytes(contents[number % len(contents)] + number.to_bytes(4))
        else:
            pixels = generator.integers(0, 256, 32 * 32 * 3, np.uint8)
            (folder / f"{number}.ppm").write_bytes(b"P6 32 32 255\n" + pixels.tobytes())


def seconds(function: Callable[[], object]) -> float:
    """Processor time that ``function`` takes."""
    start = process_time()
    function()
    return process_time() - start


def loaded(root: Path, cache: Path) -> dict[str, Any]:
    """What a process of its own says of loading ``root``."""
    command = [sys.executable, "-c", LOADING, str(root)]
    done = subprocess.run(command, env=os.environ | {"XDG_CACHE_HOME": str(cache)}, stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.pictures.own", description=__doc__.partition("\n")[0])
    parser.add_argument("source", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--pictures", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder, "pictures"), Path(folder, "cache")
        write_pictures(root, given.source, given.pictures)
        paths = [path for path in root.rglob("*") if path.is_file()]
        print(f"{machine()}: {len(paths):,} files, {sum(path.stat().st_size for path in paths) / 1e6:,.0f} MB")
        print(f"  read             {seconds(lambda: [path.read_bytes() for path in paths]):6.2f} s")
        hashing = seconds(lambda: [hashlib.sha256(path.read_bytes()).digest() for path in paths])
        print(f"  read and hashed  {hashing:6.2f} s")
        for what in ("loaded at first", "loaded again"):
            answer = loaded(root, cache)
            held = (answer["peak"] - answer["before"]) / 1e3
            print(
                f"  {what:<16} {answer['seconds']:6.2f} s, {held:,.0f} MB more memory than before, of which "
                f"{answer['images'] * 3072 / 1e6:,.0f} MB are pixels"
            )
        print(f"  in the cache     {sum(file.stat().st_size for file in cache.rglob('*.pixels')) / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
