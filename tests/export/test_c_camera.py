"""The target c: frames of cameras become the network's pixels as photographs do in Python, bit for bit."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from c_helpers import ABOUT, SANITIZERS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cifar_edge import c
from cifar_edge.c import gate
from cifar_edge.files import released
from cifar_edge.integer import PIXELS, IntegerNetwork, Linear, MaxPool
from cifar_edge.runtime.transform import to_pixels

pytestmark = pytest.mark.skipif(gate.compiler() is None, reason="needs a C compiler")
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
FORMATS = ("RGB888", "BGR888", "RGB565_LE", "RGB565_BE", "YUYV", "UYVY", "GREY")
Bytes = npt.NDArray[np.uint8]

# Prints the pixels that the camera's code gives to the network, whose three functions stand here for that.
PIXELS_OF = """
#include <stdio.h>
#include <stdlib.h>
#include "net_camera.h"
void net_begin(net_state *state) { (void)state; }
void net_row(net_state *state, const uint8_t row[NET_LEAST(NET_SIZE * 3)]) {
  (void)state;
  fwrite(row, 3, NET_SIZE, stdout);
}
int net_end(net_state *state, int32_t logits[NET_LEAST(NET_CLASSES)]) { (void)state; (void)logits; return 0; }
int main(int count, char **arguments) {
  static net_state state;
  static net_camera camera;
  const uint32_t width = (uint32_t)atoi(arguments[2]), height = (uint32_t)atoi(arguments[3]);
  uint32_t bytes = net_camera_begin(&camera, &state, (net_format)atoi(arguments[1]), width, height), row;
  uint8_t *line = malloc(bytes);  /* so that the sanitizer sees what is read behind a row */
  if (bytes == 0 || count != 4) return 2;
  for (row = 0; row < height; row++) {
    if (fread(line, 1, bytes, stdin) != bytes) return 3;
    net_camera_row(&camera, line);
  }
  free(line);
  return 0;
}
"""

# Prints the logits of a frame.
LOGITS_OF = """
#include <stdio.h>
#include <stdlib.h>
#include "net_camera.h"
static uint8_t frame[640 * 480 * 3];
int main(int count, char **arguments) {
  static net_state state;
  static net_camera camera;
  int32_t logits[NET_CLASSES];
  if (count != 4 || fread(frame, 1, sizeof frame, stdin) == 0) return 2;
  if (net_camera_run(&camera, &state, (net_format)atoi(arguments[1]), (uint32_t)atoi(arguments[2]),
                     (uint32_t)atoi(arguments[3]), frame, logits)) return 3;
  fwrite(logits, sizeof *logits, NET_CLASSES, stdout);
  return 0;
}
"""


def build(network: IntegerNetwork, folder: Path, main: str, sources: tuple[str, ...]) -> Path:
    for name, content in c.write(network, ABOUT, c.COptions(name="net")).items():
        (folder / Path(name).name).write_bytes(content)
    (folder / "main.c").write_text(main)
    command = gate.compiler()
    assert command is not None
    flags = (*SANITIZERS, *STRICT)
    return gate.build(command, [folder / name for name in ("main.c", *sources)], folder / "program", flags)


def answer(program: Path, kind: str, width: int, height: int, frame: bytes) -> bytes:
    line = [str(program), str(FORMATS.index(kind)), str(width), str(height)]
    done = subprocess.run(line, input=frame, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Size of a network -> a program that prints the pixels of a frame."""
    programs = {}
    for size in (32, 48, 64, 112):
        head = Linear(np.ones((2, 12), np.int8), None, np.zeros(2, np.int32), None)
        pools = MaxPool((size // 2, size // 2), (size // 2, size // 2), (0, 0, 0, 0))
        network = IntegerNetwork(size, (pools, head), np.float32(1) * PIXELS.scale)
        programs[size] = build(network, tmp_path_factory.mktemp(f"camera{size}"), PIXELS_OF, ("net_camera.c",))
    return programs


def pixels(program: Path, kind: str, frame: Bytes, width: int) -> Bytes:
    """What the C makes of a frame, ``[rows, bytes of a row]``."""
    found = np.frombuffer(answer(program, kind, width, len(frame), frame.tobytes()), np.uint8)
    size = round((found.size // 3) ** 0.5)
    return found.reshape(size, size, 3)


def photograph(width: int, height: int, name: str = "astronaut") -> Bytes:
    import skimage.data

    (file,) = Path(skimage.data.__file__).parent.glob(f"{name}.*")
    return np.asarray(Image.open(file).convert("RGB").resize((width, height)))


def packed(rgb: Bytes, kind: str) -> tuple[Bytes, Bytes]:
    """A picture as a camera sends it, and what it then shows in RGB, by the rules in the header."""
    if kind in ("RGB888", "BGR888"):
        return rgb[..., :: 1 if kind == "RGB888" else -1].reshape(len(rgb), -1), rgb
    if kind == "GREY":
        return rgb[..., 1], rgb[..., [1, 1, 1]]
    if kind.startswith("RGB565"):
        red, green, blue = (rgb[..., i].astype(np.uint16) >> bits for i, bits in enumerate((3, 2, 3)))
        words = (red << 11 | green << 5 | blue).astype("<u2" if kind.endswith("LE") else ">u2")
        shown = np.stack([red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2], -1)
        return words.view(np.uint8).reshape(len(rgb), -1), shown.astype(np.uint8)
    even = np.pad(rgb, ((0, 0), (0, rgb.shape[1] % 2), (0, 0)), mode="edge")
    yuv = np.asarray(Image.fromarray(even).convert("YCbCr"))
    chroma = yuv[:, ::2, 1:]
    pairs = np.stack([yuv[:, ::2, 0], chroma[..., 0], yuv[:, 1::2, 0], chroma[..., 1]], -1)
    if kind == "UYVY":
        pairs = pairs[..., [1, 0, 3, 2]]
    y, (u, v) = yuv[..., 0].astype(int), (np.repeat(chroma[..., i], 2, axis=1).astype(int) - 128 for i in (0, 1))
    shown = np.stack(
        [y + (91881 * v + 32768 >> 16), y + (32768 - 22554 * u - 46802 * v >> 16), y + (116130 * u + 32768 >> 16)], -1
    )
    return pairs.reshape(len(rgb), -1), shown.clip(0, 255).astype(np.uint8)[:, : rgb.shape[1]]


@pytest.mark.parametrize("compiler", [["gcc"], ["clang"], ["g++", "-xc++"], ["clang++", "-xc++"]], ids=lambda c: c[0])
@pytest.mark.parametrize("size", [32, 48])
def test_it_compiles_without_a_warning(cameras: dict[int, Path], size: int, compiler: list[str]) -> None:
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"needs {compiler[0]}")
    standard = [] if len(compiler) > 1 else ["-std=c99"]
    line = [*compiler, *standard, "-O2", *STRICT, "-c", "net_camera.c", "-o", "net_camera.o"]
    done = subprocess.run(line, cwd=cameras[size].parent, capture_output=True)
    assert (done.returncode, done.stderr.decode()) == (0, "")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("width", "height"), [(320, 240), (640, 480), (33, 47), (31, 30), (32, 32), (1, 5), (161, 121)]
)
def test_pixels_are_those_of_the_picture_in_rgb(cameras: dict[int, Path], kind: str, width: int, height: int) -> None:
    frame, shown = packed(photograph(width, height), kind)
    assert np.array_equal(pixels(cameras[32], kind, frame, width), to_pixels(Image.fromarray(shown)))


@settings(max_examples=60, deadline=None)
@given(
    size=st.sampled_from([32, 48, 64, 112]),
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    seed=st.integers(0, 9),
)
def test_every_size_of_frame(cameras: dict[int, Path], size: int, width: int, height: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).choice([0, 1, 100, 254, 255], (height, width, 3)).astype(np.uint8)
    found = pixels(cameras[size], "RGB888", rgb.reshape(height, -1), width)
    assert np.array_equal(found, to_pixels(Image.fromarray(rgb), size))


@pytest.mark.parametrize("side", [52, 104, 120, 350, 488])
@pytest.mark.parametrize("size", [48, 112])
def test_pixels_on_an_edge_count_as_in_pillow(cameras: dict[int, Path], size: int, side: int) -> None:
    rgb = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    found = pixels(cameras[size], "RGB888", rgb.reshape(side, -1), side)
    assert np.array_equal(found, to_pixels(Image.fromarray(rgb), size))


def test_colours_of_yuv_are_those_of_pillow() -> None:
    rgb = np.repeat(photograph(160, 240), 2, axis=1)  # two pixels of a pair have one colour
    _, shown = packed(rgb, "YUYV")
    assert np.abs(shown.astype(int) - Image.fromarray(rgb).convert("YCbCr").convert("RGB")).max() <= 1


def test_a_frame_gives_the_logits_of_the_picture(tmp_path: Path) -> None:
    network = IntegerNetwork.from_onnx(released("export/gn-cnn/gn-cnn.int8.onnx"))
    program = build(network, tmp_path, LOGITS_OF, ("net_camera.c", "net.c"))
    for name in ("chelsea", "coffee", "rocket"):
        rgb = photograph(640, 480, name)
        for kind in ("RGB565_BE", "YUYV"):
            frame, shown = packed(rgb, kind)
            found = np.frombuffer(answer(program, kind, 640, 480, frame.tobytes()), np.int32)
            assert np.array_equal(found, network(to_pixels(Image.fromarray(shown))[None])[0])
    refused = subprocess.run([str(program), "0", "0", "480"], input=b"x", capture_output=True)
    assert refused.returncode == 3
    refused = subprocess.run([str(program), "9", "640", "480"], input=b"x", capture_output=True)
    assert refused.returncode == 3


REFUSED = """
#include <stdio.h>
#include "net_camera.h"
int main(void) {
  static net_state state;
  static net_camera camera;
  static uint8_t frame[33 * 33 * 3];
  int32_t logits[NET_CLASSES] = {7, 8};
  uint32_t time, row;
  for (time = 0; time < 2; time++) { /* a camera that was never used, and one that was */
    if (net_camera_begin(&camera, &state, NET_RGB888, 0, 33) != 0) return 2;
    for (row = 0; row < 33; row++) net_camera_row(&camera, frame);
    if (net_camera_end(&camera, logits) != -1) return 6;
    if (net_camera_run(&camera, &state, NET_RGB888, 33, 0, frame, logits) != -1) return 3;
    if (logits[0] != 7 || logits[1] != 8) return 4;
    if (net_camera_begin(&camera, &state, NET_RGB888, 33, 33) != 99) return 5;
  }
  for (row = 0; row < 33; row++) { /* too few rows */
    if (net_camera_end(&camera, logits) != -1) return 7;
    net_camera_row(&camera, frame);
  }
  if (logits[0] != 7 || logits[1] != 8) return 8;
  if (net_camera_end(&camera, logits) != 0 || logits[0] == 7) return 9;
  logits[0] = 7;
  net_camera_row(&camera, frame); /* of another frame, without its begin */
  if (net_camera_end(&camera, logits) != -1 || logits[0] != 7) return 10;
  return 0;
}
"""


def test_of_a_frame_that_is_refused_or_lacks_rows_no_logits_come(tmp_path: Path) -> None:
    network = IntegerNetwork.from_onnx(released("export/gn-cnn/gn-cnn.int8.onnx"))
    program = build(network, tmp_path, REFUSED, ("net_camera.c", "net.c"))
    done = subprocess.run([program], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
