"""The training loop: epochs of augmented batches, each passed to a `Step`."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cifar_edge.errors import Interrupted, ModelError, TrainingError
from cifar_edge.messages import reason
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.runs.recipe import Recipe
from cifar_edge.training.augmentation import augment, augmented_by, mixtures_of
from cifar_edge.training.checkpoint import derived_seed, new_generator
from cifar_edge.training.distributed import Worker, batch_worker, this_worker
from cifar_edge.training.step import Step, schedule
from cifar_edge.training.teacher import Teacher
from cifar_edge.training.unlabelled import PseudoLabelled

_EVALUATION_BATCH = 500
_STEPS_BETWEEN_CHECKS = 20
"""Reading the loss waits for the GPU, so it is not done at every step."""


class Diverged(TrainingError):
    """The loss or the weights are no longer finite."""


class UnfitState(ModelError):
    """A state belongs to another network than the one that is trained."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Mean `loss` and `accuracy` (in [0, 1]) of one epoch on augmented training images, measured while it trained."""

    number: int
    learning_rate: float
    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the rest of a training depends on, besides recipe and images.

    Attributes:
        epoch: the current one, from 1.
        steps: number of its steps that are done, perhaps all.
        tensors: the `Step.state` after them, not copied.
    """

    epoch: int
    steps: int
    tensors: Mapping[str, Tensor]


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    unlabelled: PseudoLabelled | None = None,
    teacher: Teacher | None = None,
    class_weights: Tensor | None = None,
    after_step: Callable[[int, int, int, Step], None] = lambda epoch, index, steps, step: None,
    after_epoch: Callable[[Epoch, nn.Module], None] = lambda epoch, ema: None,
    start: Snapshot | None = None,
    keep: Callable[[Snapshot], None] = lambda snapshot: None,
    is_best: Callable[[], bool] = lambda: False,
    ended: Callable[[], bool] = lambda: False,
    stop: Callable[[], bool] = lambda: False,
) -> nn.Module:
    """Train ``network`` in place; returns a network with the exponential moving average (ema) of its weights.

    All random numbers derive from the recipe's seed, the epoch and the step; the global generator, which dropout uses,
    is seeded at each step. So on a CPU, a training resumed from a snapshot ends with the same weights, bit for bit.

    Args:
        network: on the device of ``images``; float32 ``[batch, 3, S, S]`` in, logits out.
        images: uint8 ``[n, S, S, 3]``.
        labels: int64 ``[n]``.
        recipe: resolved, so its precision is ``bf16`` or ``fp32``.
        unlabelled: further images, to which the teacher gave labels, on the same device.
        teacher: to distil from, on the same device.
        class_weights: of the loss, float32 ``[classes]``, on the same device; None weights all classes alike.
        after_step: called with the epoch (from 1), the step in it (from 1), the steps of an epoch, and the `Step`.
        after_epoch: called with the results of the epoch and the ema network, in evaluation mode.
        start: where to resume; None trains from the weights of ``network``.
        keep: called after each ``after_epoch``, and when ``stop`` ends the training; the weights it gets are finite.
        is_best: called after each ``after_epoch``; True keeps the average as it is then, and the last one kept is
            returned.
        ended: called before each epoch; True ends the training early, as if all epochs were done.
        stop: called after each step, and between the teacher's batches; True ends the training.

    Raises:
        Diverged: loss or weights are no longer finite.
        UnfitState: ``start`` belongs to another network.
        TrainingError: the processes that train together cannot share a batch, or one of them has ended.
        Interrupted: ``stop`` was true; ``keep`` was called before, except while the teacher classifies images.
    """
    parts = [images] if unlabelled is None else [images, unlabelled.images]
    labels = labels if unlabelled is None else torch.cat([labels, unlabelled.labels])
    batch = min(recipe.batch_size, len(labels))
    steps = recipe.steps_per_epoch or len(labels) // batch
    worker = batch_worker(network)
    stop_alone = stop if this_worker().world_size == 1 else lambda: False  # processes cannot agree between batches
    stop = this_worker().agreed(stop, images.device)
    step = Step(network, recipe, images.device, worker, class_weights)
    first, done = 1, 0
    if start is not None:
        try:
            step.load_state(start.tensors)
        except ValueError as error:
            raise UnfitState(
                "the state does not fit the network, or what this began with is another today; train anew: "
                f"{reason(error)}"
            ) from error
        first, done = start.epoch + start.steps // steps, start.steps % steps
    for number in range(first, recipe.epochs + 1):
        if not done and ended():
            break
        batches = _batches(parts, labels, recipe, number, teacher, stop_alone)
        mixtures = _mixtures(steps, recipe.mixup, recipe.seed, number)
        if not done:
            step.start_epoch()
        for index in range(done, steps):
            position = ((number - 1) * steps + index + 1) / (recipe.epochs * steps)
            torch.manual_seed(derived_seed(recipe.seed, number, index + worker.rank * steps))
            augmented, targets, taught = batches(index, worker)
            step(augmented, targets, position, mixtures[index], taught)
            after_step(number, index + 1, steps, step)
            if (index + 1) % _STEPS_BETWEEN_CHECKS == 0 and not math.isfinite(step.loss.item()):
                raise _diverged(number, recipe)
            if index + 1 < steps and stop():
                _check_finite(step, number)
                keep(Snapshot(number, index + 1, step.state()))
                raise Interrupted(f"interrupted in epoch {number}/{recipe.epochs}, after step {index + 1}/{steps}")
        done = 0
        _check_finite(step, number)
        rate = recipe.learning_rate * schedule(number / recipe.epochs, recipe.warmup)
        loss, accuracy = step.loss.item() / steps, step.correct.item() / (steps * batch)
        after_epoch(Epoch(number, rate, loss, accuracy), step.ema.eval())
        if is_best():
            step.keep_average()
        keep(Snapshot(number, steps, step.state()))
        if stop():
            raise Interrupted(f"interrupted after epoch {number}/{recipe.epochs}")
    if recipe.patience:
        step.restore_average()
    return step.ema.eval()


Batches = Callable[[int, Worker], tuple[Tensor, Tensor, Tensor | None]]
"""Index of a step, and the worker -> its share of the step's augmented images, labels and teacher logits."""


def _batches(
    parts: Sequence[Tensor],
    labels: Tensor,
    recipe: Recipe,
    number: int,
    teacher: Teacher | None,
    stop: Callable[[], bool],
) -> Batches:
    """The batches of one epoch; ``labels`` are those of all ``parts`` of the images, one after the other."""
    if recipe.steps_per_epoch:
        return _passes(torch.cat(tuple(parts)), labels, recipe, number, teacher)
    augmented, targets, teacher_logits = _one_pass(parts, labels, recipe, number, teacher, stop)
    batch = min(recipe.batch_size, len(labels))

    def batches(index: int, worker: Worker) -> tuple[Tensor, Tensor, Tensor | None]:
        part = worker.share(index * batch, batch)
        return augmented[part], targets[part], None if teacher_logits is None else teacher_logits[part]

    return batches


def _passes(images: Tensor, labels: Tensor, recipe: Recipe, number: int, teacher: Teacher | None) -> Batches:
    """The batches of ``steps_per_epoch`` steps, drawn from passes over the images; each is augmented when it is due."""
    batch = min(recipe.batch_size, len(images))
    needed, generator = recipe.steps_per_epoch * batch, new_generator(recipe.seed, number)
    passes = [torch.randperm(len(images), generator=generator) for _ in range(math.ceil(needed / len(images)))]
    order = torch.cat(passes).to(images.device)

    def batches(index: int, worker: Worker) -> tuple[Tensor, Tensor, Tensor | None]:
        chosen = order[index * batch : (index + 1) * batch]
        augmented = augmented_by(recipe, images[chosen], new_generator(recipe.seed, number, index))
        part = worker.share(0, batch)
        # One batch takes the teacher no time: the step is finished and saved before a training stops.
        return augmented[part], labels[chosen][part], teacher.logits(augmented[part]) if teacher else None

    return batches


def _one_pass(
    parts: Sequence[Tensor],
    labels: Tensor,
    recipe: Recipe,
    number: int,
    teacher: Teacher | None,
    stop: Callable[[], bool],
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Augmented images, labels and teacher logits of one pass over the images, in the order of its steps."""
    generator = new_generator(recipe.seed, number)
    order = torch.randperm(len(labels), generator=generator).to(labels.device)
    if not recipe.augmented_copies:
        augmented = augmented_by(recipe, torch.cat(tuple(parts))[order], generator)
        return augmented, labels[order], teacher.logits(augmented, stop) if teacher else None
    # Independent of seed and order, and each part of the others, so that the teacher's logits for it are in its cache.
    copy = (recipe.copy_seed, (number - 1) % recipe.augmented_copies)
    generators = [new_generator(*copy), *(new_generator(*copy, index) for index in range(1, len(parts)))]
    copies = [augmented_by(recipe, part, own) for part, own in zip(parts, generators, strict=True)]
    teacher_logits = torch.cat([teacher.logits(part, stop) for part in copies]) if teacher else None
    augmented = torch.cat(copies)
    if recipe.mixtures:
        assert teacher is not None, "the recipe has checked that"
        assert teacher_logits is not None
        mixed = mixtures_of(augmented, new_generator(*copy, len(parts)))
        mixed_logits = teacher.logits(mixed, stop)
        chosen = (torch.rand(len(labels), generator=generator) < recipe.mixtures).to(labels.device)
        augmented = torch.where(chosen[:, None, None, None], mixed, augmented)
        teacher_logits = torch.where(chosen[:, None], mixed_logits, teacher_logits)
        labels = torch.where(chosen, mixed_logits.argmax(1), labels)
    if recipe.copy_shift:
        augmented = augment(augmented, generator, crop=recipe.copy_shift, flip=recipe.flip, cutout=0)
    return augmented[order], labels[order], None if teacher_logits is None else teacher_logits[order]


def _check_finite(step: Step, epoch: int) -> None:
    if not step.is_finite():
        raise _diverged(epoch, step.recipe)


def _diverged(epoch: int, recipe: Recipe) -> Diverged:
    rate = recipe.learning_rate
    return Diverged(f"the loss is no longer finite in epoch {epoch}; lower the learning rate ({rate})")


def _mixtures(steps: int, alpha: float, seed: int, epoch: int) -> list[float]:
    """Mixup's share for each step of the epoch, from Beta(alpha, alpha); all 1 without mixup."""
    if not alpha:
        return [1.0] * steps
    shares: list[float] = np.random.default_rng((seed, epoch)).beta(alpha, alpha, steps).tolist()
    return shares


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Logits of ``network`` in evaluation mode, float32 ``[n, classes]``, for uint8 ``[n, S, S, 3]``."""
    network.eval()
    return torch.cat([network(pixels_to_input(part)) for part in images.split(_EVALUATION_BATCH)])
