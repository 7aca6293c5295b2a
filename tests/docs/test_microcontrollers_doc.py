"""The C of docs/microcontrollers.md, with the folder that `export --target c` writes and boards that are played."""

import re
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from c_helpers import ABOUT
from conftest import CHECKOUT
from PIL import Image

from cifar_edge.c import COptions, gate, write
from cifar_edge.files import released
from cifar_edge.integer import IntegerNetwork

pytestmark = pytest.mark.skipif(gate.compiler() is None, reason="needs a C compiler")
BOARDS = CHECKOUT / "tests" / "boards"
PROGRAMS = re.findall(r"```c\n(.*?)```", (CHECKOUT / "docs" / "microcontrollers.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C of gn-cnn."""
    made = tmp_path_factory.mktemp("gn-cnn.c")
    network = IntegerNetwork.from_onnx(released("export/gn-cnn/gn-cnn.int8.onnx"))
    for name, content in write(network, ABOUT, COptions()).items():
        (made / Path(name).name).write_bytes(content)
    return made


@pytest.fixture(scope="module")
def frames() -> bytes:
    """A cat, an airplane and the cat again, as a camera sends them: 320 x 240 pixels of RGB565, the high byte first."""
    return b"".join(map(frame, ("chelsea.jpg", "airplane.png", "chelsea.jpg")))


def frame(name: str) -> bytes:
    image = Image.open(CHECKOUT / "docs" / "images" / name).convert("RGB").resize((320, 240), Image.Resampling.NEAREST)
    red, green, blue = np.asarray(image).astype(np.uint16).transpose(2, 0, 1)
    pixels: npt.NDArray[np.uint16] = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
    return pixels.astype(">u2").tobytes()


def built(folder: Path, header: str, board: str) -> Path:
    """The program of the page that includes ``header``, with what stands in for its board."""
    (program,) = (each for each in PROGRAMS if f'#include "{header}"' in each)
    source = folder / f"program_for_{board}.c"
    source.write_text(program)
    sources = [source, BOARDS / f"{board}.c", folder / "gn_cnn.c", folder / "gn_cnn_camera.c"]
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-I", str(folder), "-I", str(BOARDS)]
    flags += ["-no-pie", "-Wno-pointer-to-int-cast"]  # addresses fit into 32 bits, as on the boards
    return gate.build(gate.compiler() or [], sources, folder / board, flags)


def test_the_code_for_a_frame_compiles(folder: Path) -> None:
    source = folder / "classify.c"
    source.write_text(PROGRAMS[0])
    options = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-c"]
    subprocess.run([*(gate.compiler() or []), *options, source, "-o", folder / "classify.o"], check=True)


@pytest.mark.parametrize(
    ("header", "board"),
    [("stm32f4xx_hal.h", "stm32f4"), ("esp_camera.h", "esp32"), ("hardware/pio.h", "rp2040")],
)
def test_an_led_says_what_the_camera_sees(folder: Path, frames: bytes, header: str, board: str) -> None:
    program = built(folder, header, board)
    assert subprocess.run([program], input=frames, capture_output=True, check=True).stdout == b"1\n0\n1\n"


@pytest.mark.parametrize("rows_a_millisecond", [0, 40, 240])
def test_no_class_of_a_frame_whose_rows_are_lost(folder: Path, frames: bytes, rows_a_millisecond: int) -> None:
    program = built(folder, "stm32f4xx_hal.h", "stm32f4")
    done = subprocess.run([program, str(rows_a_millisecond)], input=frames, capture_output=True, check=True)
    assert done.stdout == b"none\nnone\nnone\n"
