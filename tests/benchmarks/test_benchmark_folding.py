import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from conftest import CHECKOUT
from export_helpers import write_run
from torch import nn

from benchmarks import results_file
from benchmarks.folding import ablation, average
from cifar_edge.data import Dataset
from cifar_edge.files import released
from cifar_edge.folding.fold import can_fold
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import RECIPE, Run
from cifar_edge.training.checkpoint import load_network, save_folded
from cifar_edge.training.loop import logits_of


@pytest.fixture
def run(tmp_path: Path, sample: Dataset) -> Path:
    """A run of gn-cnn that is said to hold 100 images out."""
    folder = write_run(tmp_path / "run", "gn-cnn", sample)
    (folder / RECIPE).write_text(Recipe(holdout=100, batch_size=50).to_toml())
    return folder


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ablation, "RESULTS", tmp_path / "ablation.csv")
    monkeypatch.setattr(ablation, "FIT_IMAGES", (20, 50))
    monkeypatch.setattr(ablation, "DRAWS", (1,))
    monkeypatch.setattr(ablation, "EPOCHS", (1, 2))
    monkeypatch.setattr(ablation, "AFFINE_EPOCHS", 1)
    torch.set_num_threads(1)
    return tmp_path / "ablation.csv"


def test_each_case_is_measured_once(run: Path, results: Path) -> None:
    command = [str(run), "--data", "sample", "--device", "cpu", "--max-epochs", "1"]
    first = CliRunner().invoke(ablation.main, command)
    assert first.exit_code == 0, first.output
    rows = results_file.read(results, ablation.Result)
    assert [(row.fit_images, row.epochs, row.teacher, row.form) for row in rows] == [
        (20, 0, "", ""),
        (50, 0, "", ""),
        (2000, 1, "none", "batch norm"),
        (2000, 1, "self", "batch norm"),
        (2000, 1, "none", "affine"),
        (2000, 1, "none", "affine"),
        (2000, 1, "none", "batch norm"),
        (2000, 1, "self", "affine"),
    ]
    assert all(row.held_out_images == 100 and 0 < row.group_norm_accuracy < 1 for row in rows)
    before = results.read_bytes()
    assert CliRunner().invoke(ablation.main, command).stdout == ""
    assert results.read_bytes() == before


def test_a_run_that_holds_nothing_out_is_an_error(run: Path, results: Path) -> None:
    (run / RECIPE).write_text(Recipe().to_toml())
    failed = CliRunner().invoke(ablation.main, [str(run), "--data", "sample"])
    assert failed.exit_code == 1
    assert failed.stderr.startswith("Error: ")
    assert "holds out no images" in failed.stderr


def test_the_run_that_is_kept_for_it_can_be_read() -> None:
    twin = CHECKOUT / "runs" / "keep" / "gn-cnn-twin"
    assert can_fold(load_network(twin).network)
    assert Recipe.from_file(twin / RECIPE).holdout == 5000


def test_the_rows_are_sound() -> None:
    rows = results_file.read(ablation.RESULTS, ablation.Result)
    measured = [{**asdict(row), "held_out_accuracy": 0} for row in rows]
    assert rows
    for index, row in enumerate(rows):
        assert measured[index] not in measured[:index]
        assert (row.epochs == 0) == (row.teacher == "") == (row.form == "") == (row.learning_rate is None)
        assert row.held_out_images == 5_000
        assert 0.8 < row.group_norm_accuracy < 1


def test_the_documentation_shows_the_fine_tunings() -> None:
    lines = (CHECKOUT / "docs" / "folding.md").read_text().splitlines()
    rows = [row for row in results_file.read(ablation.RESULTS, ablation.Result) if row.epochs and row.device == "cpu"]
    assert len(rows) > 8
    for row in rows:
        form = row.form if row.muon_learning_rate is None else f"{row.form}, Muon {row.muon_learning_rate:g}"
        (line,) = (each for each in lines if each.startswith(f"| {form} | {row.learning_rate:g} | {row.epochs} |"))
        cell = line.split("|")[5 if row.teacher == "self" else 4].strip()
        assert cell == ("diverged" if row.held_out_accuracy is None else f"{row.held_out_accuracy * 100:.1f} %")


def test_the_mean_of_a_network_and_itself_computes_what_it_does(sample: Dataset) -> None:
    folded = load_network(released("models/gn-cnn-nano")).folded
    assert folded is not None
    seen = torch.from_numpy(sample.train_images)
    mean = average.averaged([folded, folded, folded], seen)
    before, after = logits_of(folded, seen), logits_of(mean, seen)
    assert (before.argmax(1) == after.argmax(1)).all()
    torch.testing.assert_close(after, before, rtol=0.02, atol=0.05)


def test_the_mean_does_not_depend_on_how_channels_are_scaled(sample: Dataset) -> None:
    folded, scaled = (load_network(released("models/gn-cnn-nano")).folded for _ in range(2))
    assert folded is not None
    assert scaled is not None
    last = [module for module in scaled.modules() if isinstance(module, nn.Conv2d)][-1]
    (head,) = (module for module in scaled.modules() if isinstance(module, nn.Linear))
    assert last.bias is not None
    seen = torch.from_numpy(sample.train_images)
    activations = folded.layers[:-3](pixels_to_input(seen))
    factors = torch.linspace(0.2, 1, last.out_channels)
    factors[activations.amax((0, 2, 3)).argmax()] = 1  # equal ranges are as large as the largest
    for parameter in (last.weight, last.bias):
        parameter.data *= factors.view(-1, *[1] * (parameter.dim() - 1))
    head.weight.data /= factors
    before = logits_of(folded, seen)
    torch.testing.assert_close(logits_of(scaled, seen), before, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(logits_of(average.averaged([folded, scaled], seen), seen), before, rtol=0.02, atol=0.05)


def test_the_mean_is_written_into_the_last_run(tmp_path: Path) -> None:
    run = tmp_path / "again"
    shutil.copytree(released("models/gn-cnn-nano"), run)
    other = tmp_path / "other"
    shutil.copytree(run, other)
    network = load_network(run).folded
    assert network is not None
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data *= 1 + 0.02 * torch.randn(parameter.shape, generator=generator)
    trained = load_network(run)
    save_folded(Run(run).weights(folded=True), network, trained.name, trained.labels, trained.size)
    command = [str(other), str(run), "--data", "sample"]
    done = CliRunner().invoke(average.main, command)
    assert done.exit_code == 0, done.output
    assert [line.split()[-1] for line in done.output.splitlines()] == [str(other), str(run), "mean"]
    written = load_network(run).folded
    assert written is not None
    weights = [each.state_dict()["layers.0.weight"] for each in (load_network(other).folded, network, written) if each]
    first, second, mean = ((weight / weight.norm()).flatten() for weight in weights)
    assert mean @ first > second @ first
    assert mean @ second > second @ first


def test_networks_of_other_layers_have_no_mean() -> None:
    command = [str(released(f"models/{name}")) for name in ("gn-cnn", "gn-cnn-nano")]
    done = CliRunner().invoke(average.main, [*command, "--data", "sample"])
    assert done.exit_code == 1
    assert "they have other layers" in done.output
