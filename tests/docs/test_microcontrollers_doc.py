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
SNAPSHOT, ROWS = "HAL_DCMI_Start_DMA(", "HAL_DMA_Start_IT("
"""What tells the two programs for STM32F4 from the others."""
LARGE, SMALL = (320, 240), (160, 120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C of gn-cnn and of gn-cnn-nano."""
    made = tmp_path_factory.mktemp("c")
    for model in ("gn-cnn", "gn-cnn-nano"):
        network = IntegerNetwork.from_onnx(released(f"export/{model}/{model}.int8.onnx"))
        for name, content in write(network, ABOUT, COptions(name=model.replace("-", "_"))).items():
            (made / Path(name).name).write_bytes(content)
    return made


def frames(size: tuple[int, int]) -> bytes:
    """A cat, an airplane and the cat again, as a camera sends them: in RGB565, the high byte first."""
    return b"".join(frame(name, size) for name in ("chelsea.jpg", "airplane.png", "chelsea.jpg"))


def frame(name: str, size: tuple[int, int]) -> bytes:
    image = Image.open(CHECKOUT / "docs" / "images" / name).convert("RGB").resize(size, Image.Resampling.NEAREST)
    red, green, blue = np.asarray(image).astype(np.uint16).transpose(2, 0, 1)
    pixels: npt.NDArray[np.uint16] = (red >> 3) << 11 | (green >> 2) << 5 | blue >> 3
    return pixels.astype(">u2").tobytes()


def built(folder: Path, called: str, board: str, size: tuple[int, int], model: str = "gn_cnn") -> Path:
    """The program of the page that has ``called`` in it, with what stands in for its board."""
    (program,) = (each for each in PROGRAMS if called in each)
    source = folder / f"program_for_{board}.c"
    source.write_text(program)
    sources = [source, BOARDS / f"{board}.c", folder / f"{model}.c", folder / f"{model}_camera.c"]
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-I", str(folder), "-I", str(BOARDS)]
    flags += [f"-DWORDS={size[0] // 2}", f"-DROWS={size[1]}"] * (board in ("stm32f4", "fifo"))
    flags += ["-no-pie", "-Wno-pointer-to-int-cast"]  # addresses fit into 32 bits, as on the boards
    return gate.build(gate.compiler() or [], sources, folder / board, flags)


def test_the_code_for_a_frame_compiles(folder: Path) -> None:
    source = folder / "classify.c"
    source.write_text(PROGRAMS[0])
    options = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-c"]
    subprocess.run([*(gate.compiler() or []), *options, source, "-o", folder / "classify.o"], check=True)


@pytest.mark.parametrize(
    ("called", "board", "size"),
    [
        (SNAPSHOT, "stm32f4", SMALL),
        (ROWS, "stm32f4", LARGE),
        ("esp_camera_fb_get", "esp32", LARGE),
        ("hardware/pio.h", "rp2040", LARGE),
    ],
)
def test_an_led_says_what_the_camera_sees(folder: Path, called: str, board: str, size: tuple[int, int]) -> None:
    program = built(folder, called, board, size)
    assert subprocess.run([program], input=frames(size), capture_output=True, check=True).stdout == b"1\n0\n1\n"


def test_the_first_program_for_stm32_takes_a_camera_as_fast_as_it_comes(folder: Path) -> None:
    programs = [each for each in PROGRAMS if "stm32f4xx_hal.h" in each]
    assert [SNAPSHOT in each for each in programs] == [True, False]
    done = subprocess.run(
        [built(folder, SNAPSHOT, "stm32f4", SMALL), "120"], input=frames(SMALL), capture_output=True, check=True
    )
    assert done.stdout == b"1\n0\n1\n"


@pytest.mark.parametrize(
    ("called", "size", "rows_a_millisecond"),
    [(SNAPSHOT, SMALL, 0), (ROWS, LARGE, 0), (ROWS, LARGE, 40), (ROWS, LARGE, 240)],
)
def test_the_led_blinks_where_frames_are_lost(
    folder: Path, called: str, size: tuple[int, int], rows_a_millisecond: int
) -> None:
    program = built(folder, called, "stm32f4", size)
    done = subprocess.run([program, str(rows_a_millisecond)], input=frames(size), capture_output=True, check=True)
    assert done.stdout == b"blinks\nblinks\nblinks\n"


def test_a_camera_that_waits_for_a_chip_with_8_kb(folder: Path) -> None:
    program = built(folder, "fifo.h", "fifo", SMALL, "gn_cnn_nano")
    printed = subprocess.run([program], input=frames(SMALL), capture_output=True, check=True).stdout
    assert printed == b"3\n0\n3\n-2\n"
