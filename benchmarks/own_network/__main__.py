"""Networks that are not of this package, taken as they are through `cifar_edge.export`: accuracy and latency.

    pip install -c constraints.txt '.[train,litert]'
    python -m benchmarks.own_network resnet20 mobilenet-v1 mobilenet-v2 vgg-gn
    python -m benchmarks.own_network resnet8 --resnet8 pretrainedResnet.tflite --test-images 10000

resnet8 is MLPerf Tiny's, with the weights that mlcommons/tiny publishes, in the folder
benchmark/training/image_classification/trained_models. The others are trained for --steps steps alone, so that their
accuracy says nothing but how much of it is kept. The int8 file is timed in turns with the fp32 file and with what
onnxruntime's quantize_static makes of that, with uint8 activations, int8 weights per channel and the ranges of the
pixels given.

Adds a line for each network to benchmarks/own_network/results.csv.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import mobilenet_v2

import cifar_edge.export as edge
from benchmarks import results_file
from benchmarks.own_network.networks import ResNet8, mobilenet_v1, resnet20, vgg_group_norm
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.export.fp32 import network_graph
from cifar_edge.export.graphs import serialize
from cifar_edge.export.static import quantize_static_graph
from cifar_edge.measure.timing import machine, time_alternately
from cifar_edge.models.summary import count_parameters
from cifar_edge.runtime.model import load, run

RESULTS = Path(__file__).with_name("results.csv")
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
"""Of CIFAR-10's channels, as most of its recipes have them."""

NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "resnet20": resnet20,
    "mobilenet-v1": mobilenet_v1,
    "mobilenet-v2": partial(mobilenet_v2, num_classes=10, width_mult=0.35),
    "vgg-gn": vgg_group_norm,
}


@dataclass(frozen=True)
class Line:
    """A network; accuracies in percent, latencies of one image with one thread in microseconds.

    Attributes:
        folded: of the folded network, fine-tuned where ``finetuned`` is not 0 epochs.
        agreement: share of test images, in percent, that int8 puts in the class of the network.
        static: accuracy of quantize_static.
    """

    network: str
    parameters: int
    finetuned: int
    images: int
    accuracy: float
    folded: float
    int8: float
    agreement: float
    static: float
    fp32_us: float
    int8_us: float
    static_us: float
    machine: str


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(["resnet8", *NETWORKS]), required=True)
@click.option("--resnet8", "file", type=click.Path(exists=True, path_type=Path), help="The float .tflite of ResNet-8.")
@click.option("--steps", default=150, show_default=True, help="Steps of training, of 64 images.")
@click.option("--finetune", default=0, show_default=True, help="Epochs, over 5,000 images, after folding.")
@click.option("--calibration", default=256, show_default=True, help="Images that int8 is calibrated on.")
@click.option("--test-images", default=5_000, show_default=True)
def command(
    names: tuple[str, ...], file: Path | None, steps: int, finetune: int, calibration: int, test_images: int
) -> None:
    """Take each of NAMES through fold, quantize and export."""
    dataset = load_dataset()
    for name in names:
        mean, std = MEAN, STD
        if name == "resnet8":
            if file is None:
                raise click.UsageError("resnet8 needs --resnet8 FILE.")
            network: nn.Module = ResNet8(file).eval()
            mean, std = (0.0,) * 3, (1.0,) * 3
        else:
            torch.manual_seed(0)
            network = trained(NETWORKS[name](), dataset, steps)
        line = measured(name, network, dataset, mean, std, finetune, calibration, test_images)
        results_file.append(RESULTS, line)
        click.echo(line)


def trained(network: nn.Module, dataset: Dataset, steps: int) -> nn.Module:
    """``network`` after some steps of SGD with a falling learning rate, in evaluation mode."""
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


def measured(
    name: str,
    network: nn.Module,
    dataset: Dataset,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    finetune: int,
    calibration: int,
    test_images: int,
) -> Line:
    """The whole way of one network."""
    images, labels = dataset.test_images[:test_images], dataset.test_labels[:test_images]
    folded = edge.fold(network, dataset.train_images[:1000], mean=mean, std=std)
    if finetune:
        data = dataset.train_images[:5000], dataset.train_labels[:5000]
        folded = edge.finetune(folded, data, teacher=network, epochs=finetune)
    integers = edge.quantize(folded, dataset.train_images[:calibration])
    with tempfile.TemporaryDirectory() as folder:
        report = edge.export(
            integers, Path(folder, name), test=(images, labels), labels=dataset.labels, name=name, max_drop=100.0
        )
        sessions = {
            precision: load(Path(folder, name, f"{name}.{precision}.onnx")).session for precision in ("fp32", "int8")
        }
        about = load(Path(folder, name, f"{name}.int8.onnx")).metadata
    graph = network_graph(folded.origin.traced, dataset.size)
    static = quantize_static_graph(graph, dataset.train_images[:calibration])
    sessions["static"] = load(serialize(static, about)).session
    timings = {key: 1e6 * timing.p50_seconds for key, timing in time_alternately(sessions, images).items()}
    right = float(np.mean(run(sessions["static"], images).argmax(1) == labels))
    fp32, folding, int8 = report.rows
    accuracies = [round(100 * row.accuracy.value, 2) for row in (fp32, folding, int8)]
    return Line(
        network=name,
        parameters=count_parameters(network),
        finetuned=finetune,
        images=len(images),
        accuracy=accuracies[0],
        folded=accuracies[1],
        int8=accuracies[2],
        agreement=round(100 * int8.comparison.agreement, 2),
        static=round(100 * right, 2),
        fp32_us=round(timings["fp32"], 1),
        int8_us=round(timings["int8"], 1),
        static_us=round(timings["static"], 1),
        machine=machine(),
    )


if __name__ == "__main__":
    command()
