"""How many images a second `cifar-edge predict` classifies, against a plain loop and against decoding alone.

    python -m benchmarks.throughput [--photo PHOTO...] [--rounds N] [--small N] [--large N]

Writes N PNGs of 32x32 (the sample of CIFAR-10, repeated) and N photos of 2 megapixels as JPEGs (made of PHOTO..., by
default of CIFAR-10's sample, enlarged) into a temporary folder, then times, in turns, with one core and with two:

- decoding: `read_pixels` in a loop, and on threads and processes: the limit;
- plain loop: Pillow and onnxruntime, an image at a time, as their manuals show it;
- predict_iter: this package in Python;
- command: `cifar-edge predict --from-file LIST --jsonl`, its start included; and the same with one worker.

Prints a table and writes benchmarks/throughput/results.csv. Linux only: it binds itself to cores.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks import results_file
from benchmarks.throughput.ways import CHUNK, MODEL, command, decode, decode_on, plain_loop, predict_iter
from cifar_edge import Classifier
from cifar_edge.data import load_dataset
from cifar_edge.measure.timing import machine

RESULTS = Path(__file__).with_name("results.csv")
PHOTO_SIZE = (1632, 1224)


@dataclass(frozen=True)
class Result:
    """One way of doing it.

    Attributes:
        images: which images.
        way: what was timed.
        cores: how many it could use.
        images_per_second: median over the rounds.
        ratio: of that, to the plain loop's with as many cores.
    """

    images: str
    way: str
    cores: int
    images_per_second: float
    ratio: float


def write_small(folder: Path, count: int) -> list[Path]:
    """PNGs of 32x32."""
    dataset = load_dataset("sample")
    images = np.concatenate([dataset.train_images, dataset.test_images])
    paths = [folder / f"{number:05}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(images[number % len(images)]).save(path)
    return paths


def write_large(folder: Path, count: int, photos: Sequence[Path]) -> list[Path]:
    """JPEGs of 2 megapixels, at most a hundred different ones; the others are links to them."""
    if photos:
        pictures = [Image.open(path).convert("RGB") for path in photos]
    else:
        pictures = [Image.fromarray(image) for image in load_dataset("sample").test_images[:10]]
    random = np.random.default_rng(0)
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if number >= 100:
            path.hardlink_to(paths[number % 100])
            continue
        picture = pictures[number % len(pictures)]
        width, height = (length * random.uniform(0.5, 1.0) for length in picture.size)
        left, top = random.uniform(0, picture.width - width), random.uniform(0, picture.height - height)
        box = (left, top, left + width, top + height)
        picture.resize(PHOTO_SIZE, Image.Resampling.BICUBIC, box).save(path, quality=90)
    return paths


def measure(name: str, paths: Sequence[Path], cores: int, rounds: int) -> list[Result]:
    """All ways in turns, on the first ``cores`` of the cores that this process may use."""
    allowed = os.sched_getaffinity(0)
    used = set(sorted(allowed)[:cores])
    os.sched_setaffinity(0, used)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    with (
        ThreadPoolExecutor(cores) as threads,
        # Forkserver: a fork of a process whose libraries have threads may hang. There is one server for all, and so it
        # is bound to the cores of its start.
        ProcessPoolExecutor(cores, get_context("forkserver"), os.sched_setaffinity, (0, used)) as processes,
    ):
        ways: dict[str, Callable[[Sequence[Path]], int]] = {
            "plain loop": partial(plain_loop, session),
            "decoding, a loop": decode,
            "decoding, threads": partial(decode_on, threads),
            "decoding, processes": partial(decode_on, processes),
            "predict_iter": partial(predict_iter, Classifier(MODEL)),
            "cifar-edge predict": command,
            "the same, --workers 1": lambda paths: command(paths, "--workers", "1"),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for way in ways.values():
            way(paths[: 4 * CHUNK])  # processes start, files come into memory
        for _ in range(rounds):
            for label, way in ways.items():
                start = perf_counter()
                if way(paths) != len(paths):
                    raise SystemExit(f"{label} lost images")
                seconds[label].append(perf_counter() - start)
    os.sched_setaffinity(0, allowed)
    plain = median(seconds["plain loop"])
    return [
        Result(name, way, cores, round(len(paths) / median(times), 1), round(plain / median(times), 2))
        for way, times in seconds.items()
    ]


def main() -> None:
    """Measure, print, and write the CSV."""
    parser = argparse.ArgumentParser("python -m benchmarks.throughput", description=__doc__.partition("\n")[0])
    parser.add_argument("--photo", nargs="*", type=Path, default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000)
    arguments = parser.parse_args()
    print(f"{machine()}, onnxruntime {onnxruntime.__version__}, median of {arguments.rounds} rounds in turns\n")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        small.mkdir()
        large.mkdir()
        sets = {
            "32x32 PNG": write_small(small, arguments.small),
            "2 megapixel JPEG": write_large(large, arguments.large, arguments.photo),
        }
        for name, paths in sets.items():
            for cores in range(1, min(2, len(os.sched_getaffinity(0))) + 1):
                for row in measure(name, paths, cores, arguments.rounds):
                    results.append(row)
                    print(
                        f"{row.images:<17} {row.cores} core{'s' * (row.cores > 1):<2} {row.way:<21} "
                        f"{row.images_per_second:>9,.1f}/s {row.ratio:>6.2f}",
                        flush=True,
                    )
    results_file.write(RESULTS, Result, results)


if __name__ == "__main__":
    main()
