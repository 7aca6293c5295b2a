"""What makes training fast on a CPU: a plain PyTorch loop, made faster choice by choice until it is `cifar-edge train`.

    python -m benchmarks.training.speed [MODEL...]

Every way trains the same network by SGD on the same images, all ways in turns within one run, after a warm-up that is
not counted (a compiler's time among it). Results go to benchmarks/training/speed.csv; docs/training.md says
what follows.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import click
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from benchmarks import results_file
from cifar_edge.cli.loading import data_options, load
from cifar_edge.data import Dataset
from cifar_edge.errors import CifarEdgeError
from cifar_edge.models import build, default_recipe
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.training.augmentation import augment
from cifar_edge.training.checkpoint import new_generator
from cifar_edge.training.step import Step

RESULTS = Path(__file__).with_suffix(".csv")
MODELS = ("gn-cnn", "s8-group")
BATCH = 128
_CPU = torch.device("cpu")
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True)
class Way:
    """How a step is taken.

    Attributes:
        name: for the table.
        workers: processes of the DataLoader; None augments all images of an epoch at once, without one.
        optimizer: what SGD is told beside its rates.
        bf16: forward and loss under autocast.
        channels_last: memory format of weights and images.
        compile: options of torch.compile for forward and loss; None leaves them eager.
        package: by `cifar_edge.training.step.Step`, which also averages the weights and counts.
    """

    name: str
    workers: int | None = None
    optimizer: Mapping[str, bool] = field(default_factory=lambda: {"fused": True})
    bf16: bool = True
    channels_last: bool = False
    compile: Mapping[str, bool] | None = None
    package: bool = False


_PLAIN = Way("DataLoader, torchvision transforms", workers=0, optimizer={"foreach": False}, bf16=False)
WAYS = (
    _PLAIN,
    replace(_PLAIN, name="the same, two worker processes", workers=2),
    replace(_PLAIN, name="whole-set augmentation instead", workers=None),
    Way("+ fused SGD", bf16=False),
    Way("+ bf16 autocast"),
    Way("+ bf16 autocast, channels last", channels_last=True),
    Way("+ bf16 autocast, torch.compile", compile={}),
    Way("+ bf16 autocast, torch.compile, NCHW kept", compile={"layout_optimization": False}),
    Way("`cifar-edge train`", package=True),
)


@dataclass(frozen=True)
class Result:
    """One line of the CSV file.

    Attributes:
        model: registered name of the network.
        way: name of the `Way`.
        threads: of torch.
        images_per_second: median over the rounds.
        ratio: to the first way, the median of the rounds' ratios.
    """

    model: str
    way: str
    threads: int
    images_per_second: float
    ratio: float


class _Pictures(TorchDataset[tuple[Tensor, int]]):
    """As torchvision serves CIFAR-10: a PIL image each, through its transforms."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images.numpy(), labels.tolist()
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, DEVIATION),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def trainer(way: Way, model: str, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """A function that trains one epoch on ``images`` (uint8 ``[n, 32, 32, 3]``) each time it is called."""
    torch.manual_seed(0)
    network = build(model).train()
    if way.package:
        step = Step(network, default_recipe(model).with_values(precision="bf16", muon_learning_rate=0.0), _CPU)

        def package_epoch() -> None:
            step.start_epoch()
            for pixels, targets in pixel_batches(images, labels):
                step(pixels, targets, position=0.5)

        return package_epoch
    if way.channels_last:
        network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=3e-4, **way.optimizer
    )

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=way.bf16):
            return F.cross_entropy(network(inputs).float(), targets)

    objective = loss_of if way.compile is None else torch.compile(loss_of, options=dict(way.compile))

    def epoch() -> None:
        for inputs, targets in batches(way, images, labels):
            optimizer.zero_grad()
            objective(inputs, targets).backward()
            optimizer.step()

    return epoch


def batches(way: Way, images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Float32 ``[BATCH, 3, 32, 32]`` and labels, augmented by crop and flip."""
    if way.workers is not None:
        loader = DataLoader(_Pictures(images, labels), BATCH, shuffle=True, drop_last=True, num_workers=way.workers)
        yield from loader
        return
    for pixels, targets in pixel_batches(images, labels):
        inputs = pixels_to_input(pixels)
        yield inputs.to(memory_format=torch.channels_last) if way.channels_last else inputs, targets


def pixel_batches(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Uint8 ``[BATCH, 32, 32, 3]`` and labels, augmented all at once."""
    generator = new_generator(0)
    order = torch.randperm(len(images), generator=generator)
    seen = augment(images[order], generator, crop=4, flip=True, cutout=0)
    yield from zip(seen.split(BATCH), labels[order].split(BATCH), strict=True)


def measure(model: str, images: Tensor, labels: Tensor, ways: Sequence[Way], rounds: int) -> list[Result]:
    """Each of ``ways`` once a round, after one call that is not counted."""
    epochs = {way.name: trainer(way, model, images, labels) for way in ways}
    for epoch in epochs.values():
        epoch()
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            start = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - start)
    first = seconds[ways[0].name]
    return [
        Result(
            model,
            name,
            torch.get_num_threads(),
            round(len(images) / median(taken)),
            round(median(a / b for a, b in zip(first, taken, strict=True)), 2),
        )
        for name, taken in seconds.items()
    ]


def parts(model: str, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Seconds that each part of an epoch takes, in the way of `cifar-edge train` but part by part."""
    way = Way("parts")
    network = build(model).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, fused=True)
    taken = dict.fromkeys(("augmentation", "forward", "backward", "optimiser"), 0.0)
    last = time.perf_counter()

    def passed(part: str) -> None:
        nonlocal last
        now = time.perf_counter()
        taken[part] += now - last
        last = now

    for inputs, targets in batches(way, images, labels):
        passed("augmentation")
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(inputs).float(), targets)
        passed("forward")
        optimizer.zero_grad()
        loss.backward()
        passed("backward")
        optimizer.step()
        passed("optimiser")
    return taken


def tensors(dataset: Dataset, images: int) -> tuple[Tensor, Tensor]:
    """The first training images and their labels; whole batches of them."""
    count = min(images, len(dataset.train_images)) // BATCH * BATCH
    return torch.from_numpy(dataset.train_images[:count]), torch.from_numpy(dataset.train_labels[:count])


@click.command()
@click.argument("models", nargs=-1)
@click.option("--images", type=click.IntRange(min=BATCH), default=12_800, show_default=True, help="Of an epoch.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Times each way is measured.")
@data_options
def main(models: tuple[str, ...], images: int, rounds: int, data: str | None, offline: bool) -> None:
    """Measure each way of training each of MODELS (gn-cnn and s8-group if none is named)."""
    try:
        chosen = tensors(load(data, offline), images)
        results = results_file.read(RESULTS, Result)
        for model in models or MODELS:
            found = measure(model, *chosen, WAYS, rounds)
            results = [result for result in results if result.model != model] + found
            for result in found:
                click.echo(f"{result.model:<9}{result.way:<40}{result.images_per_second:>8,.0f}/s{result.ratio:>7.2f}")
            taken = parts(model, *chosen)
            shares = ", ".join(f"{part} {seconds / sum(taken.values()):.0%}" for part, seconds in taken.items())
            click.echo(f"{model:<9}{shares}")
        results_file.write(RESULTS, Result, results)
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
