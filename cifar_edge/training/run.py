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
from cifar_edge.errors import TrainingError
from cifar_edge.files import write_text
from cifar_edge.models import build
from cifar_edge.models.folded import BatchNormNetwork
from cifar_edge.models.summary import summarize
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
    began, started = datetime.now(UTC), time.monotonic()
    where = choose_device(device)
    recipe = resolve_precision(recipe, where)
    write_text(folder / RECIPE, recipe.to_toml())
    images, labels, held_out = _training_images(dataset, recipe.holdout, where)
    test = _tensors(dataset.test_images, dataset.test_labels, where)
    watched = test if held_out is None else held_out
    teacher = _teacher(recipe.teacher, dataset.labels, where)
    records: list[EpochRecord] = []

    def fit_stage(stage: str, network: nn.Module, recipe: Recipe) -> nn.Module:
        if where.type == "cuda":
            network.to(memory_format=torch.channels_last)

        def after_step(epoch: int, index: int, steps: int, step: Step) -> None:
            if watcher is not None and (index % _STEPS_BETWEEN_CALLS == 0 or index == steps):
                loss, correct = step.loss.item() / index, step.correct.item() / (index * step.batch_size)
                watcher.step(stage, epoch, recipe.epochs, index, steps, loss, correct)

        def after_epoch(epoch: Epoch, average: nn.Module) -> None:
            accuracy = _accuracy(logits_of(average, watched[0]), watched[1])
            seconds = round(time.monotonic() - started, 1)
            records.append(
                EpochRecord(stage, epoch.number, epoch.learning_rate, epoch.loss, epoch.accuracy, accuracy, seconds)
            )
            write_text(folder / METRICS, _csv(records))
            if watcher is not None:
                watcher.epoch(records[-1], recipe.epochs)

        return fit(network, images, labels, recipe, teacher=teacher, after_step=after_step, after_epoch=after_epoch)

    torch.manual_seed(recipe.seed)
    network = fit_stage("train", build(recipe.model, len(dataset.labels)).to(where), recipe)
    save_weights(folder / WEIGHTS, network.state_dict(), recipe.model, dataset.labels)
    logits = logits_of(network, test[0]).cpu()
    results = {
        **_measured("train", logits_of(network, images), labels),
        **({} if held_out is None else _measured("holdout", logits_of(network, held_out[0]), held_out[1])),
        **_measured("test", logits, test[1].cpu()),
    }
    if recipe.fold_epochs and can_fold(network):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(_FIT_SEED))
        seen = images[order[:_FIT_IMAGES].to(where)]
        normalised = with_batch_norm(fold(network, seen), seen)
        stage = recipe.with_values(epochs=recipe.fold_epochs, learning_rate=recipe.fold_learning_rate)
        tuned = fit_stage("fold", normalised, stage)
        assert isinstance(tuned, BatchNormNetwork)
        folded = without_batch_norm(tuned)
        save_weights(folder / FOLDED_WEIGHTS, folded.state_dict(), recipe.model, dataset.labels)
        if held_out is not None:
            results["folded_holdout_accuracy"] = _accuracy(logits_of(folded, held_out[0]), held_out[1])
        results["folded_test_accuracy"] = _accuracy(logits_of(folded, test[0]), test[1])
    pictures.draw_all(folder, records, dataset, logits.numpy(), held_out is not None)
    costs = summarize(network.cpu())
    summary = {
        "model": recipe.model,
        "labels": list(dataset.labels),
        "created": began.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "epochs": recipe.epochs,
        "fold_epochs": recipe.fold_epochs if can_fold(network) else 0,
        "seed": recipe.seed,
        "parameters": costs.parameters,
        "macs": costs.macs,
        **results,
        "seconds": round(time.monotonic() - started, 1),
        "device": _device_name(where),
        "threads": torch.get_num_threads(),
        "data": {"name": dataset.name, "source": dataset.source},
        "versions": {name: version(name) for name in ("torch", "numpy", "safetensors")},
    }
    write_text(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary


def _training_images(
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
        raise TrainingError(f"the teacher {name} knows other classes: {', '.join(trained.labels)}")
    return trained.network.to(device)


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


def _measured(name: str, logits: Tensor, labels: Tensor) -> dict[str, float | int]:
    return {f"{name}_accuracy": _accuracy(logits, labels), f"{name}_images": len(labels)}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def _csv(records: list[EpochRecord]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in asdict(record).items()})
    return text.getvalue()
