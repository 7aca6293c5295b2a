"""What a picture costs in the web page, in Chromium, and in the Python runtime on the same machine, in turns.

    python -m benchmarks.web.latency gn-cnn.int8 gn-cnn.fp32

The page's figures are those that it shows. Every picture is a new file chosen in the page; Python is given the same
bytes right after. docs/web.md says what came out.
"""

import io
import re
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import Page

from benchmarks.web.browser import chromium, serving
from cifar_edge import Classifier
from cifar_edge.runs.resolve import resolve_model
from cifar_edge.runtime.images import read_pixels
from cifar_edge.web.build import built_page
from cifar_edge.web.site import write_site

PRECISE_CLOCK = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
"""With these headers Chromium's clock ticks every 5 us; without, every 100."""

WARM_UP = 20
"""Pictures before the first that counts."""

Times = dict[str, list[float]]
"""Step -> milliseconds, one for each picture."""


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--pictures", default=200, show_default=True, type=click.IntRange(1), help="Pictures of each size.")
@click.option("--side", default=640, show_default=True, type=click.IntRange(33), help="Pixels on a side of the larger.")
def main(models: tuple[str, ...], pictures: int, side: int) -> None:
    """Print the median of each step, in milliseconds."""
    from skimage import data

    photo = Image.open(Path(data.__file__).with_name("chelsea.png")).resize((side, side))
    for model in models or ("gn-cnn.int8",):
        for picture in (photo.resize((32, 32)), photo):
            times = measure(model, _png(picture), pictures)
            click.echo(f"{model}, PNG of {picture.width}x{picture.height}, median of {pictures}:")
            for step, values in times.items():
                click.echo(f"  {step:<28}{statistics.median(values):8.3f} ms")


def measure(model: str, content: bytes, pictures: int) -> Times:
    """Classify the PNG file ``content`` in the page and in Python, in turns."""
    path = resolve_model(model).path
    classifier = Classifier(path)
    times: Times = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        write_site(built_page(click.echo), [path], Path(folder))
        with serving(Path(folder), PRECISE_CLOCK) as host, chromium() as browser:
            page = browser.new_page()
            page.goto(host.url)
            page.locator("#state", has_text="Ready").wait_for()
            for _ in range(WARM_UP + pictures):
                for step, milliseconds in {**_in_page(page, content), **_in_python(classifier, content)}.items():
                    times[step].append(milliseconds)
    return {step: values[WARM_UP:] for step, values in times.items()}


def _in_page(page: Page, content: bytes) -> dict[str, float]:
    page.set_input_files("#file", {"name": "picture.png", "mimeType": "image/png", "buffer": content})
    page.locator("#result").wait_for()
    shown = re.findall(r"(\w+)\s+([\d.]+) ms", page.locator("#times").inner_text())
    return {f"page: {step.lower()}": float(milliseconds) for step, milliseconds in shown}


def _in_python(classifier: Classifier, content: bytes) -> dict[str, float]:
    start = time.perf_counter()
    pixels = read_pixels(content)
    read = time.perf_counter()
    classifier.predict(pixels)
    return {
        "python: decoding, resizing": 1e3 * (read - start),
        "python: network": 1e3 * (time.perf_counter() - read),
    }


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
