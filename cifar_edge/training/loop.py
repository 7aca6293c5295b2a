"""The training loop: epochs of augmented batches through a `Step`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cifar_edge.errors import TrainingError
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.training.augmentation import augment
from cifar_edge.training.checkpoint import new_generator
from cifar_edge.training.recipe import Recipe
from cifar_edge.training.step import Step, schedule

_EVALUATION_BATCH = 500


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch gave: `loss` and `accuracy` (in [0, 1]) on the augmented training images, as they were seen."""

    number: int
    learning_rate: float
    loss: float
    accuracy: float


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    teacher: nn.Module | None = None,
    after_step: Callable[[int, int, int, Step], None] = lambda epoch, index, steps, step: None,
    after_epoch: Callable[[Epoch, nn.Module], None] = lambda epoch, average: None,
) -> nn.Module:
    """Train ``network`` in place and return its moving average.

    Args:
        network: on the device of ``images``; float32 ``[batch, 3, 32, 32]`` in, logits out.
        images: uint8 ``[n, 32, 32, 3]``.
        labels: int64 ``[n]``.
        recipe: resolved, so its precision is ``bf16`` or ``fp32``.
        teacher: a frozen network to distil from, on the same device.
        after_step: called with the epoch (from 1), the step in it (from 1), the steps of an epoch, and the `Step`.
        after_epoch: called with what the epoch gave and the averaged network, in evaluation mode.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    batch = min(recipe.batch_size, len(images))
    steps = len(images) // batch
    step = Step(network, teacher, recipe, images.device)
    for number in range(1, recipe.epochs + 1):
        generator = new_generator(recipe.seed, number)
        order = torch.randperm(len(images), generator=generator).to(images.device)
        seen = augment(images[order], generator, crop=recipe.crop, flip=recipe.flip, cutout=recipe.cutout)
        targets = labels[order]
        mixtures = _mixtures(steps, recipe.mixup, recipe.seed, number)
        step.start_epoch()
        for index in range(steps):
            part = slice(index * batch, (index + 1) * batch)
            position = ((number - 1) * steps + index + 1) / (recipe.epochs * steps)
            step(seen[part], targets[part], position, mixtures[index])
            after_step(number, index + 1, steps, step)
        loss = step.loss.item() / steps
        if loss != loss or loss == float("inf"):
            raise TrainingError(f"the loss is {loss} in epoch {number}; lower learning_rate ({recipe.learning_rate})")
        rate = recipe.learning_rate * schedule(number / recipe.epochs, recipe.warmup)
        accuracy = step.correct.item() / (steps * batch)
        after_epoch(Epoch(number, rate, loss, accuracy), step.average.eval())
    return step.average.eval()


def _mixtures(steps: int, alpha: float, seed: int, epoch: int) -> list[float]:
    """One share for each step of the epoch, from Beta(alpha, alpha); ones without mixup."""
    if not alpha:
        return [1.0] * steps
    shares: list[float] = np.random.default_rng((seed, epoch)).beta(alpha, alpha, steps).tolist()
    return shares


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Logits in evaluation mode and float32, ``[n, classes]``, of uint8 ``[n, 32, 32, 3]``, batch by batch."""
    network.eval()
    return torch.cat([network(pixels_to_input(part)) for part in images.split(_EVALUATION_BATCH)])
