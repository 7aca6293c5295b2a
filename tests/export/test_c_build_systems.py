"""The folder of the target c, as build systems take it: CMake, Arduino's rules, and the manifests by their tools."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_helpers import ABOUT

from cifar_edge.c import COptions, gate
from cifar_edge.c.kernels import KERNELS
from cifar_edge.export.targets import TARGETS
from cifar_edge.files import released
from cifar_edge.integer import IntegerNetwork

pytestmark = pytest.mark.skipif(gate.compiler() is None, reason="needs a C compiler")

SERIAL = """
#include <stdio.h>
static struct {
  void begin(long) {}
  void print(const char *text) { fputs(text, stdout); }
  operator bool() { return true; }
} Serial;
#include "selftest.ino"
int main() { setup(); loop(); }
"""
"""What Arduino puts around a sketch, with a serial port that is stdout."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("c")
    network = IntegerNetwork.from_onnx(released("export/gn-cnn/gn-cnn.int8.onnx"))
    for name, content in TARGETS["c"].write(network, ABOUT, COptions()).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path / "gn-cnn.c"


def run(*line: str | Path, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(line, capture_output=True, text=True, cwd=cwd)
    except FileNotFoundError:
        pytest.skip(f"needs {line[0]}")
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


def test_cmake(folder: Path, tmp_path: Path) -> None:
    run("cmake", "-S", folder, "-B", tmp_path, "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "--build", tmp_path)
    assert run(tmp_path / "gn_cnn_selftest").endswith("ok\n")
    assert list(tmp_path.glob("libgn_cnn.*"))


def test_a_subdirectory_of_cmake_is_compiled_at_o2_without_a_build_type(folder: Path, tmp_path: Path) -> None:
    listed = f"cmake_minimum_required(VERSION 3.13)\nproject(app C)\nadd_subdirectory({folder} network)\n"
    (tmp_path / "CMakeLists.txt").write_text(listed)
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    assert (tmp_path / "build" / "compile_commands.json").read_text().count(" -O2 ") == 2


def test_cmake_for_a_board_says_nothing_of_shared_libraries(folder: Path, tmp_path: Path) -> None:
    board = ("-DCMAKE_SYSTEM_NAME=Generic", "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY")
    done = subprocess.run(["cmake", "-S", folder, "-B", tmp_path, *board], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_arduino(folder: Path, tmp_path: Path) -> None:
    """Arduino compiles every C file of the folder, and links the sketch with all of them."""
    (tmp_path / "main.cpp").write_text(SERIAL)
    options = ("-DARDUINO=10819", "-Os", "-ffunction-sections", "-fdata-sections", f"-I{folder}")
    for source in folder.glob("*.c"):
        run("gcc", *options, "-c", source, "-o", tmp_path / f"{source.stem}.o")
    run("g++", *options, f"-I{folder / 'examples' / 'selftest'}", "-c", "main.cpp", "-o", "main.o", cwd=tmp_path)
    run("g++", "-Wl,--gc-sections", "-o", "program", *map(str, tmp_path.glob("*.o")), cwd=tmp_path)
    assert run(tmp_path / "program").endswith("ok\n")


@pytest.mark.parametrize("name", ["library.json", "library.properties"])
def test_platformio_takes_the_manifests(folder: Path, name: str) -> None:
    parser = pytest.importorskip("platformio.package.manifest.parser")
    schema = pytest.importorskip("platformio.package.manifest.schema")
    read = parser.ManifestParserFactory.new_from_file(str(folder / name)).as_dict()
    read.pop("license", None)  # it is checked against a list on the network
    manifest = schema.ManifestSchema().load_manifest(read)
    assert (manifest["name"], manifest["headers"][0]) == ("gn_cnn", "gn_cnn.h")


def test_arduino_finds_every_field(folder: Path) -> None:
    """https://arduino.github.io/arduino-cli/latest/library-specification/"""
    fields = dict(line.split("=", 1) for line in (folder / "library.properties").read_text().splitlines())
    wanted = "name version author maintainer sentence paragraph category url architectures includes"
    assert set(fields) == set(wanted.split())


def test_esp_idf_takes_the_manifest(folder: Path) -> None:
    manager = pytest.importorskip("idf_component_tools.manager")
    manifest = manager.ManifestManager(str(folder), "gn_cnn").load()
    assert (manifest.name, manifest.license) == ("gn_cnn", "Apache-2.0")


def test_zephyr_finds_a_module(folder: Path) -> None:
    """https://docs.zephyrproject.org/latest/develop/modules.html; west itself does not read this file."""
    yaml = pytest.importorskip("yaml")
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    assert module == {"name": "gn_cnn", "build": {"cmake": "zephyr"}}
    listed = (folder / module["build"]["cmake"] / "CMakeLists.txt").read_text()
    assert "../gn_cnn.c ../gn_cnn_camera.c" in listed


@pytest.mark.parametrize(("processor", "kernels"), [("max", "neon"), ("cortex-a53", "generic")])
def test_arm_with_and_without_the_dot_product(folder: Path, tmp_path: Path, processor: str, kernels: str) -> None:
    """One program for both: which kernels it chooses, and the logits of an image of zeros."""
    compiler = "aarch64-linux-gnu-gcc"
    main = """
#include <stdio.h>
#include "gn_cnn_dispatch.h"
int main(void) {
  static gn_cnn_state state;
  static uint8_t image[GN_CNN_SIZE * GN_CNN_SIZE * 3];
  int32_t logits[GN_CNN_CLASSES];
  int i;
  gn_cnn_run_many(&state, image, 1, logits);
  printf("%s", gn_cnn_kernels());
  for (i = 0; i < GN_CNN_CLASSES; i++) printf(" %d", (int)logits[i]);
  return 0;
}
"""
    (tmp_path / "main.c").write_text(main)
    build = (compiler, "-std=c99", "-O2", "-static", f"-I{folder}")
    run(*build, "-c", "-DGN_CNN_VARIANT=generic", "-DGN_CNN_GENERIC", folder / "gn_cnn.c", "-o", tmp_path / "generic.o")
    neon = ("-DGN_CNN_VARIANT=neon", *KERNELS["neon"].flags)
    run(*build, "-c", *neon, folder / "gn_cnn.c", "-o", tmp_path / "neon.o")
    sources = (tmp_path / "main.c", folder / "gn_cnn_dispatch.c", tmp_path / "generic.o", tmp_path / "neon.o")
    run(*build, "-DGN_CNN_DISPATCH", "-DGN_CNN_WITH_NEON", *sources, "-o", tmp_path / "program")
    chosen, *logits = run("qemu-aarch64", "-cpu", processor, tmp_path / "program").split()
    network = IntegerNetwork.from_onnx(released("export/gn-cnn/gn-cnn.int8.onnx"))
    assert chosen == kernels
    assert list(map(int, logits)) == network(np.zeros((1, 32, 32, 3), np.uint8))[0].tolist()
