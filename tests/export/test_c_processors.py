"""The C of gn-cnn and of an odd network on other processors, in qemu: the same logits, by the kernels of each."""

import shutil
import subprocess
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest
import torch
from c_helpers import ABOUT
from export_helpers import NETWORKS, build_folded

from cifar_edge import c
from cifar_edge.data import Dataset
from cifar_edge.export.integers import quantize
from cifar_edge.export.targets import TARGETS
from cifar_edge.files import released
from cifar_edge.integer import IntegerNetwork

LINUX = [
    ("aarch64-linux-gnu-gcc", "qemu-aarch64", ["-march=armv8.2-a+dotprod"], "NEON"),
    ("aarch64-linux-gnu-gcc", "qemu-aarch64", [], ""),
    ("riscv64-linux-gnu-gcc", "qemu-riscv64", [], ""),
    ("s390x-linux-gnu-gcc", "qemu-s390x", [], ""),
]
"""Compiler, emulator, options of the compiler, kernels; s390x has its bytes in the other order."""
CORTEX_M = Path(__file__).parent.parent / "cortex_m"
BOARDS = [
    ("cortex-m0", "mps2-an385", 0, 0x20000000, ""),
    ("cortex-m3", "mps2-an385", 0, 0x20000000, ""),
    ("cortex-m4", "mps2-an386", 0, 0x20000000, "DSP"),
    ("cortex-m33", "mps2-an505", 0x10000000, 0x38000000, "DSP"),
    ("cortex-m55", "mps3-an547", 0x10000000, 0x30000000, "HELIUM"),
]
"""Core, board in qemu, addresses of code and data, kernels."""
BUILD = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"]


def odd_network(sample: Dataset) -> IntegerNetwork:
    """One whose channels and columns no kernel divides."""
    wide = {"channels": 17, "kernel": 2, "stride": 1, "depthwise": 0, "groups": 1, "residual": 0}
    layers = [wide, wide | {"channels": 27, "kernel": 3, "stride": 2}, wide | {"depthwise": 1, "kernel": 3}]
    layers += [wide | {"channels": 3, "kernel": 1}, wide | {"channels": 3, "kernel": 3, "residual": 1}]
    torch.manual_seed(0)  # weights with which every layer fires
    return quantize(build_folded(layers, 10).layers, sample.train_images[:32], fit=False)


@pytest.fixture(scope="module", params=["gn-cnn", "gn-cnn-max", "growing", "odd"])
def folder(request: pytest.FixtureRequest, sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "odd":
        network = odd_network(sample)
    elif request.param == "growing":
        torch.manual_seed(0)
        network = quantize(NETWORKS["growing"]().eval(), sample.train_images[:64], fit=False)
    else:
        network = IntegerNetwork.from_onnx(released(f"export/{request.param}/{request.param}.int8.onnx"))
    path = tmp_path_factory.mktemp(request.param)
    for name, content in TARGETS["c"].write(network, ABOUT, c.COptions()).items():
        (path / Path(name).name).write_bytes(content)
    return path


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")


def check_kernels(folder: Path, compiler: list[str], kernels: str) -> None:
    """The compiler's options choose ``kernels``."""
    program = f'#include "gn_cnn.c"\n#ifndef GN_CNN_{kernels}\n#error other kernels\n#endif\n'
    done = subprocess.run([*compiler, "-fsyntax-only", "-xc", "-"], input=program, cwd=folder, text=True)
    assert done.returncode == 0 or not kernels


@pytest.mark.parametrize(("compiler", "emulator", "options", "kernels"), LINUX)
def test_linux(folder: Path, tmp_path: Path, compiler: str, emulator: str, options: list[str], kernels: str) -> None:
    needs(compiler, emulator)
    check_kernels(folder, [compiler, *options], kernels)
    program = tmp_path / "selftest"
    subprocess.run([compiler, *BUILD, *options, "-static", "-o", program, "selftest.c"], cwd=folder, check=True)
    printed = subprocess.run([emulator, program], capture_output=True, text=True).stdout
    assert printed.splitlines()[-1] == "ok", printed


@pytest.mark.parametrize(("core", "board", "code", "data", "kernels"), BOARDS)
def test_cortex_m(folder: Path, tmp_path: Path, core: str, board: str, code: int, data: int, kernels: str) -> None:
    needs("arm-none-eabi-gcc", "qemu-system-arm")
    floats = "hard" if core in ("cortex-m4", "cortex-m33", "cortex-m55") else "soft"
    compiler = ["arm-none-eabi-gcc", f"-mcpu={core}", "-mthumb", f"-mfloat-abi={floats}"]
    if floats == "hard" and core != "cortex-m55":
        compiler.append("-mfpu=fpv4-sp-d16" if core == "cortex-m4" else "-mfpu=fpv5-sp-d16")
    check_kernels(folder, compiler, kernels)
    addresses = f"CODE={code},--defsym=DATA={data}"
    printed = printed_by(folder / "selftest.c", compiler, addresses, board, tmp_path, "-DGN_CNN_PRINT=host_print")
    assert printed.splitlines()[-1] == "ok", printed


def printed_by(main: Path, compiler: list[str], addresses: str, board: str, folder: Path, *options: str) -> str:
    """What ``main``, compiled in ``folder``, prints on a ``board`` of qemu."""
    linker = ["-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs", f"-Wl,-T,{CORTEX_M / 'link.ld'}"]
    linker += [f"-Wl,--defsym={addresses},--gc-sections,--no-warn-rwx-segments"]
    declared, program = folder / "print.h", folder / "program.elf"
    declared.write_text("int host_print(const char *format, ...);\n")
    sources = ["-include", str(declared), str(main), str(CORTEX_M / "start.c")]
    subprocess.run([*compiler, "-O2", *options, *sources, *linker, "-o", program], check=True)
    emulator = ["qemu-system-arm", "-M", board, "-nographic", "-semihosting-config", "enable=on,target=native"]
    done = subprocess.run([*emulator, "-kernel", program], stdout=PIPE, stderr=STDOUT, text=True, timeout=300)
    return done.stdout


VARIABLES = """
#include <stdint.h>
static volatile int64_t seven = 7;
static volatile int nothing[3000]; /* 12 kB of 16 */
int main(void) {
  int i;
  for (i = 0; i < 3000; i++) seven += nothing[i];
  host_print("%d\\n", (int)seven);
  return 0;
}
"""


def test_the_start_up_code_on_a_board_with_little_memory(tmp_path: Path) -> None:
    needs("arm-none-eabi-gcc", "qemu-system-arm")
    main = tmp_path / "main.c"
    main.write_text(VARIABLES)
    compiler = ["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb"]
    addresses = "CODE=0,--defsym=DATA=0x20000000,--defsym=RAM=0x4000"
    assert printed_by(main, compiler, addresses, "microbit", tmp_path) == "7\n"
