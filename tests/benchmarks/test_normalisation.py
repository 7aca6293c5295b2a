"""The normalisation study's trainings: which are wanted, what one gives, and that an interrupted study goes on."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks.normalisation import __main__ as normalisation
from benchmarks.normalisation import results as normalisation_results
from benchmarks.normalisation import training as normalisation_training
from benchmarks.normalisation.grid import TUNING_SEED, Grid
from benchmarks.normalisation.results import Point, Row, Training
from cifar_edge.data import Dataset
from cifar_edge.errors import RecipeError, TrainingError
from cifar_edge.models import build
from cifar_edge.models.pixels import pixels_to_input

TINY = """\
norms = ["batch", "none"]
seeds = [0, 1]
train_images = 64
held_out_images = 32
epochs = 2
tuning_epochs = 1
[learning_rates]
16 = [0.05, 0.1]
"""
GRID = Grid(
    norms=("group",),
    seeds=(0, 1),
    train_images=64,
    held_out_images=32,
    epochs=2,
    tuning_epochs=1,
    learning_rates={16: (0.1, 0.2, 0.4)},
)
TRAINING = Training(norm="batch", batch_size=16, learning_rate=0.1, train_images=64, epochs=2, seed=0)


def row_of(training: Training, held_out_accuracy: float | None) -> Row:
    return Row(
        **asdict(training),
        train_accuracy=None,
        held_out_accuracy=held_out_accuracy,
        test_accuracy=None,
        precise_test_accuracy=None,
        seconds=1.0,
    )


def tried(accuracies: dict[float, float | None]) -> list[Row]:
    """Tries of GRID's learning rates that gave these accuracies."""
    base = Training(norm="group", batch_size=16, learning_rate=0, train_images=64, epochs=1, seed=TUNING_SEED)
    return [row_of(replace(base, learning_rate=rate), accuracy) for rate, accuracy in accuracies.items()]


def wanted_rates(accuracies: dict[float, float | None]) -> list[float]:
    wanted = GRID.wanted(tried(accuracies))
    assert all((training.seed, training.epochs) == (TUNING_SEED, 1) for training in wanted)
    return [training.learning_rate for training in wanted]


def test_rates_beyond_an_edge_are_tried_until_the_best_is_inside() -> None:
    assert wanted_rates({}) == [0.1, 0.2, 0.4]
    assert wanted_rates({0.2: 0.5}) == [0.1, 0.4]
    assert wanted_rates({0.1: 0.3, 0.2: 0.5, 0.4: 0.6}) == [0.8]
    assert wanted_rates({0.1: 0.6, 0.2: 0.5, 0.4: 0.3}) == [0.05]
    assert wanted_rates({0.05: 0.7, 0.1: 0.6, 0.2: 0.5, 0.4: 0.3}) == [0.025]
    assert wanted_rates({0.1: None, 0.2: None, 0.4: None}) == [0.05]


def test_the_best_rate_is_trained_with_every_seed() -> None:
    rows = tried({0.1: 0.5, 0.2: 0.6, 0.4: None})
    finals = GRID.wanted(rows)
    assert [(training.learning_rate, training.epochs, training.seed) for training in finals] == [
        (0.2, 2, 0),
        (0.2, 2, 1),
    ]
    assert GRID.wanted([*rows, row_of(finals[0], 0.1)]) == finals[1:]
    assert GRID.wanted([*rows, row_of(finals[0], None), row_of(finals[1], 0.1)]) == []


def test_the_search_for_a_rate_ends() -> None:
    rates = [0.4 * 2**power for power in range(5)]
    rows = tried({0.1: 0.1, 0.2: 0.2} | {rate: rate / 10 for rate in rates})
    assert GRID.best_rate("group", 16, rows) == rates[-1]


def test_the_grid_that_is_published_can_be_read() -> None:
    grid = Grid.from_file(normalisation.GRID)
    assert grid.norms == ("group", "layer", "batch", "none")
    assert len(grid.seeds) >= 3
    assert TUNING_SEED not in grid.seeds
    assert sorted(grid.learning_rates) == [4, 16, 64, 256]
    assert grid.train_images % normalisation_training.POINT_IMAGES == 0


@pytest.mark.parametrize("text", ["", "norms = 1", "]", TINY + "\nseeds = [1]", "hue = 1\n" + TINY])
def test_no_grid(tmp_path: Path, text: str) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"grid\.toml holds no grid of the study"):
        Grid.from_file(path)


def test_a_training_gives_the_same_twice(sample: Dataset) -> None:
    row, points = normalisation_training.train(TRAINING, sample, 32, final=True)
    again, points_again = normalisation_training.train(TRAINING, sample, 32, final=True)
    assert replace(row, seconds=0) == replace(again, seconds=0)
    assert points == points_again
    assert [point.images for point in points] == [64, 128]
    assert points[-1].held_out_accuracy == row.held_out_accuracy
    assert row.train_accuracy is not None
    assert row.train_accuracy * 64 == pytest.approx(round(row.train_accuracy * 64), abs=1e-3)
    assert row.precise_test_accuracy is not None


def test_a_try_sees_no_test_images(sample: Dataset) -> None:
    blind = replace(sample, test_images=sample.test_images[:0], test_labels=sample.test_labels[:0])
    final, _ = normalisation_training.train(TRAINING, sample, 32, final=True)
    row, points = normalisation_training.train(TRAINING, blind, 32, final=False)
    assert points == []
    assert row.held_out_accuracy == final.held_out_accuracy
    assert (row.train_accuracy, row.test_accuracy) == (None, None)


@pytest.mark.parametrize("norm", ["group", "none"])
def test_points_are_the_mean_losses_of_their_images(
    norm: str, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(TRAINING, norm=norm, epochs=1)
    monkeypatch.setattr(normalisation_training, "POINT_IMAGES", 16)
    fine = normalisation_training.train(training, sample, 32, final=True)[1]
    monkeypatch.setattr(normalisation_training, "POINT_IMAGES", 32)
    coarse = normalisation_training.train(training, sample, 32, final=True)[1]
    assert [point.images for point in coarse] == [32, 64]
    for index, point in enumerate(coarse):
        pair = fine[2 * index : 2 * index + 2]
        assert point.loss == pytest.approx(sum(each.loss for each in pair) / 2, abs=2e-5)


def test_a_training_that_diverges_is_a_result(sample: Dataset) -> None:
    training = replace(TRAINING, norm="none", batch_size=4, learning_rate=100.0)
    row, points = normalisation_training.train(training, sample, 32, final=True)
    assert (row.train_accuracy, row.held_out_accuracy, row.test_accuracy) == (None, None, None)
    assert len(points) < 2


def test_too_few_images(sample: Dataset) -> None:
    with pytest.raises(TrainingError, match=r"needs 564 training images; cifar10-sample has \d+"):
        normalisation_training.train(TRAINING, sample, 500, final=True)


def test_precise_statistics_are_those_of_the_images(sample: Dataset) -> None:
    torch.manual_seed(0)
    network = build("s8-batch")
    images = torch.from_numpy(sample.train_images[:100])
    precise = normalisation_training.with_precise_statistics(network, images)
    with torch.no_grad():
        first = torch.relu(network[0](pixels_to_input(images)))  # type: ignore[index] # a Sequential
    torch.testing.assert_close(precise.state_dict()["2.running_mean"], first.mean((0, 2, 3)))
    torch.testing.assert_close(precise.state_dict()["2.running_var"], first.var((0, 2, 3)))
    assert not network.state_dict()["2.running_mean"].any(), "the network itself is left alone"


def test_an_interrupted_study_goes_on(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(TINY)
    command = ["train", "--data", "sample", "--workers", "1", "--results", str(tmp_path)]
    command += ["--grid", str(tmp_path / "grid.toml")]
    first = CliRunner().invoke(normalisation.main, command)
    assert first.exit_code == 0, first.output
    rows, points = normalisation_results.read(tmp_path), normalisation_results.read_curves(tmp_path)
    finals = {Training.of(row) for row in rows if row.seed != TUNING_SEED}
    assert {(training.norm, training.seed) for training in finals} == {
        ("batch", 0),
        ("batch", 1),
        ("none", 0),
        ("none", 1),
    }
    assert {Training.of(point) for point in points} == finals
    path = tmp_path / normalisation_results.TRAININGS
    *kept, lost = path.read_text().splitlines(keepends=True)
    path.write_text("".join(kept))
    again = CliRunner().invoke(normalisation.main, command)
    assert len(again.stderr.splitlines()) == 1
    *before, found = path.read_text().splitlines(keepends=True)
    assert before == kept
    assert found.rpartition(",")[0] == lost.rpartition(",")[0]
    assert sorted(normalisation_results.read_curves(tmp_path), key=str) == sorted(points, key=str)


def test_adding_a_training_again_replaces_its_curve(tmp_path: Path) -> None:
    def point(images: int) -> Point:
        return Point(**asdict(TRAINING), images=images, loss=2.0, held_out_accuracy=None)

    normalisation_results.add(tmp_path, row_of(TRAINING, 0.5), [point(10), point(20)])
    normalisation_results.add(tmp_path, row_of(TRAINING, 0.5), [point(30)])
    assert normalisation_results.read_curves(tmp_path) == [point(30)]


def test_errors_are_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(normalisation.main, ["tables", "--grid", str(tmp_path / "none.toml")])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1
