"""The pictures of the web page that docs/web.md shows, and that of a report in docs/report.md.

    python -m benchmarks.web.screenshots

They are written to docs/images/.
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import click
from PIL import Image
from playwright.sync_api import Browser

from benchmarks.web.browser import chromium, serving
from cifar_edge.files import write_bytes
from cifar_edge.runs.resolve import resolve_model
from cifar_edge.web.build import built_page
from cifar_edge.web.site import write_site

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
COLOURS = 256
WARM_UP = 20


class Shot(NamedTuple):
    """One picture: the page, in pixels of CSS and in one scheme, with a photo of scikit-image's or none."""

    name: str
    width: int
    height: int
    scheme: Literal["light", "dark"]
    photo: str | None


SHOTS = (
    Shot("light-wide", 1200, 1120, "light", "chelsea.png"),
    Shot("dark-wide", 1200, 1120, "dark", "rocket.jpg"),
    Shot("light-narrow", 390, 844, "light", None),
    Shot("dark-narrow", 390, 1300, "dark", "chelsea.png"),
)


@click.command()
def main() -> None:
    """Write them all: the page with the released gn-cnn, the report of gn-cnn-nano."""
    with tempfile.TemporaryDirectory() as folder:
        write_site(
            built_page(click.echo), [resolve_model(name).path for name in ("gn-cnn", "gn-cnn-nano")], Path(folder)
        )
        with serving(Path(folder)) as host, chromium() as browser:
            for shot in SHOTS:
                write_bytes(FOLDER / "web" / f"{shot.name}.png", _taken(shot, browser, host.url))
            write_bytes(FOLDER / "report.png", _report(Path(folder) / "report.html", browser))


def _taken(shot: Shot, browser: Browser, url: str) -> bytes:
    from skimage import data

    with browser.new_context(
        color_scheme=shot.scheme,
        viewport={"width": shot.width, "height": shot.height},
        has_touch=shot.width < 500,
        is_mobile=shot.width < 500,
        reduced_motion="reduce",
    ) as context:
        page = context.new_page()
        page.goto(url)
        page.locator("#state", has_text="offline").wait_for()
        if shot.photo is not None:
            # The first pictures wait for the browser's own start.
            for _ in range(WARM_UP):
                page.set_input_files("#file", Path(data.__file__).with_name(shot.photo))
                page.locator("#result").wait_for()
        return _small(page.screenshot())


def _report(file: Path, browser: Browser) -> bytes:
    """The first sections of a report, written to ``file``."""
    subprocess.run([sys.executable, "-m", "cifar_edge", "report", "gn-cnn-nano", "--out", file], check=True)
    with browser.new_context(
        color_scheme="light", viewport={"width": 1280, "height": 1600}, device_scale_factor=0.8
    ) as context:
        page = context.new_page()
        page.goto(file.as_uri())
        return _small(page.screenshot())


def _small(png: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, kmeans=1).save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    main()
