"""Images for the tests of the web page, and the page as a person uses it."""

import io
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from click.testing import CliRunner
from conftest import CHECKOUT
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Page

from cifar_edge.cli.main import main

Pixels = npt.NDArray[np.uint8]

VIOLATIONS = "addEventListener('securitypolicyviolation', (event) => console.error('CSP:', event.blockedURI))"

PHOTOS = ("astronaut", "chelsea", "coffee", "motorcycle_left", "rocket", "ihc", "hubble_deep_field")


def write(folder: Path, *models: str) -> Path:
    """The page with ``models``, the released gn-cnn without any, in ``folder``, written by the command."""
    result = CliRunner().invoke(main, ["web", *(models or ["gn-cnn"]), "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def install_sources(folder: Path) -> Path:
    """A copy of ``web/`` in ``folder``, with the packages of its lock file: npm fetches them."""
    sources = folder / "web"
    shutil.copytree(CHECKOUT / "web", sources, ignore=shutil.ignore_patterns("node_modules", "dist"))
    run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], sources)
    return sources


def run(command: list[str], folder: Path) -> str:
    """Run a program; what it says is the message of the failure, if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def violations(page: Page, axe: str) -> list[tuple[str, str]]:
    """The rules of ``axe`` that the page breaks, each with an element that breaks it.

    The size of targets, a rule of WCAG 2.2 AA, is the one of them that axe leaves out unless it is asked.
    """
    page.evaluate(axe)
    found = page.evaluate("axe.run({rules: {'target-size': {enabled: true}}}).then(({violations}) => violations)")
    return [(each["id"], each["nodes"][0]["html"]) for each in found]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(image: Image.Image, **options: Any) -> bytes:
    return encoded(image, "PNG", **options)


def photos(count: int) -> Iterator[Image.Image]:
    """Parts of real photographs in RGB, of every shape from 5 pixels on a side to the whole photo, always the same."""
    from skimage import data

    folder = Path(data.__file__).parent
    whole = [Image.open(next(folder.glob(f"{name}.*"))).convert("RGB") for name in PHOTOS]
    random = np.random.default_rng(0)
    for number in range(count):
        photo = whole[number % len(whole)]
        # Sides spread evenly over the orders of magnitude: small images are enlarged, large ones are averaged.
        width, height = (int(np.exp(random.uniform(np.log(5), np.log(side)))) for side in photo.size)
        left, top = random.integers((photo.width - width + 1, photo.height - height + 1)).tolist()
        yield photo if number < len(whole) else photo.crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class Shown:
    """What the page shows of one image.

    Attributes:
        pixels: what it says that the network sees, uint8 ``[S, S, 3]``.
        top: the classes and their scores in percent, as written.
    """

    pixels: Pixels
    top: list[tuple[str, str]]


class PagePerson:
    """Shows images to the page, and reads what it answers."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problem: Locator = page.locator("#problem")
        self.result: Locator = page.locator("#result")
        self.announcement: Locator = page.locator("#announcement")

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.page.locator("#state", has_text="offline").wait_for()

    def choose(self, content: bytes, name: str = "image.png", kind: str = "image/png") -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})

    def choose_many(self, files: Mapping[str, bytes]) -> None:
        """Choose files of these names and contents at once."""
        self.page.set_input_files(
            "#file", [FilePayload(name=name, mimeType="image/png", buffer=content) for name, content in files.items()]
        )

    def drop(self, content: bytes, name: str = "image.png", kind: str = "image/png") -> None:
        self._transfer("drop", content, name, kind)

    def paste(self, content: bytes, name: str = "image.png", kind: str = "image/png") -> None:
        self._transfer("paste", content, name, kind)

    def classify(self, content: bytes, name: str = "image.png", kind: str = "image/png") -> Shown:
        """Choose the image, and wait for its answer."""
        self.choose(content, name, kind)
        self.announcement.get_by_text("Then").wait_for(state="attached")
        return self.shown()

    def shown(self) -> Shown:
        record = self.page.evaluate(
            """() => ({
                size: seen.width,
                pixels: [...seen.getContext("2d").getImageData(0, 0, seen.width, seen.height).data],
                top: [...scores.querySelectorAll("li:not([hidden])")]
                    .map((item) => [...item.children].slice(0, 2).map((part) => part.textContent)),
            })"""
        )
        pixels = np.array(record["pixels"], np.uint8).reshape(record["size"], record["size"], 4)
        assert (pixels[..., 3] == 255).all()
        return Shown(pixels[..., :3], [(label, score) for label, score in record["top"]])

    def _transfer(self, event: str, content: bytes, name: str, kind: str) -> None:
        """A drop or a paste of a file, as the browser itself would tell the page of it."""
        self.page.evaluate(
            """({event, bytes, name, kind}) => {
                const transfer = new DataTransfer();
                if (bytes.length) transfer.items.add(new File([new Uint8Array(bytes)], name, {type: kind}));
                const options = {bubbles: true, cancelable: true};
                const target = document.getElementById("frame");
                target.dispatchEvent(event === "drop"
                    ? new DragEvent("drop", {...options, dataTransfer: transfer})
                    : new ClipboardEvent("paste", {...options, clipboardData: transfer}));
            }""",
            {"event": event, "bytes": list(content), "name": name, "kind": kind},
        )


class Watched:
    """A page of which every console error and every request is kept."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.requested: list[str] = []
        page.add_init_script(VIOLATIONS)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.context.on("request", lambda request: self.requested.append(request.url))
