"""The self-test in the C of a network, what it says of a defect, and the figures that the report gives."""

import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from c_helpers import ABOUT

from cifar_edge import c
from cifar_edge.c import gate
from cifar_edge.c.plan import plan
from cifar_edge.c.sources import least_logit
from cifar_edge.data import Dataset
from cifar_edge.export.targets import TARGETS
from cifar_edge.files import released
from cifar_edge.integer import IntegerNetwork

pytestmark = pytest.mark.skipif(gate.compiler() is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def network() -> IntegerNetwork:
    return IntegerNetwork.from_onnx(released("export/gn-cnn/gn-cnn.int8.onnx"))


@pytest.fixture
def folder(network: IntegerNetwork, tmp_path: Path) -> Path:
    return written(network, tmp_path)


def written(network: IntegerNetwork, tmp_path: Path) -> Path:
    for name, content in TARGETS["c"].write(network, ABOUT, c.COptions("generic")).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path / "gn-cnn.c"


def selftest(folder: Path, *options: str) -> list[str]:
    command = [*(gate.compiler() or []), "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1", *options]
    subprocess.run([*command, "-o", "selftest", "selftest.c"], cwd=folder, check=True)
    return subprocess.run([folder / "selftest"], capture_output=True, text=True).stdout.splitlines()


def test_the_selftest_prints_the_logits_and_ok(network: IntegerNetwork, folder: Path, sample: Dataset) -> None:
    printed = selftest(folder)
    assert printed[0].startswith("gn-cnn.int8@000000000000, 90.00% of 10000 test images")
    logits = [[int(word) for word in line.split()[2:]] for line in printed if line.startswith("image ")]
    assert np.array_equal(logits, network(sample.test_images[:10]))
    assert printed[-1] == "ok"


def test_images_of_the_selftest_can_be_left_out(network: IntegerNetwork, folder: Path, sample: Dataset) -> None:
    sizes = []
    for images in (2, 10):
        printed = selftest(folder, f"-DGN_CNN_SELFTEST_IMAGES={images}")
        logits = [[int(word) for word in line.split()[2:]] for line in printed if line.startswith("image ")]
        assert np.array_equal(logits, network(sample.test_images[:images]))
        assert printed[-1] == "ok"
        sizes.append((folder / "selftest").stat().st_size)
    assert sizes[1] - sizes[0] > 8 * sample.test_images[0].size - 4096  # a page of the file may hold some of it
    for images in (0, 11):
        with pytest.raises(subprocess.CalledProcessError):
            selftest(folder, f"-DGN_CNN_SELFTEST_IMAGES={images}")


def test_the_selftest_names_the_first_layer_that_differs(folder: Path) -> None:
    layers = folder / "gn_cnn_layers.h"
    text = layers.read_text()
    defect = re.sub(r"(bias_3\[\d+\] = \{\n)-?\d+", r"\g<1>32767", text)
    assert defect != text
    layers.write_text(defect)
    printed = selftest(folder)
    assert "image 0 differs, first in layer Conv-4" in printed
    assert printed[-1] == "failed"


def test_the_selftest_names_it_for_residuals_and_other_pixels(tmp_path: Path) -> None:
    released_network = IntegerNetwork.from_onnx(released("export/gn-cnn-max/gn-cnn-max.int8.onnx"))
    network = replace(released_network, pixels=replace(released_network.pixels, zero_point=120))
    step = plan(network).steps[12]
    assert step.name.startswith("Residual-")
    folder = written(network, tmp_path)
    assert selftest(folder)[-1] == "ok"
    layers = folder / "gn_cnn_layers.h"
    defect = re.sub(r"(bias_12\[\d+\] = \{\n)(-?\d+,){8}", r"\g<1>" + "32767," * 8, layers.read_text())
    layers.write_text(defect)
    assert f"image 0 differs, first in layer {step.name}" in selftest(folder)


def test_the_figures_are_those_of_the_compiled_code(network: IntegerNetwork, folder: Path) -> None:
    figures = c.figures(network)
    assert figures["macs"] == network.summary().macs
    size = f"int size[sizeof(gn_cnn_state) == {figures['state_bytes']} ? 1 : -1];"
    (folder / "size.c").write_text(f'#include "gn_cnn.h"\n{size}\n')
    subprocess.run([*(gate.compiler() or []), "-c", "size.c"], cwd=folder, check=True)
    assert f"| `sizeof(gn_cnn_state)` | {figures['state_bytes']:,} |" in (folder / "README.md").read_text()


def commands(folder: Path) -> list[list[str]]:
    """The commands in the README of a folder that need arm-none-eabi-gcc."""
    lines = re.findall(r"^    (arm-none-eabi-.+)$", (folder / "README.md").read_text(), re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_the_commands_for_bare_metal(network: IntegerNetwork, folder: Path) -> None:
    """With the compiler of this computer where there is none for Arm."""
    (folder / "uart.h").write_text("int uart_print(const char *format, ...);\n")
    compiles, sizes, tests = commands(folder)
    arm = all(shutil.which(command[0]) for command in (compiles, sizes))
    for command in (compiles, tests):
        here = [*(gate.compiler() or []), *(word for word in command[1:] if not word.startswith("-m"))]
        subprocess.run(command if arm else here, cwd=folder, check=True)
    if arm:
        printed = subprocess.run(sizes, cwd=folder, capture_output=True, text=True, check=True).stdout
        text, data, bss = map(int, printed.splitlines()[1].split()[:3])
        assert (data, bss) == (0, 0)
        assert text == pytest.approx(c.figures(network)["flash_bytes"], rel=0.03)


def test_a_class_below_the_threshold_is_not_sure(network: IntegerNetwork, sample: Dataset, tmp_path: Path) -> None:
    threshold = 14.0
    header = c.write(network, replace(ABOUT, threshold=threshold), c.COptions("generic"))["gn-cnn.c/gn_cnn.h"].decode()
    least = int(re.findall(r"define GN_CNN_THRESHOLD \((-?\d+)\)", header)[0])
    logits = network(sample.test_images).max(axis=1)
    assert least == least_logit(network.logit_scale, threshold)
    assert np.array_equal(logits >= least, logits.astype(np.float32) * network.logit_scale >= threshold)
    assert 0 < np.count_nonzero(logits < least) < len(logits)


DECIDE = """
#include <math.h>
#include <stdio.h>
#include "gn_cnn.h"
int main(void) {
  static const int32_t logits[GN_CNN_CLASSES] = {100, 900};
  int label = gn_cnn_decide(logits);
  if (label >= 0) {
EXAMPLE
    printf("%.4f ", probability);
  }
  printf("%d", label);
  return 0;
}
"""


@pytest.mark.parametrize(
    ("threshold", "options", "label"),
    [
        (None, [], 1),
        (None, ["-DGN_CNN_THRESHOLD=901"], -1),
        (100.0, [], -1),
        (100.0, ["-DGN_CNN_THRESHOLD=900"], 1),
    ],
)
def test_the_threshold_is_a_constant_that_an_option_replaces(
    network: IntegerNetwork, tmp_path: Path, threshold: float | None, options: list[str], label: int
) -> None:
    """The probability is that of the README, by the model's temperature."""
    about = replace(ABOUT, threshold=threshold, temperature=1.5)
    files = c.write(network, about, c.COptions("generic"))
    for name, content in files.items():
        (tmp_path / Path(name).name).write_bytes(content)
    readme = files["gn-cnn.c/README.md"].decode()
    example = re.findall(r"    float sum = 0;\n.*?float probability.*?\n", readme, re.DOTALL)[0]
    (tmp_path / "main.c").write_text(DECIDE.replace("EXAMPLE", example))
    command = [
        *(gate.compiler() or []),
        "-std=c99",
        "-Wall",
        "-Werror",
        *options,
        "-o",
        "main",
        "main.c",
        "gn_cnn.c",
        "-lm",
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    *probability, found = subprocess.run([tmp_path / "main"], capture_output=True, text=True).stdout.split()
    assert int(found) == label
    command = [*(gate.compiler() or []), "-std=c99", "-DGN_CNN_THRESHOLD=7.5", "-c", "gn_cnn.c"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode, "a threshold in floats would be below every answer, in silence"
    exponents = np.exp(np.array([-800.0, 0.0] + [-900.0] * 8) * float(network.logit_scale) / 1.5)
    assert probability == ([] if label < 0 else [f"{1 / exponents.sum():.4f}"])
