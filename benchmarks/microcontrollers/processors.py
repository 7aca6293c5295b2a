"""Processors in qemu: how a program is compiled for each, and how many instructions it takes there."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CORTEX_M = HERE.parent.parent / "tests" / "cortex_m"
"""The linker script and the start of a Cortex-M in qemu."""


@dataclass(frozen=True)
class Processor:
    """A processor, as gcc and qemu call it.

    Attributes:
        tools: prefix of gcc and its tools.
        options: of gcc, for the processor.
        emulator: command line of qemu; the program's file comes behind it.
        addresses: of code and data on a board without an operating system; None where the options or Linux say it.
    """

    name: str
    tools: str
    options: tuple[str, ...]
    emulator: tuple[str, ...]
    addresses: tuple[int, int] | None = None


_SEMIHOSTING = ("-nographic", "-semihosting-config", "enable=on,target=native", "-kernel")


def _cortex(core: str, board: str, floats: str, code: int = 0, data: int = 0x20000000) -> Processor:
    options = [f"-mcpu=cortex-{core.lower()}", "-mthumb", f"-mfloat-abi={'hard' if floats else 'soft'}"]
    options += [f"-mfpu={floats}"] * (floats not in ("", "auto"))
    emulator = ("qemu-system-arm", "-M", board, *_SEMIHOSTING)
    return Processor(f"Cortex-{core}", "arm-none-eabi-", tuple(options), emulator, (code, data))


def _rv32imac() -> Processor:
    """With picolibc, on qemu's board ``virt``, whose memory begins at 0x80000000."""
    options = ("-march=rv32imac", "-mabi=ilp32", "--specs=picolibc.specs", "--crt0=hosted", "--oslib=semihost")
    flash = "-Wl,--defsym=__flash=0x80000000,--defsym=__flash_size=0x200000"
    ram = "-Wl,--defsym=__ram=0x80200000,--defsym=__ram_size=0x200000,--defsym=__stack_size=0x10000"
    emulator = ("qemu-system-riscv32", "-M", "virt", "-bios", "none", *_SEMIHOSTING)
    return Processor("rv32imac", "riscv64-unknown-elf-", (*options, flash, ram), emulator)


PROCESSORS = (
    _cortex("M0", "mps2-an385", ""),
    _cortex("M3", "mps2-an385", ""),
    _cortex("M4", "mps2-an386", "fpv4-sp-d16"),
    _cortex("M7", "mps2-an500", "fpv5-sp-d16"),
    _cortex("M33", "mps2-an505", "fpv5-sp-d16", 0x10000000, 0x38000000),
    _cortex("M55", "mps3-an547", "auto", 0x10000000, 0x30000000),
    Processor("aarch64", "aarch64-linux-gnu-", ("-march=armv8.2-a+dotprod",), ("qemu-aarch64",)),
    _rv32imac(),
    Processor("rv64gc", "riscv64-linux-gnu-", ("-march=rv64gc",), ("qemu-riscv64",)),
)


def missing(processor: Processor) -> list[str]:
    """The programs that measuring on ``processor`` needs and this machine does not have."""
    needed = (f"{processor.tools}gcc", f"{processor.tools}size", processor.emulator[0], "cc")
    return [program for program in needed if shutil.which(program) is None]


def compiled(
    processor: Processor, folder: Path, defines: Sequence[str], main: Path = HERE / "images.c", more: Sequence[str] = ()
) -> Path:
    """The program of ``main`` and the network in ``folder``, at -O2; ``more`` are further arguments of gcc."""
    program = folder / "images.elf"
    command = [f"{processor.tools}gcc", *processor.options, "-std=gnu99", "-O2", "-I", str(folder), *defines]
    sources = [str(main)]
    if processor.addresses is None:
        linker = ["-static"]
    else:
        code, data = processor.addresses
        (folder / "print.h").write_text("int host_print(const char *format, ...);\n")
        command += ["-include", "print.h", "-DPRINT=host_print"]
        sources.append(str(CORTEX_M / "start.c"))
        linker = ["-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs", f"-Wl,-T,{CORTEX_M / 'link.ld'}"]
        linker.append(f"-Wl,--defsym=CODE={code},--defsym=DATA={data},--gc-sections,--no-warn-rwx-segments")
    subprocess.run([*command, *sources, *more, *linker, "-o", str(program)], check=True)
    return program


def flash_bytes(processor: Processor, folder: Path) -> int:
    """Code, constants and initialised data of ``network.c`` in ``folder``, at -O2."""
    binary = folder / "network.o"
    gcc = [f"{processor.tools}gcc", *processor.options, "-std=c99", "-O2", "-c", str(folder / "network.c")]
    subprocess.run([*gcc, "-o", str(binary)], check=True)
    size = subprocess.run([f"{processor.tools}size", str(binary)], check=True, capture_output=True, text=True)
    text, data = size.stdout.splitlines()[1].split()[:2]
    return int(text) + int(data)


def plugin(folder: Path) -> Path:
    """What counts instructions in qemu, compiled."""
    library = folder / "count.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "count.c")], check=True)
    return library


def counted(processor: Processor, program: Path, counter: Path) -> tuple[str, int]:
    """What ``program`` prints, and the number of its instructions.

    Raises:
        RuntimeError: it did not end as it should.
    """
    emulator, *options = processor.emulator
    done = subprocess.run(
        [emulator, "-plugin", str(counter), *options, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    found = re.search(r"^instructions (\d+)$", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise RuntimeError(f"{processor.name}: {done.stdout.strip()}")
    return done.stdout[: found.start()], int(found[1])
