"""Fine-tuning with changing light: the benchmark, and what the documentation says of it."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from conftest import CHECKOUT
from export_helpers import write_run

from benchmarks import results_file
from benchmarks.folding import light
from cifar_edge.data import Dataset
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import RECIPE


def test_each_case_is_measured_once(tmp_path: Path, sample: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    run, results = write_run(tmp_path / "run", "gn-cnn", sample), tmp_path / "light.csv"
    (run / RECIPE).write_text(Recipe(holdout=100, batch_size=50).to_toml())
    monkeypatch.setattr(light, "RESULTS", results)
    monkeypatch.setattr(light, "CASES", ((0, 0.0, 0.0), (1, 0.0, 0.0), (1, 0.3, 0.5), (2, 0.0, 0.0)))
    command = [str(run), "--data", "sample", "--device", "cpu", "--max-epochs", "1"]
    first = CliRunner().invoke(light.main, command)
    assert first.exit_code == 0, first.output
    rows = results_file.read(results, light.Result)
    assert [(row.epochs, row.brightness, row.contrast) for row in rows] == list(light.CASES[:3])
    assert all(row.images == 100 and 0 <= row.less_contrast <= 1 for row in rows)
    assert CliRunner().invoke(light.main, command).stdout == ""
    assert results_file.read(results, light.Result) == rows


def test_the_documentation_shows_the_rows() -> None:
    lines = (CHECKOUT / "docs" / "folding.md").read_text().splitlines()
    rows = results_file.read(light.RESULTS, light.Result)
    assert [(row.epochs, row.brightness, row.contrast) for row in rows] == list(light.CASES)
    for row in rows:
        strengths = f"{row.epochs} epochs | {row.brightness} | {row.contrast}"
        name = f"folded, {strengths}" if row.epochs else "the GroupNorm network"
        (line,) = (each for each in lines if each.startswith(f"| {name} |"))
        accuracies = (row.clean, row.noise, row.blur, row.brighter, row.darker, row.less_contrast, row.jpeg)
        assert [cell.strip() for cell in line.split("|")[4:-1]] == [f"{value * 100:.1f}" for value in accuracies]
