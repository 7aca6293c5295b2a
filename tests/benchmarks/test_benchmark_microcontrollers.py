"""Networks in C on other processors: the page has the tables that the command wrote; one is measured again."""

import subprocess

import pytest
from conftest import CHECKOUT

from benchmarks import results_file
from benchmarks.microcontrollers.__main__ import (
    MODELS,
    RESULTS,
    Line,
    instructions_table,
    measured,
    memory_table,
    network_called,
    rates_table,
)
from benchmarks.microcontrollers.processors import PROCESSORS, missing
from cifar_edge import c

LINES = results_file.read(RESULTS, Line)


def test_the_page_has_the_results() -> None:
    page = (CHECKOUT / "docs" / "microcontrollers.md").read_text()
    assert len(LINES) == len(MODELS) * len(PROCESSORS)
    for table in (instructions_table, memory_table, rates_table):
        assert table(LINES) in page


def test_the_results_are_of_the_released_network() -> None:
    figures = c.figures(network_called("gn-cnn"))
    for line in LINES:
        if line.model == "gn-cnn":
            assert (line.state_bytes, line.macs) == (figures["state_bytes"], figures["macs"])


def test_a_processor_is_measured_again() -> None:
    (processor,) = (each for each in PROCESSORS if each.name == "aarch64")
    if programs := missing(processor):
        pytest.skip(f"needs {', '.join(programs)}")
    said = subprocess.run([processor.emulator[0], "--version"], capture_output=True, text=True, check=True).stdout
    if "version 7." not in said:
        pytest.skip("the plugin is written for qemu 7")
    (before,) = (line for line in LINES if (line.model, line.processor) == ("gn-cnn", processor.name))
    (line,) = measured("gn-cnn", [processor])
    if line.compiler == before.compiler:
        assert abs(line.instructions / before.instructions - 1) < 0.1
    assert (line.kernels, line.state_bytes, line.macs) == (before.kernels, before.state_bytes, before.macs)
