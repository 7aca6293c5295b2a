r"""Instructions, memory and flash of the networks in C, on processors of microcontrollers and on others, in qemu.

    apt-get install gcc gcc-arm-none-eabi libnewlib-arm-none-eabi gcc-aarch64-linux-gnu gcc-riscv64-linux-gnu \
        gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-arm qemu-system-misc qemu-user
    python -m benchmarks.microcontrollers
    python -m benchmarks.microcontrollers --cmsis-nn CMSIS-NN

Compiles what `cifar-edge export --quantize --target c` writes by gcc at -O2, runs it on images of the embedded sample,
compares every logit with the integer network's, and counts instructions with a plugin of qemu 7.2 (Debian 12): the
difference between a program that runs one image and one that runs three. Counted instructions are not cycles.
Models that are not released have weights that nobody trained, which take about the same instructions. CMSIS-NN, the
source tree of github.com/ARM-software/CMSIS-NN, runs the same layers, compiled with the same options.

Counts for each row of a camera's frame, too, on two of the processors.

Prints the tables of docs/microcontrollers.md and writes results.csv and rows.csv, and with --cmsis-nn cmsis_nn.csv, in
benchmarks/microcontrollers.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch

from benchmarks import results_file
from benchmarks.microcontrollers import beside, cmsis_nn, rows
from benchmarks.microcontrollers.processors import (
    PROCESSORS,
    Processor,
    compiled,
    counted,
    flash_bytes,
    missing,
    plugin,
)
from cifar_edge import c
from cifar_edge.c.tables import array
from cifar_edge.data import load_dataset
from cifar_edge.errors import ModelError
from cifar_edge.export.integers import quantize
from cifar_edge.files import released
from cifar_edge.folding.fold import fold
from cifar_edge.integer import IntegerNetwork
from cifar_edge.models import build
from cifar_edge.spec import CIFAR10_LABELS, ModelMetadata

RESULTS = Path(__file__).with_name("results.csv")
MODELS = ("gn-cnn", "gn-cnn-max", "gn-cnn-nano")
IMAGES = 3


@dataclass(frozen=True)
class Line:
    """A network on a processor.

    Attributes:
        kernels: those that the compiler's options choose.
        instructions: of one image.
        macs: multiply-accumulates of one image.
        state_bytes: ``sizeof`` the state of an image.
        stack_bytes: the most that running it writes to.
        flash_bytes: code, weights and tables.
        compiler: version of gcc.
    """

    model: str
    processor: str
    kernels: str
    instructions: int
    macs: int
    state_bytes: int
    stack_bytes: int
    flash_bytes: int
    compiler: str


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(MODELS))
@click.option("--cmsis-nn", "tree", type=click.Path(exists=True, path_type=Path), help="Source tree of CMSIS-NN.")
def main(models: tuple[str, ...], tree: Path | None) -> None:
    """Measure MODELS, by default all, on every processor."""
    for processor in PROCESSORS:
        if programs := missing(processor):
            raise click.UsageError(f"{processor.name} needs {', '.join(programs)}.")
    try:
        revision = cmsis_nn.version(tree) if tree else ""
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    before, rows_before = results_file.read(RESULTS, Line), results_file.read(rows.RESULTS, rows.Line)
    lines: list[Line] = []
    lines_of_rows: list[rows.Line] = []
    for name in MODELS:
        if models and name not in models:
            lines += [line for line in before if line.model == name]
            lines_of_rows += [line for line in rows_before if line.model == name]
        else:
            lines += measured(name, network_called(name))
            lines_of_rows += measured_rows(name, network_called(name))
    results_file.write(RESULTS, Line, lines)
    results_file.write(rows.RESULTS, rows.Line, lines_of_rows)
    click.echo("\n\n".join(table(lines) for table in (instructions_table, memory_table, rates_table)))
    click.echo("\n" + rows.table(lines_of_rows))
    if tree:
        results_file.write(beside.RESULTS, beside.Line, beside_cmsis_nn(lines, tree.resolve(), revision))
        click.echo("\n" + beside.table(results_file.read(beside.RESULTS, beside.Line)))


def network_called(name: str) -> IntegerNetwork:
    """The released integers, or those of a network with drawn weights where none is released."""
    try:
        return IntegerNetwork.from_onnx(released(f"export/{name}/{name}.int8.onnx"))
    except ModelError:
        images = load_dataset("sample").train_images
        torch.manual_seed(0)
        folded = fold(build(name).eval(), torch.tensor(images[:128]))
        return quantize(folded.layers, images[:64], fit=False)


def measured(name: str, network: IntegerNetwork, processors: Sequence[Processor] = PROCESSORS) -> Iterator[Line]:
    """The lines of ``network``, which is called ``name``.

    Raises:
        RuntimeError: the logits on a processor are not those of the integer network.
    """
    images = load_dataset("sample").test_images[:IMAGES]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_sources(network, name, images, folder)
        counter = plugin(folder)
        for processor in processors:
            yield measured_on(processor, name, network, images, folder, counter)


def measured_rows(name: str, network: IntegerNetwork) -> Iterator[rows.Line]:
    """The lines of ``network``, which is called ``name``, by the rows of a camera's frames."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_sources(network, name, load_dataset("sample").test_images[:1], folder)
        counter = plugin(folder)
        for processor in PROCESSORS:
            if processor.name in rows.PROCESSORS:
                yield from rows.measured(name, processor, folder, counter)


def write_sources(network: IntegerNetwork, name: str, images: npt.NDArray[np.uint8], folder: Path) -> None:
    """Write the C of ``network``, which is called ``name``, and ``images`` into ``folder``."""
    about = ModelMetadata(name, "int8", CIFAR10_LABELS, 1, 1, "0" * 64, 0.5, 1, {}, "now")
    for path, content in c.write(network, about, c.COptions(name="network")).items():
        (folder / Path(path).name).write_bytes(content)
    values, size = array("uint8_t", "images_of_bytes", images.reshape(-1)), images[0].size
    (folder / "images.h").write_text(f"{values}#define images ((const uint8_t (*)[{size}])images_of_bytes)\n")


def beside_cmsis_nn(lines: Sequence[Line], tree: Path, revision: str) -> Iterator[beside.Line]:
    """The models of ``lines``, and a depthwise layer alone, beside CMSIS-NN in ``tree``, on the processors it is for.

    Raises:
        RuntimeError: the logits on a processor are not those of the integer network, or CMSIS-NN's are not near them.
    """
    networks = {name: network_called(name) for name in MODELS}
    networks |= {f"depthwise-{layers}": beside.depthwise_network(layers) for layers in beside.DEPTHWISE_LAYERS}
    images = load_dataset("sample").test_images[:IMAGES]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        counter = plugin(folder)
        for processor in (each for each in PROCESSORS if each.name.startswith("Cortex-M")):
            cmsis_nn.library(processor, tree, folder)
            ours = {line.model: line for line in lines if line.processor == processor.name}
            counts: dict[str, beside.Line] = {}
            for name, network in networks.items():
                [line] = [ours[name]] if name in ours else measured(name, network, [processor])
                theirs = cmsis_nn.instructions(processor, network, images, tree, folder, counter)
                about = name, processor.name, line.kernels, line.instructions, theirs
                counts[name] = beside.Line(*about, line.macs, line.compiler, revision)
            yield from beside.with_one_layer(counts)


def measured_on(
    processor: Processor, name: str, network: IntegerNetwork, images: npt.NDArray[np.uint8], folder: Path, counter: Path
) -> Line:
    """The line of a network on a processor; ``folder`` has its C.

    Raises:
        RuntimeError: its logits are not those of the integer network, or the program did not end as it should.
    """
    counts = []
    for number in (1, len(images)):
        program = compiled(processor, folder, [f"-DIMAGES={number}"])
        printed, count = counted(processor, program, counter)
        logits, _, rest = printed.partition("\n")
        if [int(each) for each in logits.split()] != network(images[number - 1 : number])[0].tolist():
            raise RuntimeError(f"{processor.name}: the logits of {name} are others: {logits}")
        counts.append(count)
    found = re.match(r"state (\d+) stack (\d+) kernels (\w+)", rest)
    assert found is not None
    return Line(
        name,
        processor.name,
        found[3],
        (counts[1] - counts[0]) // (len(images) - 1),
        network.summary().macs,
        int(found[1]),
        int(found[2]),
        flash_bytes(processor, folder),
        f"gcc {version(processor)}",
    )


def version(processor: Processor) -> str:
    """That of gcc."""
    gcc = [f"{processor.tools}gcc", "-dumpfullversion"]
    return subprocess.run(gcc, check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class Chip:
    """A microcontroller, with the figures commonly given for it; of several cores one is used.

    Attributes:
        processor: the one in `PROCESSORS` whose instructions are counted for it.
        mhz: the highest clock.
        flash_kb: flash in kB, in the chip or on its usual board; 0 where there is none of a fixed size.
        ram_kb: RAM in the chip, in kB.
    """

    name: str
    core: str
    processor: str
    mhz: int
    flash_kb: int
    ram_kb: int


CHIPS = (
    Chip("STM32F030R8", "M0", "Cortex-M0", 48, 64, 8),
    Chip("STM32F103C8", "M3", "Cortex-M3", 72, 64, 20),
    Chip("STM32F411CE", "M4", "Cortex-M4", 100, 512, 128),
    Chip("STM32F407VG", "M4", "Cortex-M4", 168, 1024, 192),
    Chip("STM32F429ZI", "M4", "Cortex-M4", 180, 2048, 256),
    Chip("STM32F446RE", "M4", "Cortex-M4", 180, 512, 128),
    Chip("STM32H743ZI", "M7", "Cortex-M7", 480, 2048, 1024),
    Chip("STM32N657", "M55", "Cortex-M55", 800, 0, 4200),
    Chip("RP2040 (Raspberry Pi Pico)", "M0+", "Cortex-M0", 133, 2048, 264),
    Chip("RP2350 (Raspberry Pi Pico 2)", "M33", "Cortex-M33", 150, 4096, 520),
    Chip("ESP32-C3", "RISC-V, 32 bits", "rv32imac", 160, 4096, 400),
    Chip("nRF52840 (Arduino Nano 33 BLE)", "M4", "Cortex-M4", 64, 1024, 256),
    Chip("RA4M1 (Arduino Uno R4)", "M4", "Cortex-M4", 48, 256, 32),
)


def instructions_table(lines: Sequence[Line]) -> str:
    """Million instructions an image in Markdown, a column a network."""
    models = [name for name in MODELS if any(line.model == name for line in lines)]
    text = ["| million instructions an image | kernels | " + " | ".join(models) + " |"]
    text.append("|---|---|" + "--:|" * len(models))
    of = {(line.processor, line.model): line for line in lines}
    for processor in dict.fromkeys(line.processor for line in lines):
        each = [of[processor, name] for name in models]
        numbers = " | ".join(f"{line.instructions / 1e6:#.3g}" for line in each)
        text.append(f"| {processor} | {each[0].kernels} | {numbers} |")
    return "\n".join(text)


def memory_table(lines: Sequence[Line]) -> str:
    """Bytes in RAM and flash in Markdown, for kernels of each kind that microcontrollers have."""
    text = ["| bytes | processor | kernels | state | stack | flash |", "|---|---|---|--:|--:|--:|"]
    for line in lines:
        if line.processor in ("Cortex-M0", "Cortex-M4", "Cortex-M55"):
            figures = f"{line.state_bytes:,} | {line.stack_bytes:,} | {line.flash_bytes:,}"
            text.append(f"| {line.model} | {line.processor} | {line.kernels} | {figures} |")
    return "\n".join(text)


def rates_table(lines: Sequence[Line]) -> str:
    """For each of `CHIPS` what fits, and estimated images a second at one and at two cycles an instruction."""
    of = {(line.processor, line.model): line for line in lines}
    text = ["| chip | core | MHz | flash, kB | RAM, kB | " + " | ".join(MODELS) + " |"]
    text.append("|---|---|--:|--:|--:|" + "--:|" * len(MODELS))
    for chip in CHIPS:
        cells = [rate(chip, of[chip.processor, name]) for name in MODELS]
        flash = f"{chip.flash_kb:,}" if chip.flash_kb else "none"
        text.append(f"| {chip.name} | {chip.core} | {chip.mhz} | {flash} | {chip.ram_kb:,} | {' | '.join(cells)} |")
    return "\n".join(text)


def rate(chip: Chip, line: Line) -> str:
    """Estimated images a second on ``chip``, or what of it is too small for the network alone."""
    if chip.flash_kb and line.flash_bytes > 1000 * chip.flash_kb:
        return "flash"
    if line.state_bytes + line.stack_bytes > 1000 * chip.ram_kb:
        return "RAM"
    fastest = 1e6 * chip.mhz / line.instructions
    return " to ".join(f"{each:.0f}" if each >= 10 else f"{each:.1f}" for each in (fastest / 2, fastest))


if __name__ == "__main__":
    main()
