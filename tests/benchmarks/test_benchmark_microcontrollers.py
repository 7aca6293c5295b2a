"""Networks in C on other processors: the page has the tables that the command wrote; one is measured again."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import CHECKOUT

from benchmarks import results_file
from benchmarks.microcontrollers import beside, cmsis_nn, rows
from benchmarks.microcontrollers import estimate as fit
from benchmarks.microcontrollers.__main__ import (
    MODELS,
    RESULTS,
    Line,
    instructions_table,
    measured,
    measured_rows,
    memory_table,
    network_called,
    rates_table,
)
from benchmarks.microcontrollers.processors import PROCESSORS, missing
from cifar_edge import c
from cifar_edge.c import estimate
from cifar_edge.integer import MaxPool

LINES = results_file.read(RESULTS, Line)
ROWS = results_file.read(rows.RESULTS, rows.Line)
BESIDE = results_file.read(beside.RESULTS, beside.Line)


def test_the_page_has_the_results() -> None:
    page = (CHECKOUT / "docs" / "microcontrollers.md").read_text()
    assert len(LINES) == len(MODELS) * len(PROCESSORS)
    for table in (instructions_table, memory_table, rates_table):
        assert table(LINES) in page
    assert len(ROWS) == len(MODELS) * len(rows.PROCESSORS) * len(rows.FRAMES)
    assert rows.table(ROWS) in page


def test_rows_of_a_frame_take_as_long_as_the_network_at_least() -> None:
    of = {(line.model, line.processor): line.instructions for line in LINES}
    for line in ROWS:
        resizing = line.frame - of[line.model, line.processor]
        assert 0 < resizing < 120 * line.width * line.height
        assert line.median < line.most < line.last


@pytest.mark.parametrize(("taken", "half"), [(1, 1), (2, 4), (3, 8), (5, 16), (10, 32)])
def test_a_longer_row_needs_a_longer_ring(taken: int, half: int) -> None:
    """Of 32 rows, one each second, the ninth takes longer than that."""
    assert rows.half_of_ring([0.5] * 8 + [taken] + [0.5] * 23, 1) == half


@pytest.mark.parametrize("name", ["gn-cnn", "gn-cnn-nano"])
def test_the_results_are_of_the_released_network(name: str) -> None:
    figures = c.figures(network_called(name))
    for line in LINES:
        if line.model == name:
            assert (line.state_bytes, line.macs) == (figures["state_bytes"], figures["macs"])


def test_fewer_instructions_than_cmsis_nn() -> None:
    page = (CHECKOUT / "docs" / "microcontrollers.md").read_text()
    assert beside.table(BESIDE) in page
    assert {line.model for line in BESIDE} == {*MODELS, beside.DEPTHWISE}
    for line in BESIDE:
        assert line.revision in page
        ratio = line.instructions / line.cmsis_nn
        assert ratio <= (0.6 if line.kernels == "dsp" and line.model != beside.DEPTHWISE else 1)
        of_model = (each.instructions for each in LINES if (each.model, each.processor) == (line.model, line.processor))
        assert all(line.instructions == instructions for instructions in of_model)


@pytest.mark.parametrize("name", MODELS)
def test_a_network_in_calls_of_cmsis_nn(name: str) -> None:
    network = network_called(name)
    text = cmsis_nn.write(network, 0.25)
    assert text.count("arm_fully_connected_s8(") == 1
    assert text.count("wrapper_s8(&scratch") == sum("Conv-" in layer.name for layer in network.summary().layers)


@pytest.mark.parametrize("processor", estimate.INSTRUCTIONS)
def test_estimates_are_near_what_was_counted(processor: str) -> None:
    drawn = results_file.read(fit.DRAWN, fit.Line)
    assert estimate.INSTRUCTIONS[processor] == pytest.approx(fit.fitted(drawn, processor), rel=0.01)
    assert max(map(abs, fit.left_out(drawn, processor))) < 0.1
    for line in LINES:
        if line.processor == processor:
            estimates = c.figures(network_called(line.model))["estimated_instructions"]
            off = 0.12 if processor == "Cortex-M55" else 0.08  # as docs/microcontrollers.md says
            assert estimates[processor] == pytest.approx(line.instructions, rel=off)


def test_no_estimate_for_layers_that_were_not_counted() -> None:
    network = beside.depthwise_network(1)
    assert c.figures(network)["estimated_instructions"] is not None
    pooled = replace(network, layers=(network.layers[0], MaxPool((2, 2), (2, 2)), *network.layers[1:]))
    assert c.figures(pooled)["estimated_instructions"] is None


def test_a_folder_that_is_not_cmsis_nn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not the source tree of CMSIS-NN.*arm_nnfunctions\.h"):
        cmsis_nn.version(tmp_path)


def test_a_processor_is_measured_again() -> None:
    (processor,) = (each for each in PROCESSORS if each.name == "aarch64")
    if programs := missing(processor):
        pytest.skip(f"needs {', '.join(programs)}")
    said = subprocess.run([processor.emulator[0], "--version"], capture_output=True, text=True, check=True).stdout
    if "version 7." not in said:
        pytest.skip("the plugin is written for qemu 7")
    (before,) = (line for line in LINES if (line.model, line.processor) == ("gn-cnn", processor.name))
    (line,) = measured("gn-cnn", network_called("gn-cnn"), [processor])
    if line.compiler == before.compiler:
        assert abs(line.instructions / before.instructions - 1) < 0.1
    assert (line.kernels, line.state_bytes, line.macs) == (before.kernels, before.state_bytes, before.macs)


def test_rows_are_counted_again() -> None:
    for processor in PROCESSORS:
        if processor.name in rows.PROCESSORS and (programs := missing(processor)):
            pytest.skip(f"needs {', '.join(programs)}")
    emulator = subprocess.run(["qemu-system-arm", "--version"], capture_output=True, text=True, check=True).stdout
    compiler = subprocess.run(["arm-none-eabi-gcc", "-dumpversion"], capture_output=True, text=True, check=True).stdout
    if "version 7." not in emulator or not compiler.startswith("12.2"):
        pytest.skip("counted with qemu 7 and gcc 12.2")
    again = list(measured_rows("gn-cnn-nano", network_called("gn-cnn-nano")))
    assert again == [line for line in ROWS if line.model == "gn-cnn-nano"]
