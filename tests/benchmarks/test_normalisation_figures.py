"""The normalisation study's figures: statistics, costs, tables, pictures, and the page that holds them."""

import math
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import CHECKOUT
from scipy import stats
from torch import nn

from benchmarks import results_file
from benchmarks.normalisation import __main__ as normalisation
from benchmarks.normalisation import answers
from benchmarks.normalisation import costs as normalisation_costs
from benchmarks.normalisation import results as normalisation_results
from benchmarks.normalisation.answers import Study, loss_noise
from benchmarks.normalisation.costs import Cost, NormLatency
from benchmarks.normalisation.grid import TUNING_SEED, Grid
from benchmarks.normalisation.results import Point, Row, Training
from benchmarks.normalisation.statistics import Sample, difference
from cifar_edge.models import build

GRID = Grid(
    norms=("group", "batch"),
    seeds=(0, 1, 2),
    train_images=100,
    held_out_images=10,
    epochs=2,
    tuning_epochs=1,
    learning_rates={4: (0.1, 0.2, 0.4), 8: (0.1, 0.2, 0.4)},
)
COSTS = [
    Cost(
        norm=norm,
        batch_size=size,
        parameters=300,
        norm_parameters=100,
        saved_bytes=size << 20,
        peak_bytes=size << 21,
        step_ms=1.5,
        step_ratio=1.0,
    )
    for size in (4, 8)
    for norm in ("group", "batch")
]
LATENCIES = [NormLatency(norm=norm, p50_us=50.0, ratio=1.0) for norm in ("group", "batch")]


@pytest.fixture(scope="module")
def study() -> Study:
    """A finished study of made-up accuracies, in which one training of batch norm diverged."""
    rows: list[Row] = []
    points: list[Point] = []
    for size in (4, 8):
        for norm in ("group", "batch"):
            for rate in (0.1, 0.2, 0.4):
                training = Training(
                    norm=norm, batch_size=size, learning_rate=rate, train_images=100, epochs=1, seed=TUNING_SEED
                )
                rows.append(row_of(training, held_out_accuracy=0.5 - abs(rate - 0.2)))
            for seed in GRID.seeds:
                training = GRID.final(norm, size, 0.2, seed)
                test = 0.5 + 0.01 * seed + (0.04 if norm == "group" and size == 4 else 0.0)
                accuracy = None if (norm, size, seed) == ("batch", 4, 2) else test
                rows.append(row_of(training, accuracy, None if accuracy is None else accuracy + 0.02, accuracy))
                points += [
                    Point(**asdict(training), images=10 * index, loss=2 - index / 10, held_out_accuracy=None)
                    for index in range(1, 11)
                ]
    return Study(GRID, rows, points)


def row_of(
    training: Training,
    held_out_accuracy: float | None,
    train_accuracy: float | None = None,
    test_accuracy: float | None = None,
) -> Row:
    return Row(
        **asdict(training),
        train_accuracy=train_accuracy,
        held_out_accuracy=held_out_accuracy,
        test_accuracy=test_accuracy,
        precise_test_accuracy=test_accuracy if training.norm == "batch" else None,
        seconds=1.0,
    )


def test_the_interval_of_a_difference_is_welchs() -> None:
    a, b = Sample((1.0, 2.0, 4.0, 3.0)), Sample((7.0, 9.5, 6.0))
    found = difference([(1, a), (-1, b)])
    expected = stats.ttest_ind(a.values, b.values, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(a.mean - b.mean)
    assert found.clear


def test_the_interval_of_one_sample_is_students() -> None:
    sample = Sample((1.0, -0.5, 0.5))
    found = difference([(1, sample)])
    expected = stats.ttest_1samp(sample.values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert not found.clear


def test_the_interval_holds_its_level() -> None:
    """A mean over two batch sizes, three seeds each, of unequal spread: 95 % of the intervals hold the truth, 0."""
    generator = np.random.default_rng(0)
    draws = generator.normal(0, [[[1.0], [3.0], [1.0], [2.0]]], (1_000, 4, 3))
    held = 0
    for draw in draws:
        a, b, c, d = (Sample(tuple(values)) for values in draw.tolist())
        found = difference([(0.5, a), (-0.5, b), (0.5, c), (-0.5, d)])
        held += found.low <= 0 <= found.high
    assert 0.93 <= held / 1_000 <= 0.99


def test_noise_of_a_loss_is_what_jumps_not_what_falls() -> None:
    generator = np.random.default_rng(0)
    fall = np.linspace(2.0, 1.0, 500)
    assert loss_noise(fall.tolist()) < 0.002
    assert loss_noise((fall + generator.normal(0, 0.05, 500)).tolist()) == pytest.approx(0.05, rel=0.1)


def test_tables_say_what_came_out(study: Study) -> None:
    tables = answers.tables(study, COSTS, LATENCIES)
    assert "| 4 | group | 0.2 | 57.0 ± 1.0 | 55.0 ± 1.0 | 2.0 ± 0.0 | 0 of 3 |" in tables["Accuracy"]
    assert "| 4 | batch | 0.2 | 52.5 ± 0.7 | 50.5 ± 0.7 | 2.0 ± 0.0 | 1 of 3 |" in tables["Accuracy"]
    found = tables["Differences in test accuracy"]
    assert re.search(
        r"^\| group - batch \| \*\*\+4\.5 \(.+\)\*\* \| \+0\.0 \(-2\.3 to \+2\.3\) \| .*\+2\.2 \(", found, re.M
    )
    assert "| group | 4.0 | **+4.0 (+1.7 to +6.3)** |" in tables["Sensitivity to the batch size"]
    assert "| 8 | group | 1.20 ± 0.00 | 0.071 ± 0.000 | 1.0 | 0 of 3 | 0.2 |" in tables["Stability"]
    assert "| group | 300 | 100 | 50.0 us | 1.00 |" in tables["Parameters and latency"]
    assert "| 4 | batch | 4.000 | 8.000 | 1.50 ms | 1.00 |" in tables["Memory and time of a training step"]


def test_no_spread_of_what_mostly_diverged(study: Study) -> None:
    rows = [
        replace(row, train_accuracy=None, held_out_accuracy=None, test_accuracy=None)
        if row.norm == "batch" and row.batch_size == 4 and row.seed in (1, 2)
        else row
        for row in study.rows
    ]
    tables = answers.tables(replace(study, rows=rows), COSTS, LATENCIES)
    assert "| 4 | batch | 0.2 | - | - | - | 2 of 3 |" in tables["Accuracy"]
    assert re.search(r"^\| group - batch \| - \| \+0\.0 \(.+\) \| - \|$", tables["Differences in the gap"], re.M)


def test_pictures_are_drawn(study: Study, tmp_path: Path) -> None:
    from benchmarks.normalisation import plot

    for name, draw in plot.pictures(study, COSTS, LATENCIES).items():
        figure = draw()
        figure.savefig(tmp_path / name, dpi=40)
        titles = [axes.get_title() or axes.get_xlabel() for axes in figure.axes]
        assert all(titles)
        assert all(axes.has_data() for axes in figure.axes)


@pytest.mark.parametrize(("norm", "parameters"), [("group", 204), ("batch", 204), ("layer", 36_336), ("none", 0)])
def test_parameters_of_the_norms(norm: str, parameters: int) -> None:
    assert normalisation_costs.norm_parameters(build(f"s8-{norm}")) == parameters


def test_group_norm_has_two_parameters_a_channel() -> None:
    for groups in (1, 2, 4):
        assert normalisation_costs.norm_parameters(nn.GroupNorm(groups, 8)) == 16


def test_saved_bytes_are_those_that_backward_needs() -> None:
    linear, x = nn.Linear(100, 10), torch.rand(7, 100)
    assert normalisation_costs.saved_bytes(lambda: linear(x).sum().backward()) == 7 * 100 * 4
    doubled = nn.Sequential(nn.ReLU(), nn.ReLU())
    x.requires_grad_(True)
    assert normalisation_costs.saved_bytes(lambda: doubled(x).sum().backward()) == 2 * 7 * 100 * 4


def test_peak_bytes_are_what_is_held_at_a_time() -> None:
    def step() -> None:
        for _ in range(3):
            held = torch.ones(1 << 20)
            (held + 1).sum()

    assert 8 << 20 <= normalisation_costs.peak_bytes(step) <= (12 << 20) + 4_096


def test_costs_are_measured_side_by_side(tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(
        'norms = ["group", "none"]\nseeds = [0]\ntrain_images = 1\nheld_out_images = 1\nepochs = 1\n'
        "tuning_epochs = 1\n[learning_rates]\n4 = [0.1]\n"
    )
    command = ["costs", "--data", "sample", "--rounds", "1", "--grid", str(grid), "--results", str(tmp_path)]
    result = CliRunner().invoke(normalisation.main, command)
    assert result.exit_code == 0, result.output
    group, none = results_file.read(tmp_path / normalisation_costs.COSTS, Cost)
    assert (group.parameters, none.parameters) == (11_104, 10_900)
    assert group.step_ratio == 1.0
    assert none.step_ratio == pytest.approx(none.step_ms / group.step_ms, rel=0.01)
    assert 0 < none.saved_bytes < none.peak_bytes
    names = [row.norm for row in results_file.read(tmp_path / normalisation_costs.LATENCIES, NormLatency)]
    assert names == ["group", "none"]


def test_the_page_holds_the_tables_of_the_published_results() -> None:
    page = (CHECKOUT / "docs" / "normalisation.md").read_text()
    result = CliRunner().invoke(normalisation.main, ["tables"])
    assert result.exit_code == 0, result.output
    for part in result.stdout.split("### ")[1:]:
        title, _, table = part.partition("\n\n")
        assert table.strip() in page, f"{title} is another now: python -m benchmarks.normalisation tables"
    for image in normalisation.IMAGES.glob("normalisation-*.png"):
        assert f"](images/{image.name})" in page


def test_the_published_study_is_complete() -> None:
    grid = Grid.from_file(normalisation.GRID)
    rows = normalisation_results.read(normalisation.RESULTS)
    assert grid.wanted(rows) == []
    assert all(math.isfinite(row.seconds) for row in rows)
