"""What pictures of 100 megapixels cost `cifar-edge predict`, by format: time and memory of a process of its own.

    python -m benchmarks.pictures.large [--side PIXELS]

Prints a table and writes benchmarks/pictures/large.csv; docs/reliability.md says what follows.
"""

import argparse
import io
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from PIL import Image

from benchmarks import results_file
from benchmarks.reliability.corpus import in_mode
from benchmarks.reliability.run import PICTURES, run
from cifar_edge.data import load_dataset
from cifar_edge.measure.timing import machine

RESULTS = Path(__file__).with_suffix(".csv")

FORMS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("JPEG", "JPEG", "RGB", {"quality": 90}),
    ("JPEG, progressive", "JPEG", "RGB", {"quality": 90, "progressive": True}),
    ("JPEG, CMYK", "JPEG", "CMYK", {"quality": 90}),
    ("PNG", "PNG", "RGB", {"compress_level": 1}),
    ("PNG, transparent", "PNG", "RGBA", {"compress_level": 1}),
    ("PNG, 16 bits", "PNG", "I;16", {"compress_level": 1}),
    ("PNG, palette", "PNG", "P", {"compress_level": 1}),
    ("PNG, 1 bit", "PNG", "1", {"compress_level": 1}),
    ("GIF", "GIF", "P", {}),
    ("BMP", "BMP", "RGB", {}),
    ("TIFF", "TIFF", "RGB", {}),
    ("TIFF, LZW", "TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF, floats", "TIFF", "F", {}),
    ("WebP", "WEBP", "RGB", {"quality": 80, "method": 0}),
    ("AVIF", "AVIF", "RGB", {"speed": 10, "quality": 50}),
    ("JPEG 2000", "JPEG2000", "RGB", {}),
)
"""Name, Pillow's name, mode, and what the writer is told."""


@dataclass(frozen=True)
class Result:
    """One format.

    Attributes:
        form: its name.
        mode: Pillow's mode.
        megapixels: size of the picture.
        file_mb: size of the file.
        answered: whether it was classified.
        seconds: beyond those of a process that classifies a small picture.
        peak_mib: the most physical memory that the process held.
    """

    form: str
    mode: str
    megapixels: float
    file_mb: float
    answered: str
    seconds: float
    peak_mib: int


def seconds_and_peak(content: bytes) -> tuple[float, int, bool]:
    """Of a process that classifies ``content``; and whether it did."""
    start = perf_counter()
    outcome = run(PICTURES, [content])
    return perf_counter() - start, outcome.peak_bytes, outcome.classified == 1


def encoded(picture: Image.Image, form: str, options: dict[str, Any]) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def main() -> None:
    """Measure, print, and write the CSV."""
    parser = argparse.ArgumentParser("python -m benchmarks.pictures.large", description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=10_000)
    side = parser.parse_args().side
    small = Image.fromarray(load_dataset("sample").test_images[0])
    photo = small.resize((side, side), Image.Resampling.BICUBIC)
    print(f"{machine()}, {side}x{side}\n")
    results = []
    for name, form, mode, options in FORMS:
        least, _, _ = seconds_and_peak(encoded(in_mode(small, mode), form, options))
        content = encoded(in_mode(photo, mode), form, options)
        seconds, peak, answered = seconds_and_peak(content)
        row = Result(
            form=name,
            mode=mode,
            megapixels=side**2 / 1e6,
            file_mb=round(len(content) / 1e6, 1),
            answered="yes" if answered else "no",
            seconds=round(seconds - least, 2),
            peak_mib=peak >> 20,
        )
        results.append(row)
        print(
            f"{row.form:<18} {row.mode:<5} {row.file_mb:>6.1f} MB  {row.answered:<3} {row.seconds:>6.2f} s "
            f"{row.peak_mib:>6,} MiB",
            flush=True,
        )
    results_file.write(RESULTS, Result, results)


if __name__ == "__main__":
    main()
