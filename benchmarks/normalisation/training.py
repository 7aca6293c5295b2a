"""One training of the study, by the package's own loop, in whatever process."""

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from benchmarks.normalisation.results import Point, Row, Training
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.errors import TrainingError
from cifar_edge.models import build, default_recipe
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.runs.recipe import Recipe
from cifar_edge.training.loop import Epoch, fit, logits_of
from cifar_edge.training.run import training_images
from cifar_edge.training.step import Step

POINT_IMAGES = 2_560
"""Images of a point of the loss curve: ten steps of the largest batches, so that all sizes are averaged alike."""
_ONEDNN_BATCH = 16
_STATISTICS_IMAGES = 5_120
_STATISTICS_BATCH = 512


def recipe_of(training: Training, held_out_images: int) -> Recipe:
    """The reference's own recipe, but for what the study varies, in float32, without a moving average or decay.

    A moving average would hide the noise that small batches put into the weights, which is what is asked here; its
    decay is per step besides, so it would average over 64 times as many images with batches of 256 as with 4. Weight
    decay is 0 because it would meet LayerNorm's affine, which has three dimensions, and not that of the others.
    """
    return default_recipe(f"s8-{training.norm}").with_values(
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        epochs=training.epochs,
        seed=training.seed,
        holdout=held_out_images,
        ema_decay=0.0,
        weight_decay=0.0,
        precision="fp32",
    )


def train(training: Training, dataset: Dataset, held_out_images: int, *, final: bool) -> tuple[Row, list[Point]]:
    """Train once, on one thread, and measure; a loss that is not finite ends the training and is a result.

    Args:
        training: what to train.
        dataset: its first ``training.train_images + held_out_images`` training images are used.
        held_out_images: how many of these are held out, the same ones for every training.
        final: it is no try of a learning rate, which is told by held-out images alone; only this one has a curve.

    Raises:
        TrainingError: the data set has too few images.
    """
    needed = training.train_images + held_out_images
    if needed > len(dataset.train_labels):
        raise TrainingError(f"the study needs {needed} training images; {dataset.name} has {len(dataset.train_labels)}")
    started = time.monotonic()
    torch.set_num_threads(1)
    part = replace(dataset, train_images=dataset.train_images[:needed], train_labels=dataset.train_labels[:needed])
    recipe = recipe_of(training, held_out_images)
    images, labels, held_out = training_images(part, recipe.holdout, torch.device("cpu"))
    assert held_out is not None
    test = torch.from_numpy(dataset.test_images), torch.from_numpy(dataset.test_labels)
    curve = _Curve(training, held_out)
    torch.manual_seed(recipe.seed)
    try:
        with _convolutions_for(training.batch_size):
            network = fit(
                build(recipe.model, len(dataset.labels)),
                images,
                labels,
                recipe,
                after_step=curve.after_step,
                after_epoch=curve.after_epoch if final else lambda epoch, network: None,
            )
    except TrainingError:
        return _row(training, started), curve.points if final else []
    held_out_accuracy = accuracy(network, *held_out)
    if not final:
        return _row(training, started, held_out_accuracy=held_out_accuracy), []
    precise = with_precise_statistics(network, images) if training.norm == "batch" else None
    row = _row(
        training,
        started,
        train_accuracy=accuracy(network, images, labels),
        held_out_accuracy=held_out_accuracy,
        test_accuracy=accuracy(network, *test),
        precise_test_accuracy=None if precise is None else accuracy(precise, *test),
    )
    return row, curve.points


@contextmanager
def _convolutions_for(batch_size: int) -> Iterator[None]:
    """Leave oneDNN to larger batches: on tiny ones torch's own convolutions take a third less time."""
    before = bool(torch.backends.mkldnn.enabled)
    torch.backends.mkldnn.set_flags(before and batch_size >= _ONEDNN_BATCH)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(before)


class _Curve:
    """Follows a training: the mean loss of every `POINT_IMAGES`, the held-out accuracy of every epoch."""

    def __init__(self, training: Training, held_out: tuple[Tensor, Tensor]) -> None:
        self.points: list[Point] = []
        self._training, self._held_out = training, held_out
        self._steps_a_point = max(1, POINT_IMAGES // training.batch_size)
        self._sum, self._steps = 0.0, 0

    def after_step(self, epoch: int, index: int, steps: int, step: Step) -> None:
        if index % self._steps_a_point and index != steps:
            return
        if index <= self._steps_a_point:
            self._sum, self._steps = 0.0, 0
        total = step.loss.item()
        loss = (total - self._sum) / (index - self._steps)
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss} in epoch {epoch}")
        self._sum, self._steps = total, index
        seen = ((epoch - 1) * steps + index) * step.batch_size
        training = asdict(self._training)
        self.points.append(Point(**training, images=seen, loss=round(loss, 5), held_out_accuracy=None))

    def after_epoch(self, epoch: Epoch, network: nn.Module) -> None:
        self.points[-1] = replace(self.points[-1], held_out_accuracy=accuracy(network, *self._held_out))


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """In evaluation mode, in [0, 1]; ``images`` are uint8 ``[n, 32, 32, 3]``."""
    return round((logits_of(network, images).argmax(1) == labels).double().mean().item(), 5)


@torch.no_grad()
def with_precise_statistics(network: nn.Module, images: Tensor) -> nn.Module:
    """A copy whose batch norms hold the mean statistics of large batches of ``images``, uint8 ``[n, 32, 32, 3]``.

    In training they follow the last batches only, by a moving average (Wu & Johnson 2021, arXiv:2105.07576).
    """
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over all batches
            module.train()
    for batch in images[:_STATISTICS_IMAGES].split(_STATISTICS_BATCH):
        network(pixels_to_input(batch))
    return network


def _row(
    training: Training,
    started: float,
    *,
    train_accuracy: float | None = None,
    held_out_accuracy: float | None = None,
    test_accuracy: float | None = None,
    precise_test_accuracy: float | None = None,
) -> Row:
    return Row(
        **asdict(training),
        train_accuracy=train_accuracy,
        held_out_accuracy=held_out_accuracy,
        test_accuracy=test_accuracy,
        precise_test_accuracy=precise_test_accuracy,
        seconds=round(time.monotonic() - started, 1),
    )


_dataset: Dataset | None = None


def load_once(data: str | None) -> None:
    """Load the data set into this process, once for all its trainings."""
    global _dataset
    torch.set_num_threads(1)
    _dataset = load_dataset(data)


def train_here(training: Training, held_out_images: int, final: bool) -> tuple[Row, list[Point]]:
    """`train` with the data set that `load_once` loaded."""
    assert _dataset is not None
    return train(training, _dataset, held_out_images, final=final)
