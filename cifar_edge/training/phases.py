"""The phases of a run, training and folding; each can be resumed from a saved state."""

import copy
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cifar_edge.data.dataset import Dataset
from cifar_edge.errors import ModelError, TrainingError
from cifar_edge.folding.batch_norm import with_batch_norm, without_batch_norm
from cifar_edge.folding.earlier import current_names
from cifar_edge.folding.equalisation import equalised
from cifar_edge.folding.fold import fold
from cifar_edge.folding.network import BatchNormNetwork, FoldedNetwork
from cifar_edge.messages import display_name, listed
from cifar_edge.models import build
from cifar_edge.models.depthwise import DepthwiseConv2d
from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.runs.run import RECIPE, Run
from cifar_edge.runs.summary import RunSummary
from cifar_edge.training.augmentation import augmented_by, sources_of
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.checkpoint import load_network, network_of, read_weights, save_folded, save_weights
from cifar_edge.training.initial import folded_beginning, initial_network
from cifar_edge.training.loop import Diverged, Epoch, Snapshot, fit, logits_of
from cifar_edge.training.pretrained import EFFICIENTNET_LITE0, pretrained_teacher
from cifar_edge.training.state import RunState, save_state
from cifar_edge.training.step import Step, network_weights
from cifar_edge.training.teacher import Teacher
from cifar_edge.training.unlabelled import PseudoLabelled, pseudo_labelled

_HOLDOUT_SEED = 12345
_FIT_SEED = 1
_FIT_IMAGES = 2_000
"""Training images that folding is fitted on by least squares; each has at least 64 positions."""

_TIMED_STEPS = 2

_STEPS_BETWEEN_CALLS = 20
"""Reading the loss waits for the GPU, so it is not done at every step."""


class Phases:
    """What the phases of a run share: recipe, images, teacher, epoch records, and the folder of the run.

    Args:
        recipe: resolved.
        dataset: uint8 images of the recipe's size and their labels.
        folder: of the run.
        device: to train on.
        callbacks: called with progress.
        state: to resume from; it is updated and saved after each epoch. None saves no state and no metrics.

    Raises:
        ModelError: the recipe's teacher is not a trained network.
        MissingExtra: it is the one with ImageNet weights, whose packages are not installed.
        TrainingError: images and recipe differ in size, the teacher has other classes or another size, or no training
            images, or none of a class, are left besides the validation images.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        folder: Path,
        device: torch.device,
        callbacks: Callbacks,
        state: RunState | None = None,
    ) -> None:
        check_size(recipe.size, dataset)
        self._started = time.monotonic() - (state.seconds if state else 0.0)
        self.recipe, self.dataset, self.folder, self.device, self.callbacks = recipe, dataset, folder, device, callbacks
        self.images, self.labels, self.validation = training_images(dataset, recipe.holdout, device)
        self._check_holdout()
        sources = replace(dataset, train_images=sources_of(recipe, dataset))
        self.sources = training_images(sources, recipe.holdout, device)[0]
        self.test = _tensors(dataset.test_images, dataset.test_labels, device)
        self.teacher = self._teacher()
        self._unlabelled = self._pseudo_labelled()
        self.run, self.state = Run(folder), state
        self.folded: FoldedNetwork | None = None
        self.records: list[EpochRecord] = list(state.records) if state else []

    def _check_holdout(self) -> None:
        names, held = self.dataset.labels, self.recipe.holdout
        had = np.bincount(self.dataset.train_labels, minlength=len(names))
        has = torch.bincount(self.labels, minlength=len(names))
        if lost := [name for name, before, after in zip(names, had, has, strict=True) if before and not after]:
            raise TrainingError(f"holdout = {held} leaves no training image of {listed(lost)}; hold fewer out")

    def _teacher(self) -> Teacher | None:
        recipe, labels = self.recipe, self.dataset.labels
        names = [name for name in recipe.teachers if name != EFFICIENTNET_LITE0]
        networks: list[nn.Module] = []
        for name, trained in zip(names, map(load_network, teacher_folders(recipe)), strict=True):
            if trained.labels != labels:
                raise TrainingError(f"the teacher {name} has other classes: {listed(trained.labels)}")
            if trained.size != recipe.size:
                raise TrainingError(f"the teacher {name} has size {trained.size}, the recipe has {recipe.size}")
            networks.append(trained.network.to(self.device))
        if EFFICIENTNET_LITE0 in recipe.teachers:
            networks.append(pretrained_teacher(self.images, self.labels, len(labels), recipe.flip))
        return Teacher(networks, recipe, self.callbacks.note) if networks else None

    def _pseudo_labelled(self) -> PseudoLabelled | None:
        if not self.recipe.unlabelled:
            return None
        assert self.teacher is not None, "the recipe has checked that"
        return pseudo_labelled(self.recipe, self.dataset, self.labels, self.teacher, self.callbacks.note)

    def seconds(self) -> float:
        """How long the run has been trained, interruptions not counted."""
        return round(time.monotonic() - self._started, 1)

    def save(self, phase: str, snapshot: Snapshot | None) -> None:
        """Save the state of the run and its metrics; nothing if there is no state."""
        if self.state is None:
            return
        self.state = replace(
            self.state, phase=phase, snapshot=snapshot, records=list(self.records), seconds=self.seconds()
        )
        save_state(self.folder, self.state)
        self.run.write_metrics(self.records, durable=False)  # the state has the records

    def train(self) -> nn.Module:
        """The trained network, in evaluation mode: trained and saved, or loaded if this phase is done."""
        recipe = self.recipe
        if self.state is not None and self.state.phase == "fold":
            weights = read_weights(self.run.weights())
            check_classes(weights.labels, self.dataset)
            if (weights.model, weights.size) != (recipe.model, recipe.size):
                raise ModelError(
                    f"{self.run.weights()} holds {weights.model} of size {weights.size}, but the recipe has "
                    f"{recipe.model} of size {recipe.size}"
                )
            return network_of(weights, self.run.weights()).to(self.device)
        network = self._fit("train", copy.deepcopy(self._initial), recipe)
        if isinstance(network, BatchNormNetwork):
            folded = equalised(without_batch_norm(network), self._seen)
            save_folded(self.run.weights(), folded, recipe.model, self.dataset.labels, recipe.size)
            return folded
        save_weights(self.run.weights(), network.state_dict(), recipe.model, self.dataset.labels, recipe.size)
        return network

    def seconds_to_train(self) -> float:
        """About how long the phase ``train`` takes on this machine, from two steps of a copy of its network."""
        recipe, count = self.recipe, min(self.recipe.batch_size, len(self.images))
        step = Step(copy.deepcopy(self._initial), recipe, self.device, class_weights=self._class_weights())
        step.start_epoch()
        began = 0.0
        for index in range(1 + _TIMED_STEPS):
            if index == 1:  # the first one also sets up what later ones find
                began = time.monotonic()
            batch = augmented_by(recipe, self.sources[:count], torch.Generator().manual_seed(index))
            step(batch, self.labels[:count], 0.0, teacher_logits=self.teacher.logits(batch) if self.teacher else None)
        step.loss.item()  # waits for a GPU
        seconds = (time.monotonic() - began) / _TIMED_STEPS
        images = len(self.images) + (len(self._unlabelled.labels) if self._unlabelled else 0)
        return seconds * recipe.epochs * (recipe.steps_per_epoch or images // count)

    @cached_property
    def _seen(self) -> Tensor:
        """The training images that statistics are of: those that folding is fitted on, and ranges of channels."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(_FIT_SEED))
        return self.images[order[:_FIT_IMAGES].to(self.device)]

    @cached_property
    def _initial(self) -> nn.Module:
        """The network at the beginning of the training; not to be changed."""
        recipe, classes = self.recipe, len(self.dataset.labels)
        torch.manual_seed(recipe.seed)
        if recipe.init:
            folded = folded_beginning(recipe.init, recipe.model)
            return initial_network(folded, self.images, self.labels, classes)
        start = self.state.snapshot if self.state else None
        begun = network_weights(start.tensors) if start else None
        return build(recipe.model, classes, recipe.size, like=begun).to(self.device)

    def fold(
        self, network: nn.Module, summary: RunSummary, folded: FoldedNetwork | None = None
    ) -> tuple[RunSummary, Tensor]:
        """Fold, fine-tune and save.

        Args:
            network: whose norms are folded.
            summary: of the run so far.
            folded: what is fine-tuned in place of a newly folded ``network``; None folds it.

        Returns:
            ``summary`` with the accuracies of the folded network, and its logits on the test images.
        """
        if self.state is not None and self.state.phase == "train":
            self.save("fold", None)
        seen, recipe = self._seen, self.recipe.fine_tuning
        beginning = fold(network, seen) if folded is None else folded.to(self.device)
        earlier_epochs = 0 if folded is None else summary.fold_epochs or 0
        tuned = self._fit("fold", with_batch_norm(beginning, seen), recipe)
        assert isinstance(tuned, BatchNormNetwork)
        folded = equalised(without_batch_norm(tuned), seen)
        validation_accuracy = None
        if self.validation is not None:
            validation_accuracy = accuracy_of(logits_of(folded, self.validation[0]), self.validation[1])
        logits = logits_of(folded, self.test[0])
        self.folded = folded
        save_folded(self.run.weights(folded=True), folded, recipe.model, self.dataset.labels, recipe.size)
        summary = replace(
            summary,
            fold_epochs=earlier_epochs + recipe.epochs,
            folded_holdout_accuracy=validation_accuracy,
            folded_test_accuracy=accuracy_of(logits, self.test[1]),
        )
        return summary, logits

    def _fit(self, phase: str, network: nn.Module, recipe: Recipe) -> nn.Module:
        if self.device.type == "cuda" or _is_faster_channels_last(network):
            network.to(memory_format=torch.channels_last)
        images, labels = self.test if self.validation is None else self.validation
        start = self.state.snapshot if self.state else None
        if start is not None and isinstance(network, BatchNormNetwork):
            start = replace(start, tensors=current_names(start.tensors, network))

        def after_step(epoch: int, index: int, steps: int, step: Step) -> None:
            if index % _STEPS_BETWEEN_CALLS == 0 or index == steps:
                loss, accuracy = step.loss.item() / index, step.correct.item() / (index * step.batch_size)
                self.callbacks.step(phase, epoch, recipe.epochs, index, steps, loss, accuracy)

        def after_epoch(epoch: Epoch, ema: nn.Module) -> None:
            accuracy = accuracy_of(logits_of(ema, images), labels)
            record = EpochRecord(
                phase, epoch.number, epoch.learning_rate, epoch.loss, epoch.accuracy, accuracy, self.seconds()
            )
            self.records.append(record)
            self.callbacks.epoch(record, recipe.epochs)

        try:
            trained = fit(
                network,
                self.sources,
                self.labels,
                recipe,
                unlabelled=self._unlabelled,
                teacher=self.teacher,
                class_weights=self._class_weights(),
                after_step=after_step,
                after_epoch=after_epoch,
                start=start,
                keep=lambda snapshot: self.save(phase, snapshot),
                is_best=lambda: self._is_best(phase),
                ended=lambda: self._is_patience_over(phase),
                stop=self.callbacks.stop,
            )
        except Diverged as error:
            key = "learning_rate" if phase == "train" else "fold.learning_rate"
            raise TrainingError(f"{error}: {key} in {display_name(self.folder / RECIPE)}") from error
        if self.recipe.patience and not self._is_best(phase):
            accuracies = self._accuracies(phase)
            best = max(epoch for epoch, accuracy in enumerate(accuracies, 1) if accuracy == max(accuracies))
            self.callbacks.note(f"the weights are those after epoch {best}, the best on the validation images")
        return trained

    def _class_weights(self) -> Tensor | None:
        """The weights of the loss that make all classes count alike, with a mean of 1 over the images."""
        if not self.recipe.balance:
            return None
        labels = torch.cat([self.labels, self._unlabelled.labels]) if self._unlabelled else self.labels
        sizes = torch.bincount(labels, minlength=len(self.dataset.labels)).clamp_min(1)
        return len(labels) / (len(sizes) * sizes.float())

    def _accuracies(self, phase: str) -> list[float]:
        return [record.accuracy for record in self.records if record.phase == phase]

    def _is_best(self, phase: str) -> bool:
        """Whether no epoch of ``phase`` was better than its last one; never without ``patience``."""
        accuracies = self._accuracies(phase)
        return self.recipe.patience > 0 and accuracies[-1] == max(accuracies)

    def _is_patience_over(self, phase: str) -> bool:
        """Whether so many epochs of ``phase`` were no better than the best that the phase ends."""
        accuracies = self._accuracies(phase)
        if not self.recipe.patience or not accuracies:
            return False
        return len(accuracies) - 1 - accuracies.index(max(accuracies)) >= self.recipe.patience


def _is_faster_channels_last(network: nn.Module) -> bool:
    """Whether a CPU trains ``network`` faster in that layout: it speeds up depthwise convolutions, slows GroupNorm."""
    depthwise = any(isinstance(module, DepthwiseConv2d) for module in network.modules())
    return depthwise and isinstance(network, BatchNormNetwork)


def training_images(
    dataset: Dataset, holdout: int, device: torch.device
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """Images and labels to train on, then those of ``holdout`` validation images, or None without these.

    Raises:
        TrainingError: no training images are left.
    """
    images, labels = _tensors(dataset.train_images, dataset.train_labels, device)
    if holdout == 0:
        return images, labels, None
    if holdout >= len(images):
        raise TrainingError(f"holdout = {holdout} leaves none of the {len(images)} training images")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(_HOLDOUT_SEED)).to(device)
    validation, training = order[:holdout], order[holdout:]
    return images[training], labels[training], (images[validation], labels[validation])


def check_classes(labels: tuple[str, ...], dataset: Dataset) -> None:
    """Check that the classes of ``dataset`` are still the ``labels`` of a network that was trained on it before.

    Raises:
        TrainingError: they have other names.
    """
    if labels != dataset.labels:
        raise TrainingError(
            f"the network has the classes {listed(labels)}, but {dataset.name} now has {listed(dataset.labels)}"
        )


def check_size(size: int, dataset: Dataset) -> None:
    """Check that the images of ``dataset`` have the ``size`` that a network takes.

    Raises:
        TrainingError: they have another size.
    """
    if dataset.size != size:
        raise TrainingError(f"the images are {dataset.size}x{dataset.size} pixels, the network takes {size}x{size}")


def teacher_folders(recipe: Recipe) -> list[Path]:
    """The folders of the recipe's teachers, but for the one with ImageNet weights, which has none.

    Raises:
        ModelError: there is no such run or model.
    """
    try:
        return [resolve_run(name).path for name in recipe.teachers if name != EFFICIENTNET_LITE0]
    except ModelError as error:
        raise ModelError(f"the recipe's teacher: {error}") from error


def accuracy_of(logits: Tensor, labels: Tensor) -> float:
    """Share of images whose largest of ``logits``, ``[n, classes]``, is that of their class in ``labels``, ``[n]``."""
    return (logits.argmax(1) == labels).double().mean().item()


def _tensors(images: Any, labels: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
