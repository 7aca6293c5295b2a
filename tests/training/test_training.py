import copy
import csv
import json
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from cifar_edge.data import Dataset, load_dataset
from cifar_edge.data.folder.trained_on import TRAINED_ON
from cifar_edge.data.load import resized
from cifar_edge.errors import ModelError, RecipeError, TrainingError
from cifar_edge.models import MODELS, build, default_recipe
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.models.summary import count_macs
from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.runs.recipe import FoldRecipe, Recipe
from cifar_edge.runs.run import FOLD_METRICS, Run
from cifar_edge.training import augmentation
from cifar_edge.training.augmentation import relight
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.loop import fit, logits_of
from cifar_edge.training.phases import accuracy_of
from cifar_edge.training.plots import CONFUSION, MISCLASSIFIED, draw_predictions
from cifar_edge.training.run import fold_run, train
from cifar_edge.training.step import Step, schedule

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Path:
    """A gn-cnn trained long enough to have learned something, validation images and folding included."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    recipe = Recipe(epochs=12, fold=FoldRecipe(epochs=4), holdout=100, batch_size=40, learning_rate=0.1, ema_decay=0.95)
    train(recipe, sample, folder)
    return folder


def _summary(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return record


def test_a_run_learns(run: Path) -> None:
    summary = _summary(run)
    assert summary["train_accuracy"] > 0.2  # chance is 0.1
    assert summary["test_accuracy"] > 0.15
    assert summary["folded_test_accuracy"] > 0.15
    assert (summary["train_images"], summary["holdout_images"], summary["test_images"]) == (400, 100, 250)


def test_the_summary_tells_the_truth(run: Path, sample: Dataset) -> None:
    trained = load_network(run)
    labels = torch.from_numpy(sample.test_labels)
    images = torch.from_numpy(sample.test_images)
    summary = _summary(run)
    accuracy = (logits_of(trained.network, images).argmax(1) == labels).double().mean().item()
    assert summary["test_accuracy"] == pytest.approx(accuracy)
    assert trained.folded is not None
    folded = (logits_of(trained.folded, images).argmax(1) == labels).double().mean().item()
    assert summary["folded_test_accuracy"] == pytest.approx(folded)
    assert summary["parameters"] == sum(parameter.numel() for parameter in trained.network.parameters()) <= 50_000
    assert sum(parameter.numel() for parameter in trained.folded.parameters()) <= 50_000


def test_the_run_holds_what_a_person_and_a_program_want(run: Path) -> None:
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert [row["phase"] for row in rows] == ["train"] * 12 + ["fold"] * 4
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
    assert float(rows[11]["loss"]) < float(rows[0]["loss"])
    recipe = Recipe.from_file(run / "recipe.toml")
    assert recipe.precision in {"bf16", "fp32"}
    for name in ("curves", "confusion", "misclassified"):
        with Image.open(run / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert np.asarray(picture.convert("L")).std() > 5


def test_a_run_on_cifar10_keeps_no_digests(run: Path) -> None:
    assert not (run / TRAINED_ON).exists()


def _plots(folder: Path, dataset: Dataset, network: torch.nn.Module, name: str) -> list[bytes]:
    """The two plots of the predictions of ``network``."""
    folder.mkdir()
    draw_predictions(folder, dataset, logits_of(network, torch.from_numpy(dataset.test_images)).numpy(), name, network)
    return _drawn(folder)


def _drawn(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in (CONFUSION, MISCLASSIFIED)]


def test_the_plots_are_of_the_network_to_be_deployed_and_name_it(run: Path, sample: Dataset, tmp_path: Path) -> None:
    folded = load_network(run).folded
    assert folded is not None
    assert _drawn(run) == _plots(tmp_path / "folded", sample, folded, "gn-cnn, its norms folded")


def test_the_plots_are_drawn_again_when_norms_are_folded_later(few: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(Recipe(epochs=1, batch_size=16), few, folder)
    assert _drawn(folder) == _plots(tmp_path / "exact", few, load_network(folder).network, "gn-cnn as trained")
    fold_run(folder, few, epochs=1)
    folded = load_network(folder).folded
    assert folded is not None
    assert _drawn(folder) == _plots(tmp_path / "folded", few, folded, "gn-cnn, its norms folded")


def test_fine_tuning_goes_on_from_the_folded_network(run: Path, sample: Dataset, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    images = torch.from_numpy(sample.test_images)

    def logits() -> torch.Tensor:
        folded = load_network(folder).folded
        assert folded is not None
        return logits_of(folded, images)

    before, still = logits(), ["fold.learning_rate=0", "fold.muon_learning_rate=0"]
    assert fold_run(folder, sample, epochs=2, settings=still, continued=True).fold_epochs == 4 + 2
    continued = logits()
    assert fold_run(folder, sample, epochs=1, settings=still, continued=True).fold_epochs == 4 + 2 + 1
    assert [line.epoch for line in Run(folder).metrics(FOLD_METRICS)] == [*range(1, 8)]
    assert fold_run(folder, sample, epochs=2, settings=still).fold_epochs == 2
    anew = logits()
    # Only the statistics of the batch norms are of other images.
    assert (continued - before).abs().mean() < 0.3 * (anew - before).abs().mean()


def test_nothing_to_go_on_from(few: Dataset, tmp_path: Path) -> None:
    train(Recipe(epochs=1, batch_size=16), few, tmp_path)
    with pytest.raises(TrainingError, match="no folded network to go on from"):
        fold_run(tmp_path, few, epochs=1, continued=True)
    assert not (tmp_path / "deploy.safetensors").exists()


def test_a_folding_that_loses_more_than_a_point_is_warned_of(few: Dataset, tmp_path: Path) -> None:
    train(Recipe(epochs=1, batch_size=16), few, tmp_path)
    warnings = []
    for accuracy in (1.0, 0.0):
        notes: list[str] = []
        (tmp_path / "summary.json").write_text(json.dumps({**_summary(tmp_path), "test_accuracy": accuracy}))
        folded = fold_run(tmp_path, few, epochs=1, callbacks=Callbacks(note=notes.append)).folded_test_accuracy or 0.0
        warnings.append([note for note in notes if "folding lost" in note])
    assert folded < 0.99, "else there is nothing to warn of"
    ((warning,), nothing) = warnings
    assert warning.startswith(
        f"warning: folding lost {10 - round(10 * folded)} of 10 test images, {100 - 100 * folded:.2f} percentage points"
    )
    assert nothing == []


def test_each_phase_has_a_light_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sample: Dataset) -> None:
    seen = []

    def recorded(images: torch.Tensor, generator: torch.Generator, **strengths: float) -> torch.Tensor:
        seen.append(strengths)
        return relight(images, generator, **strengths)

    monkeypatch.setattr(augmentation, "relight", recorded)
    recipe = Recipe(epochs=1, brightness=0.1, contrast=0.2, fold=FoldRecipe(epochs=1, brightness=0.3, contrast=0.4))
    train(recipe, sample, tmp_path / "run", device="cpu")
    # The first ones are of the steps that tell how long the training takes.
    assert [light for light, _ in groupby(seen)] == [
        {"brightness": 0.1, "contrast": 0.2},
        {"brightness": 0.3, "contrast": 0.4},
    ]


def test_one_seed_gives_one_set_of_weights(tmp_path: Path, sample: Dataset) -> None:
    def weights(name: str, seed: int) -> dict[str, torch.Tensor]:
        recipe = Recipe(epochs=1, fold=FoldRecipe(epochs=1), seed=seed, cutout=8, mixup=0.2)
        train(recipe, sample, tmp_path / name)
        return load_file(tmp_path / name / "model.safetensors") | {
            f"folded.{key}": value for key, value in load_file(tmp_path / name / "deploy.safetensors").items()
        }

    first, again, other = weights("a", 3), weights("b", 3), weights("c", 4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_teacher_teaches(run: Path, tmp_path: Path, sample: Dataset) -> None:
    """Distilled from the run alone, a fresh network comes to agree with it more than with another fresh one."""
    recipe = Recipe(
        epochs=10, teacher=str(run), distillation_weight=1.0, batch_size=50, learning_rate=0.1, ema_decay=0.9
    )
    train(recipe, sample, tmp_path / "student")
    images = torch.from_numpy(sample.train_images)
    teacher = logits_of(load_network(run).network, images)

    def distance(network: torch.nn.Module) -> float:
        return F.kl_div(
            F.log_softmax(logits_of(network, images), 1),
            F.log_softmax(teacher, 1),
            log_target=True,
            reduction="batchmean",
        ).item()

    assert distance(load_network(tmp_path / "student").network) < 0.7 * distance(build("gn-cnn").eval())


def test_the_watcher_sees_every_epoch(tmp_path: Path, sample: Dataset) -> None:
    seen: list[tuple[EpochRecord, int]] = []
    steps: list[tuple[Any, ...]] = []
    train(
        Recipe(model="s8-group", epochs=2),
        sample,
        tmp_path / "run",
        callbacks=Callbacks(lambda *values: steps.append(values), lambda record, epochs: seen.append((record, epochs))),
    )
    assert [(record.epoch, epochs) for record, epochs in seen] == [(1, 2), (2, 2)]
    assert [values[:5] for values in steps] == [("train", 1, 2, 3, 3), ("train", 2, 2, 3, 3)]


def test_a_run_is_never_overwritten(run: Path, sample: Dataset) -> None:
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="already holds a run"):
        train(Recipe(epochs=1), sample, run)
    assert (run / "model.safetensors").read_bytes() == before


def test_a_loss_that_explodes_is_one_line(tmp_path: Path, few: Dataset) -> None:
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train(_exploding(), few, tmp_path / "run")


def _exploding() -> Recipe:
    """Each step multiplies the weights by -99."""
    return Recipe(model="s8-group", epochs=3, learning_rate=100.0, weight_decay=1.0, warmup=0.0, batch_size=2)


def test_what_cannot_be_trained(tmp_path: Path, sample: Dataset) -> None:
    with pytest.raises(TrainingError, match="leaves none"):
        train(Recipe(holdout=500), sample, tmp_path / "a")
    with pytest.raises(ModelError):
        train(Recipe(teacher=str(tmp_path / "nothing")), sample, tmp_path / "b")
    with pytest.raises(RecipeError, match="no network is called"):
        default_recipe("resnet")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_step_is_the_gradient_step_of_the_loss(name: str, sample: Dataset) -> None:
    """One step of plain SGD, compared with the same step written out."""
    torch.manual_seed(0)
    network = build(name).train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    expected = copy.deepcopy(network)
    images, labels = torch.from_numpy(sample.train_images[:16]), torch.from_numpy(sample.train_labels[:16])
    recipe = Recipe(
        model=name, learning_rate=0.01, warmup=0.0, momentum=0.0, weight_decay=0.1, precision="fp32", ema_decay=0.0
    )
    step = Step(network, recipe, CPU)
    step.start_epoch()
    step(images, labels, 0.0)
    loss = F.cross_entropy(expected(pixels_to_input(images)), labels)
    loss.backward()
    assert step.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    with torch.no_grad():
        for (key, new), old in zip(network.named_parameters(), expected.parameters(), strict=True):
            assert old.grad is not None
            decay = 0.1 if old.ndim > 1 else 0.0
            torch.testing.assert_close(new, old - 0.01 * (old.grad + decay * old), rtol=1e-4, atol=1e-6, msg=key)
    for new, average in zip(network.state_dict().values(), step.ema.state_dict().values(), strict=True):
        if new.is_floating_point():
            torch.testing.assert_close(average, new)


def test_later_steps_have_momentum_and_smooth_labels_and_the_average_is_young(few: Dataset) -> None:
    """Three steps of SGD, compared with the same steps written out."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    recipe = Recipe(
        learning_rate=0.01,
        warmup=0.0,
        momentum=0.9,
        weight_decay=0.1,
        label_smoothing=0.2,
        precision="fp32",
        ema_decay=0.15,
    )
    weights, bias = (parameter.detach().clone() for parameter in network.parameters())
    averages = [weights, bias]
    momenta = [torch.zeros_like(weights), torch.zeros_like(bias)]
    losses = 0.0
    step = Step(network, recipe, CPU)
    # A young average's decays are 1/10, 2/11, 3/12 and so on, as long as they are below the recipe's.
    for index, ema_decay in enumerate((0.1, 0.15, 0.15)):
        batch = slice(16 * index, 16 * (index + 1))
        images, labels = torch.from_numpy(few.train_images[batch]), torch.from_numpy(few.train_labels[batch])
        step(images, labels, 0.0)

        inputs = pixels_to_input(images).flatten(1)
        scores = (inputs @ weights.T + bias).log_softmax(1)
        targets = 0.8 * torch.eye(10)[labels] + 0.2 / 10
        losses -= (targets * scores).sum(1).mean().item()
        slope = (scores.exp() - targets) / 16  # of the loss in the logits
        gradients = [slope.T @ inputs + 0.1 * weights, slope.sum(0)]
        momenta = [0.9 * momentum + gradient for momentum, gradient in zip(momenta, gradients, strict=True)]
        weights = weights - 0.01 * (gradients[0] + 0.9 * momenta[0])
        bias = bias - 0.01 * (gradients[1] + 0.9 * momenta[1])
        averages = [
            ema_decay * average + (1 - ema_decay) * new for average, new in zip(averages, (weights, bias), strict=True)
        ]
        torch.testing.assert_close(list(network.state_dict().values()), [weights, bias], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(list(step.ema.state_dict().values()), averages, rtol=1e-4, atol=1e-6)
    assert step.loss.item() == pytest.approx(losses, rel=1e-5)


def test_mixup_mixes_images_and_losses(sample: Dataset) -> None:
    torch.manual_seed(0)
    network = build("gn-cnn")
    images, labels = torch.from_numpy(sample.train_images[:16]), torch.from_numpy(sample.train_labels[:16])
    mixed = 0.3 * pixels_to_input(images) + 0.7 * pixels_to_input(images).flip(0)
    logits = network(mixed)
    expected = 0.3 * F.cross_entropy(logits, labels) + 0.7 * F.cross_entropy(logits, labels.flip(0))
    step = Step(network, Recipe(mixup=1.0, precision="fp32"), CPU)
    step(images, labels, 0.5, mixture=0.3)
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert step.correct.item() == int((logits.argmax(1) == labels.flip(0)).sum())


def test_the_schedule_rises_and_falls() -> None:
    values = [schedule(position / 100, 0.2) for position in range(101)]
    assert values[20] == 1.0 == max(values)
    assert values[10] == pytest.approx(0.5)
    assert values[60] == pytest.approx(0.5)
    assert values[100] == pytest.approx(0.0)


def test_fit_needs_no_full_batch(sample: Dataset) -> None:
    images, labels = torch.from_numpy(sample.train_images[:10]), torch.from_numpy(sample.train_labels[:10])
    torch.manual_seed(0)
    network = build("s8-batch")
    average = fit(network, images, labels, Recipe(model="s8-batch", epochs=1, precision="fp32"))
    assert not average.training
    assert torch.isfinite(logits_of(average, images)).all()


@pytest.mark.parametrize("model", ["gn-cnn-nano", "s8-layer"])
def test_a_network_is_trained_at_another_size(tmp_path: Path, model: str) -> None:
    dataset = resized(load_dataset("sample"), 48)
    recipe = Recipe(model=model, size=48, epochs=1, batch_size=100, fold=FoldRecipe(epochs=int(model == "gn-cnn-nano")))
    summary = train(recipe, dataset, tmp_path / "run")
    trained = load_network(tmp_path / "run")
    assert trained.size == 48
    assert Recipe.from_file(tmp_path / "run" / "recipe.toml").size == 48
    assert summary.macs == count_macs(trained.network, 48)
    logits = logits_of(trained.network, torch.from_numpy(dataset.test_images))
    assert accuracy_of(logits, torch.from_numpy(dataset.test_labels)) == summary.test_accuracy
    with pytest.raises(TrainingError, match="the images are 32x32 pixels, the network takes 48x48"):
        train(recipe, load_dataset("sample"), tmp_path / "other")
    with pytest.raises(TrainingError, match="has size 32, the recipe has 48"):
        train(recipe.with_values(teacher="gn-cnn"), dataset, tmp_path / "other")
    assert not (tmp_path / "other").exists()
