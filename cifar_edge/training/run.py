"""A run: a recipe, a data set and a folder in; weights, metrics, summary and pictures out."""

import csv
import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cifar_edge.data.dataset import Dataset
from cifar_edge.data.origin import Origin
from cifar_edge.errors import TrainingError
from cifar_edge.files import write_text
from cifar_edge.models import build
from cifar_edge.models.folded import BatchNormNetwork
from cifar_edge.models.gn_cnn import GnCnn
from cifar_edge.models.summary import summarize
from cifar_edge.runtime.messages import listed
from cifar_edge.runtime.resolve import SUMMARY, WEIGHTS, resolve_run
from cifar_edge.training import pictures
from cifar_edge.training.checkpoint import FOLDED_WEIGHTS, load_network, save_weights
from cifar_edge.training.folding import can_fold, fold, with_batch_norm, without_batch_norm
from cifar_edge.training.loop import Epoch, fit, logits_of
from cifar_edge.training.machine import choose_device, resolve_precision
from cifar_edge.training.recipe import Recipe
from cifar_edge.training.step import Step

RECIPE = "recipe.toml"
METRICS = "metrics.csv"
FOLD_METRICS = "fold-metrics.csv"
"""The metrics of a folding that was done after the training, by `fold_run`."""

_HOLDOUT_SEED = 12345
_FIT_SEED = 1
_FIT_IMAGES = 2_000
"""Training images that the least-squares fit of the folding sees: 2,000 x 64 positions at the smallest."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One line of ``metrics.csv``.

    Attributes:
        stage: ``train``, or ``fold`` for the fine-tuning of the folded network.
        epoch: number within the stage, from 1.
        learning_rate: at its end.
        loss: mean over its steps, on augmented training images.
        train_accuracy: on the same images as they passed by, in [0, 1].
        accuracy: of the averaged weights on held-out images, or on test images if none are held out, in [0, 1].
        seconds: since the training began.
    """

    stage: str
    epoch: int
    learning_rate: float
    loss: float
    train_accuracy: float
    accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who follows a training: called during an epoch with the step and the loss so far, and after it.

    Attributes:
        step: (stage, epoch, epochs, step, steps, mean loss so far, accuracy so far).
        epoch: (record, epochs of its stage).
    """

    step: Callable[[str, int, int, int, int, float, float], None] = lambda *_: None
    epoch: Callable[[EpochRecord, int], None] = lambda *_: None


_STEPS_BETWEEN_CALLS = 20
"""Reading the loss waits for a GPU to finish: not at every step."""


def train(
    recipe: Recipe, dataset: Dataset, folder: Path, *, device: str = "auto", watcher: Watcher | None = None
) -> dict[str, Any]:
    """Train by ``recipe`` and write the run into ``folder``; returns what ``summary.json`` holds.

    The test images are evaluated at the end, and shown after each epoch if nothing is held out; no choice is made by
    them. The same seed, number of threads and kind of machine give the same weights, bit for bit, on a CPU.

    Args:
        recipe: its precision may be ``auto``; the saved one is resolved.
        dataset: uint8 images of 32x32 and their labels.
        folder: made if it is missing; holds no run yet.
        device: one of `cifar_edge.training.machine.DEVICES`.
        watcher: told of progress.

    Raises:
        TrainingError: ``folder`` holds a run already, the held-out images leave too few, or the loss is not finite.
        ModelError: the recipe's teacher is no trained network.
        CifarEdgeError: a file cannot be written.
    """
    if (folder / RECIPE).exists():
        raise TrainingError(f"{folder} holds a run already; give another --name")
    began = datetime.now(UTC)
    run = _Run(recipe, dataset, folder, device, watcher)
    write_text(folder / RECIPE, run.recipe.to_toml())
    torch.manual_seed(recipe.seed)
    network = run.fit("train", build(recipe.model, len(dataset.labels)).to(run.device), run.recipe)
    save_weights(folder / WEIGHTS, network.state_dict(), recipe.model, dataset.labels)
    logits = logits_of(network, run.test[0])
    results = {
        **_measured("train", logits_of(network, run.images), run.labels),
        **({} if run.held_out is None else _measured("holdout", logits_of(network, run.held_out[0]), run.held_out[1])),
        **_measured("test", logits, run.test[1]),
    }
    if recipe.fold_epochs and can_fold(network):
        results |= run.fold(network)
    pictures.draw_all(folder, run.records, dataset, logits.cpu().numpy(), run.held_out is not None)
    costs = summarize(network.cpu())
    summary = {
        "model": recipe.model,
        "labels": list(dataset.labels),
        "created": began.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "epochs": recipe.epochs,
        "seed": recipe.seed,
        "parameters": costs.parameters,
        "macs": costs.macs,
        **results,
        "seconds": run.seconds(),
        "device": torch.cuda.get_device_name() if run.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "data": Origin.of(dataset).to_record(),
        "versions": {name: version(name) for name in ("torch", "numpy", "safetensors")},
    }
    write_text(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary


def fold_run(
    folder: Path, dataset: Dataset, *, epochs: int, device: str = "auto", watcher: Watcher | None = None
) -> dict[str, Any]:
    """Fold the norms of a finished run and fine-tune what is left; writes ``deploy.safetensors`` into the run.

    It is the last stage of `train`, for a run that had none or a shorter one; returns the new ``summary.json``.

    Args:
        folder: of the run.
        dataset: the one it was trained on.
        epochs: of fine-tuning; all else as the run's recipe says.
        device: one of `cifar_edge.training.machine.DEVICES`.
        watcher: told of progress.

    Raises:
        ModelError: the folder holds no finished run.
        RecipeError: the run's recipe is damaged.
        TrainingError: the network's norms cannot be folded, the data is another, or the loss is not finite.
    """
    trained = load_network(folder)
    if not can_fold(trained.network):
        raise TrainingError(f"the norms of {trained.name} follow ReLU and cannot be folded; gn-cnn's can")
    if change := trained.data.change(dataset):
        raise TrainingError(f"{change}; give that with --data")
    recipe = Recipe.from_file(folder / RECIPE).with_values(fold_epochs=epochs)
    run = _Run(recipe, dataset, folder, device, watcher)
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text())
    summary |= run.fold(trained.network.to(run.device))
    write_text(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
    write_text(folder / RECIPE, run.recipe.to_toml())
    return summary


class _Run:
    """What the stages of a run share: recipe, images, teacher, the records so far and where they go."""

    def __init__(self, recipe: Recipe, dataset: Dataset, folder: Path, device: str, watcher: Watcher | None) -> None:
        self._started = time.monotonic()
        self.device = choose_device(device)
        self.recipe = resolve_precision(recipe, self.device)
        self.folder, self.dataset, self.watcher = folder, dataset, watcher or Watcher()
        self.images, self.labels, self.held_out = training_images(dataset, recipe.holdout, self.device)
        self.test = _tensors(dataset.test_images, dataset.test_labels, self.device)
        self.teacher = _teacher(recipe.teacher, dataset.labels, self.device)
        self.records: list[EpochRecord] = []

    def seconds(self) -> float:
        return round(time.monotonic() - self._started, 1)

    def fit(self, stage: str, network: nn.Module, recipe: Recipe) -> nn.Module:
        if self.device.type == "cuda":
            network.to(memory_format=torch.channels_last)
        images, labels = self.test if self.held_out is None else self.held_out

        def after_step(epoch: int, index: int, steps: int, step: Step) -> None:
            if index % _STEPS_BETWEEN_CALLS == 0 or index == steps:
                loss, accuracy = step.loss.item() / index, step.correct.item() / (index * step.batch_size)
                self.watcher.step(stage, epoch, recipe.epochs, index, steps, loss, accuracy)

        def after_epoch(epoch: Epoch, average: nn.Module) -> None:
            accuracy = _accuracy(logits_of(average, images), labels)
            record = EpochRecord(
                stage, epoch.number, epoch.learning_rate, epoch.loss, epoch.accuracy, accuracy, self.seconds()
            )
            self.records.append(record)
            write_text(
                self.folder / (METRICS if self.records[0].stage == "train" else FOLD_METRICS), _csv(self.records)
            )
            self.watcher.epoch(record, recipe.epochs)

        return fit(
            network,
            self.images,
            self.labels,
            recipe,
            teacher=self.teacher,
            after_step=after_step,
            after_epoch=after_epoch,
        )

    def fold(self, network: GnCnn) -> dict[str, Any]:
        """Fold, fine-tune, save; what the summary is to say of it."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(_FIT_SEED))
        seen = self.images[order[:_FIT_IMAGES].to(self.device)]
        recipe = self.recipe.with_values(epochs=self.recipe.fold_epochs, learning_rate=self.recipe.fold_learning_rate)
        tuned = self.fit("fold", with_batch_norm(fold(network, seen), seen), recipe)
        assert isinstance(tuned, BatchNormNetwork)
        folded = without_batch_norm(tuned)
        save_weights(self.folder / FOLDED_WEIGHTS, folded.state_dict(), recipe.model, self.dataset.labels)
        results: dict[str, Any] = {"fold_epochs": recipe.epochs}
        if self.held_out is not None:
            results["folded_holdout_accuracy"] = _accuracy(logits_of(folded, self.held_out[0]), self.held_out[1])
        results["folded_test_accuracy"] = _accuracy(logits_of(folded, self.test[0]), self.test[1])
        return results


def training_images(
    dataset: Dataset, holdout: int, device: torch.device
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """Images and labels to train on, and the held-out ones if any."""
    images, labels = _tensors(dataset.train_images, dataset.train_labels, device)
    if holdout == 0:
        return images, labels, None
    if holdout >= len(images):
        raise TrainingError(f"holdout = {holdout} leaves none of the {len(images)} training images")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(_HOLDOUT_SEED)).to(device)
    out, kept = order[:holdout], order[holdout:]
    return images[kept], labels[kept], (images[out], labels[out])


def _tensors(images: Any, labels: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)


def _teacher(name: str, labels: tuple[str, ...], device: torch.device) -> nn.Module | None:
    if not name:
        return None
    trained = load_network(resolve_run(name).path)
    if trained.labels != labels:
        raise TrainingError(f"the teacher {name} knows other classes: {listed(trained.labels)}")
    return trained.network.to(device)


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


def _measured(name: str, logits: Tensor, labels: Tensor) -> dict[str, float | int]:
    return {f"{name}_accuracy": _accuracy(logits, labels), f"{name}_images": len(labels)}


def _csv(records: list[EpochRecord]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in asdict(record).items()})
    return text.getvalue()
