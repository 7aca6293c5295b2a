"""What bigger networks with ImageNet weights make of a folder of photographs, beside an export of ours.

    python -m benchmarks.pictures.transfer DIR MODEL...

MODEL is what `cifar-edge evaluate` takes, trained on the images of DIR, which has ``train/`` and ``test/``. Beside it,
a logistic regression on pooled features of EfficientNet-Lite0 (what Teachable Machine does with MobileNet): of the
whole network, and of its beginning of some 500,000 parameters. It needs the extra ``teacher``. Latencies are times of
the processor, so that other work does not count, for one image on one thread, in turns in one process; float32 networks
run in onnxruntime too. The lines are written to ``transfer.csv``.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.results_file import write
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.measure.timing import machine, session_run
from cifar_edge.models.pixels import PixelNetwork
from cifar_edge.runs.resolve import resolve_model
from cifar_edge.runtime.model import load, run
from cifar_edge.training.pretrained import PretrainedTeacher, pretrained_teacher

RESULTS = Path(__file__).with_name("transfer.csv")
BEGINNING = 10
"""Blocks of the beginning: 530,528 parameters."""
FORMS = ((224, None), (128, None), (96, None), (64, None), (128, BEGINNING))
"""Size of the images, and blocks; None for the whole network."""
_BATCH = 32
_ROUNDS, _RUNS = 7, 10

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Line:
    """One network.

    Attributes:
        name: what it is.
        size: height and width of its images.
        accuracy: on the test images.
        images: number of these.
        parameters: number of them; None for an exported file.
        million_macs: multiply-accumulates of an image; None for an exported file.
        kilobytes: of the file, in thousands of bytes.
        microseconds: median latency of one image, on one thread.
    """

    name: str
    size: int
    accuracy: float
    images: int
    parameters: int | None
    million_macs: float | None
    kilobytes: float
    microseconds: float


class Features(nn.Module):
    """Pooled features of the first ``blocks`` blocks of EfficientNet-Lite0; of the whole network for None."""

    mean: Tensor
    std: Tensor

    def __init__(self, teacher: PretrainedTeacher, blocks: int | None) -> None:
        super().__init__()
        network = teacher.network
        self.register_buffer("mean", teacher.mean)
        self.register_buffer("std", teacher.std)
        ends = () if blocks is not None else (network._conv_head, network._bn1, network._swish)
        self.layers = nn.Sequential(
            network._conv_stem, network._bn0, network._swish, *list(network._blocks)[:blocks], *ends
        )

    def forward(self, inputs: Tensor) -> Tensor:
        colours = (inputs * 64 + 128) / 255
        pooled: Tensor = self.layers((colours - self.mean) / self.std).mean((2, 3))
        return pooled


def features_of(network: nn.Module, images: Images) -> npt.NDArray[np.float32]:
    """Its answers for uint8 ``[n, S, S, 3]``, float32."""
    pixels = PixelNetwork(network).eval()
    with torch.no_grad():
        parts = [pixels(part) for part in torch.from_numpy(images).split(_BATCH)]
    answers: npt.NDArray[np.float32] = torch.cat(parts).numpy()
    return answers


def macs_of(network: nn.Module, size: int) -> int:
    """Multiply-accumulates of one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    return int(counter.get_total_flops()) // 2


def onnx_of(network: nn.Module, size: int) -> bytes:
    """The network as an ONNX file that takes pixels."""
    example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        torch.onnx.export(
            PixelNetwork(network).eval(),
            (example,),
            path,
            input_names=["image"],
            output_names=["logits"],
            external_data=False,
        )
        return path.read_bytes()


def session_of(content: bytes) -> Any:
    """A session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def logistic_regression(features: Tensor, labels: Tensor, classes: int) -> nn.Linear:
    """The linear layer of least cross-entropy, summed over images, and half the squared weights, as scikit-learn's."""
    head = nn.Linear(features.shape[1], classes)
    solver = torch.optim.LBFGS(head.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> float:
        solver.zero_grad()
        value = F.cross_entropy(head(features), labels, reduction="sum") + head.weight.square().sum() / 2
        value.backward()
        return value.item()

    solver.step(loss)
    return head


def transferred(dataset: Dataset, blocks: int | None) -> tuple[nn.Module, float]:
    """EfficientNet-Lite0's features with a logistic regression behind them, and its accuracy on the test images."""
    labels = torch.from_numpy(dataset.train_labels)
    few = torch.from_numpy(dataset.train_images)[: len(dataset.labels)]
    features = Features(pretrained_teacher(few, labels[: len(few)], len(dataset.labels), False), blocks)
    known = torch.from_numpy(features_of(features, dataset.train_images))
    head = logistic_regression(known, labels, len(dataset.labels))
    network = nn.Sequential(features, head)
    accuracy = float((features_of(network, dataset.test_images).argmax(1) == dataset.test_labels).mean())
    return network, accuracy


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.pictures.transfer", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("models", nargs="*", metavar="MODEL")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines: list[tuple[Callable[[float], Line], Callable[[], object]]] = []

    def add(session: Any, dataset: Dataset, **values: Any) -> None:
        images = dataset.test_images
        about = {"size": dataset.size, "images": len(images), **values}
        lines.append(
            (lambda seconds: Line(microseconds=round(1e6 * seconds, 1), **about), session_run(session, images[:1]))
        )

    for name in given.models:
        path = resolve_model(name).path
        session, metadata = load(path, 1)
        dataset = load_dataset(given.folder, size=metadata.size)
        accuracy = float((run(session, dataset.test_images).argmax(1) == dataset.test_labels).mean())
        size = path.stat().st_size / 1e3
        add(session, dataset, name=path.stem, accuracy=accuracy, parameters=None, million_macs=None, kilobytes=size)
    for size, blocks in FORMS:
        dataset = load_dataset(given.folder, size=size)
        network, accuracy = transferred(dataset, blocks)
        content = onnx_of(network, size)
        add(
            session_of(content),
            dataset,
            name="EfficientNet-Lite0" if blocks is None else f"its first {blocks} blocks",
            accuracy=accuracy,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            million_macs=round(macs_of(network, size) / 1e6, 1),
            kilobytes=len(content) / 1e3,
        )
        print(f"{size} {blocks}: {accuracy:.1%}", flush=True)
    times: list[list[float]] = [[] for _ in lines]
    for _ in range(_ROUNDS):
        for (_, call), seconds in zip(lines, times, strict=True):
            start = process_time()
            for _ in range(_RUNS):
                call()
            seconds.append((process_time() - start) / _RUNS)
    rows = [line(median(seconds)) for (line, _), seconds in zip(lines, times, strict=True)]
    write(RESULTS, Line, rows)
    print(machine())
    for row in rows:
        print(
            f"{row.name:<24} {row.size:>4} {row.accuracy:7.2%} {row.kilobytes:10,.1f} kB {row.microseconds:10,.1f} us"
        )


if __name__ == "__main__":
    main()
