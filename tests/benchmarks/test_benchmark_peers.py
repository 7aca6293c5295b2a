"""What benchmarks/peers/ publishes: its table, its plot, and that docs/peers.md shows its results."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import CHECKOUT

pytest.importorskip("matplotlib")

from benchmarks import results_file
from benchmarks.peers.report import Result, pareto_front, plot, table

FAST = Result(
    name="cifar-edge, int8",
    network="gn-cnn",
    runtime="onnxruntime 1.32.0",
    precision="int8",
    parameters=49_158,
    macs=6_865_792,
    size=52_858,
    accuracy=0.8921,
    accuracy_low=0.8859,
    accuracy_high=0.8981,
    images=10_000,
    p50_us=39.04,
    p99_us=44.0,
    ratio=1.0,
    images_per_second=31_878,
    machine="a machine",
)
EXACT = replace(FAST, name="exact", accuracy=0.9, p50_us=100.0)
BEATEN = replace(FAST, name="beaten", accuracy=0.88, p50_us=50.0)


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    assert pareto_front([EXACT, BEATEN, FAST]) == [FAST, EXACT]
    as_fast = replace(FAST, name="as fast, less accurate", accuracy=0.7)
    assert pareto_front([as_fast, FAST]) == [FAST]


def test_a_line_of_the_table() -> None:
    assert table([FAST]).splitlines()[-1] == (
        "| cifar-edge, int8 | gn-cnn | int8 | 49,158 | 6.9 M | 53 kB | 89.21% | 39.0 us | 1.00 | 31,878/s |"
    )


def test_the_plot_names_every_peer() -> None:
    axes = plot([FAST, EXACT, BEATEN]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["cifar-edge, int8: 39 us", "beaten: 50 us", "exact: 100 us"]
    assert np.asarray(axes.lines[-1].get_xydata()).tolist() == [[39.04, 89.21], [100.0, 90.0]]


def test_the_documentation_shows_the_measured_results() -> None:
    results = results_file.read(CHECKOUT / "benchmarks" / "peers" / "results.csv", Result)
    assert results
    text = (CHECKOUT / "docs" / "peers.md").read_text()
    assert table(results) in text
    words = " ".join(text.split())
    assert all(result.runtime in words and result.machine in words for result in results)
