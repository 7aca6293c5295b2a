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
from PIL import Image, ImageOps

from cifar_edge import c
from cifar_edge.c import gate
from cifar_edge.export.targets import litert
from cifar_edge.integer import IntegerNetwork
from cifar_edge.model_file.reading import read_graph
from cifar_edge.runtime.images import read_pixels

MODEL = CHECKOUT / "export" / "gn-cnn" / "gn-cnn.int8.onnx"
PHOTO = CHECKOUT / "docs" / "images" / "chelsea.jpg"


def program(page: str, language: str = "python") -> str:
    """The first block of that language in the section of that page."""
    section = (CHECKOUT / "docs" / page).read_text().split("## Without cifar-edge")[1]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


ONNX = program("deploy.md")
LITERT = ONNX.split("session = ")[0] + program("litert.md")
C = program("deploy.md", "c")
JAVASCRIPT = program("deploy.md", "js")

# Stands in for the network: prints the pixels that the program in C gives it.
PRINTS_PIXELS = """
#include <stdio.h>
#include "gn_cnn.h"
const char *const gn_cnn_labels[GN_CNN_CLASSES] = {""};
void gn_cnn_begin(gn_cnn_state *state) { (void)state; }
void gn_cnn_row(gn_cnn_state *state, const uint8_t row[GN_CNN_LEAST(GN_CNN_SIZE * 3)]) {
  (void)state;
  fwrite(row, 3, GN_CNN_SIZE, stdout);
}
int gn_cnn_end(gn_cnn_state *state, int32_t logits[GN_CNN_LEAST(GN_CNN_CLASSES)]) {
  (void)state;
  (void)logits;
  return 0;
}
int gn_cnn_decide(const int32_t logits[GN_CNN_LEAST(GN_CNN_CLASSES)]) { (void)logits; return 0; }
"""


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


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A photograph in several sizes, turned, grey, with a palette and with transparency; images of CIFAR-10."""
    folder = tmp_path_factory.mktemp("photos")
    photo = Image.open(PHOTO)
    photo.load()
    images = {
        "small.png": photo.resize((20, 17)),
        "same.png": photo.resize((32, 32)),
        "tall.png": photo.resize((150, 333)),
        "grey.png": photo.convert("L"),
        "palette.png": photo.quantize(),
        "clear.png": photo.convert("RGBA"),
    }
    alpha = np.add.outer(np.arange(photo.height), np.arange(photo.width)).astype(np.uint8)
    images["clear.png"].putalpha(Image.fromarray(alpha))
    for name, image in images.items():
        image.save(folder / name)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo.resize((61, 45)).save(folder / f"turned{orientation}.jpg", exif=exif)
    return [PHOTO, *sorted(folder.iterdir()), *sorted(PHOTO.parent.glob("*.png"))]


def test_its_pixels_are_ours(photos: list[Path], tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(ONNX.split("session = ")[0], "program", "exec"), names)
    Image.open(PHOTO).convert("CMYK").save(tmp_path / "cmyk.tif")
    for size in (32, 64):
        for path in [*photos, tmp_path / "cmyk.tif"]:
            assert np.array_equal(names["pixels"](path, size)[0], read_pixels(path, size=size)), (path, size)


@pytest.mark.skipif(gate.compiler() is None, reason="needs a C compiler")
def test_the_program_in_c(photos: list[Path], tmp_path: Path) -> None:
    assert len(C.splitlines()) <= 30
    _, about = read_graph(MODEL)
    for name, content in c.write(IntegerNetwork.from_onnx(MODEL), about, c.COptions(kernels="generic")).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "classify.c").write_text(C)
    (tmp_path / "pixels.c").write_text(PRINTS_PIXELS)
    compiler = gate.compiler()
    assert compiler is not None
    folder = tmp_path / "gn-cnn.c"
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-I", str(folder))
    program, printer = (
        gate.build(compiler, [tmp_path / "classify.c", network, folder / "gn_cnn_camera.c"], tmp_path / name, flags)
        for name, network in (("classify", folder / "gn_cnn.c"), ("print", tmp_path / "pixels.c"))
    )
    ppm = tmp_path / "photo.ppm"
    for path in photos:
        image = ImageOps.exif_transpose(Image.open(path))
        if image.has_transparency_data:
            continue
        image.convert("RGB").save(ppm)
        printed = subprocess.run([printer, ppm], capture_output=True, check=True).stdout.removesuffix(b"\n")
        assert printed == read_pixels(path).tobytes(), path
    Image.open(PHOTO).save(ppm)
    assert subprocess.run([program, ppm], capture_output=True, check=True).stdout == b"cat\n"
    assert subprocess.run([program, PHOTO], check=False).returncode == 1


@pytest.mark.network
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js and npm")
def test_the_program_in_javascript(photos: list[Path], tmp_path: Path) -> None:
    assert len(JAVASCRIPT.splitlines()) <= 30
    shutil.copy(MODEL, tmp_path)
    install = ["npm", "install", "--no-audit", "--no-fund", "onnxruntime-web@1.30.0", "sharp@0.35.5"]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True)

    def run(name: str, program: str, photo: Path) -> bytes:
        (tmp_path / name).write_text(program)
        return subprocess.run(["node", name, photo], cwd=tmp_path, capture_output=True, check=True).stdout

    assert run("classify.mjs", JAVASCRIPT, PHOTO) == b"cat\n"
    printer = JAVASCRIPT.split("const session")[0] + "process.stdout.write(pixels(data, info.width, info.height));"
    for path in photos:
        assert run("pixels.mjs", printer, path) == read_pixels(path).tobytes(), path
