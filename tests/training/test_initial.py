"""A training that begins with a folded network: animals and vehicles, from the released gn-cnn."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RunCommand

from cifar_edge.data import Dataset
from cifar_edge.errors import Interrupted, ModelError, RecipeError, TrainingError
from cifar_edge.export.pipeline import export_network
from cifar_edge.files import released
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.models.summary import count_parameters
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import Run
from cifar_edge.training.augmentation import resized_crops
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.checkpoint import load_network, new_generator
from cifar_edge.training.initial import folded_beginning, initial_network
from cifar_edge.training.loop import logits_of
from cifar_edge.training.phases import accuracy_of
from cifar_edge.training.run import fold_run, resume, train

RECIPE = Recipe(
    init="gn-cnn", epochs=3, steps_per_epoch=4, batch_size=32, learning_rate=0.01, resized_crop=0.6, balance=True
)
VEHICLES = (0, 1, 8, 9)


@pytest.fixture(scope="module")
def kinds(sample: Dataset) -> Dataset:
    """Two uneven classes that the released network does not have."""
    train, test = (np.isin(labels, VEHICLES).astype(np.int64) for labels in (sample.train_labels, sample.test_labels))
    return replace(sample, labels=("animal", "vehicle"), train_labels=train, test_labels=test)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, kinds: Dataset) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "kinds"
    train(RECIPE, kinds, folder)
    return folder


def test_it_begins_with_what_the_released_network_knows(kinds: Dataset) -> None:
    images, labels = torch.from_numpy(kinds.train_images), torch.from_numpy(kinds.train_labels)
    network = initial_network(folded_beginning("gn-cnn", "gn-cnn"), images, labels, 2)
    assert (
        accuracy_of(logits_of(network, torch.from_numpy(kinds.test_images)), torch.from_numpy(kinds.test_labels)) > 0.9
    )


def test_a_wheel_has_of_some_networks_the_folded_form_alone(
    kinds: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.from_numpy(kinds.test_images[:20])
    whole = load_network("gn-cnn-nano")
    left_out = shutil.ignore_patterns("model.safetensors")
    shutil.copytree(released("models/gn-cnn-nano"), tmp_path / "models" / "gn-cnn-nano", ignore=left_out)
    monkeypatch.setattr("cifar_edge.files._ZOO_IN_WHEEL", tmp_path)
    alone, beginning = load_network("gn-cnn-nano"), folded_beginning("gn-cnn-nano", "gn-cnn-nano")
    assert whole.folded is not None
    assert alone.folded is None
    for network in (alone.network, beginning):
        assert torch.equal(logits_of(network, images), logits_of(whole.folded, images))
    assert (alone.name, alone.labels, alone.sha256) == (whole.name, whole.labels, whole.folded_sha256)


def test_the_run_has_one_network_without_norms(run: Path, kinds: Dataset) -> None:
    trained, summary = load_network(run), Run(run).whole_summary()
    assert isinstance(trained.network, FoldedNetwork)
    assert trained.folded is None
    assert summary.fold_epochs is None
    assert summary.parameters == count_parameters(trained.network)
    logits = logits_of(trained.network, torch.from_numpy(kinds.test_images))
    assert accuracy_of(logits, torch.from_numpy(kinds.test_labels)) == summary.test_accuracy
    assert summary.test_accuracy > 0.9


def test_it_exports_to_integers(run: Path, kinds: Dataset, tmp_path: Path) -> None:
    report = export_network(load_network(run), kinds, tmp_path / "export", quantize=True, max_drop=2.0)
    assert [row.name for row in report.rows] == ["fp32", "int8"]
    assert report.rows[1].accuracy.value > 0.9
    assert not report.unfolded


def test_another_training_begins_with_it(run: Path, kinds: Dataset, tmp_path: Path) -> None:
    train(RECIPE.with_values(init=str(run), epochs=1), kinds, tmp_path / "next")
    assert Run(tmp_path / "next").whole_summary().parameters == Run(run).whole_summary().parameters


def test_interrupted_it_ends_with_the_same_weights(run: Path, kinds: Dataset, tmp_path: Path) -> None:
    asked = iter(range(5))
    with pytest.raises(Interrupted):
        train(RECIPE, kinds, tmp_path, callbacks=Callbacks(stop=lambda: next(asked, None) is None))
    resume(tmp_path, kinds)
    assert (tmp_path / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_what_cannot_be_a_beginning(kinds: Dataset, tmp_path: Path, run: Path) -> None:
    with pytest.raises(ModelError, match="no folded network to begin with"):
        train(RECIPE.with_values(init="s8-layer", model="s8-layer"), kinds, tmp_path / "a")
    with pytest.raises(ModelError, match="gn-cnn is a gn-cnn, no beginning for a s8-layer; give --model gn-cnn"):
        train(RECIPE.with_values(model="s8-layer"), kinds, tmp_path / "b")
    with pytest.raises(TrainingError, match="no norms to fold"):
        fold_run(run, kinds, epochs=1)


def test_patience_ends_a_phase_with_its_best_weights_and_stays_ended(kinds: Dataset, tmp_path: Path) -> None:
    spoils = RECIPE.with_values(epochs=50, holdout=60, patience=2, learning_rate=10.0, steps_per_epoch=1)
    asked, lines = iter(range(2)), list[str]()
    with pytest.raises(Interrupted):
        train(spoils, kinds, tmp_path, callbacks=Callbacks(stop=lambda: next(asked, None) is None))
    resume(tmp_path, kinds, callbacks=Callbacks(note=lines.append))
    summary, accuracies = Run(tmp_path).whole_summary(), [record.accuracy for record in Run(tmp_path).metrics()]
    assert summary.epochs == len(accuracies) < 50
    assert summary.holdout_accuracy == pytest.approx(max(accuracies), abs=1e-6)
    assert max(accuracies) > accuracies[-1]
    best = max(epoch for epoch, accuracy in enumerate(accuracies, 1) if accuracy == max(accuracies))
    assert f"the weights are those after epoch {best}, the best on the validation images" in lines
    with pytest.raises(RecipeError, match="patience = 2 needs validation images"):
        Recipe(patience=2)


def test_a_resized_crop_shows_a_part_of_its_image(sample: Dataset) -> None:
    images = torch.from_numpy(sample.train_images[:200])
    whole = resized_crops(images, new_generator(0), least_area=1.0, size=32)
    parts = resized_crops(images, new_generator(0), least_area=0.3, size=32)
    assert parts.shape == images.shape
    assert parts.dtype == torch.uint8

    def distance(seen: torch.Tensor) -> float:
        return (seen.float() - images.float()).abs().mean().item()

    assert 0 < distance(whole) < 0.5 * distance(parts)
    assert (parts.amax((1, 2)) <= images.amax((1, 2))).all()
    assert torch.equal(parts, resized_crops(images, new_generator(0), least_area=0.3, size=32))


def test_summary_shows_the_network_without_norms(run: Path, cifar_edge: RunCommand) -> None:
    shown = cifar_edge("summary", str(run)).stdout
    assert "GroupNorm" not in shown
    assert f"{Run(run).whole_summary().parameters:,}" in shown
