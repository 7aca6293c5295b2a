"""The programs of the pages that need no cifar-edge: they run as printed, and their pixels are ours, bit for bit."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CHECKOUT
from PIL import Image

from cifar_edge.export.targets import litert
from cifar_edge.integer import IntegerNetwork
from cifar_edge.model_file.reading import read_graph
from cifar_edge.runtime.images import read_pixels

MODEL = CHECKOUT / "export" / "gn-cnn" / "gn-cnn.int8.onnx"
PHOTO = CHECKOUT / "docs" / "images" / "chelsea.jpg"


def program(page: str) -> str:
    """The last block of Python in the section of that page."""
    section = (CHECKOUT / "docs" / page).read_text().split("## Without cifar-edge")[1]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


ONNX = program("deploy.md")
LITERT = ONNX.split("session = ")[0] + program("litert.md")


def test_the_program_is_short_and_needs_no_cifar_edge(tmp_path: Path) -> None:
    assert len(ONNX.splitlines()) <= 30
    assert "import cifar_edge" not in ONNX
    shutil.copy(MODEL, tmp_path)
    assert output(ONNX, tmp_path) == "cat"


def test_the_program_for_litert(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    _, about = read_graph(MODEL)
    for name, content in litert.write(IntegerNetwork.from_onnx(MODEL), about, litert.LitertOptions()).items():
        (tmp_path / name).write_bytes(content)
    assert output(LITERT + "print(logits.argmax())", tmp_path) == "3"


def output(program: str, folder: Path) -> str:
    """What ``program`` prints of `PHOTO`, run in ``folder``."""
    (folder / "classify.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-I", "classify.py", str(PHOTO)], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_its_pixels_are_ours(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(ONNX.split("session = ")[0], "program", "exec"), names)
    photo = Image.open(PHOTO)
    photo.load()
    images = {
        "small.png": photo.resize((20, 17)),
        "same.png": photo.resize((32, 32)),
        "tall.png": photo.resize((150, 333)),
        "grey.png": photo.convert("L"),
        "palette.png": photo.quantize(),
        "clear.png": photo.convert("RGBA"),
        "cmyk.tif": photo.convert("CMYK"),
    }
    alpha = np.add.outer(np.arange(photo.height), np.arange(photo.width)).astype(np.uint8)
    images["clear.png"].putalpha(Image.fromarray(alpha))
    for name, image in images.items():
        image.save(tmp_path / name)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo.resize((61, 45)).save(tmp_path / f"turned{orientation}.jpg", exif=exif)
    for size in (32, 64):
        for path in [PHOTO, *sorted(tmp_path.iterdir()), *sorted(PHOTO.parent.glob("*.png"))]:
            assert np.array_equal(names["pixels"](path, size)[0], read_pixels(path, size=size)), (path, size)
