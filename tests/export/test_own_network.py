"""Networks that no one here wrote, from PyTorch to all targets."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_helpers import BATCH, STEPS
from torch import nn

import cifar_edge.export as edge
from cifar_edge import Classifier
from cifar_edge.data import Dataset
from cifar_edge.errors import CifarEdgeError, ExportError
from cifar_edge.export.fp32 import network_graph, with_pixels
from cifar_edge.export.graphs import serialize
from cifar_edge.export.integers import quantize
from cifar_edge.export.targets import TARGETS, target_options, write_targets
from cifar_edge.folding.traced import TracedNetwork, fold_network
from cifar_edge.integer import Conv, IntegerNetwork
from cifar_edge.runtime.model import load, run
from cifar_edge.spec import ModelMetadata


def plain() -> nn.Module:
    """Clips of every form, padding of the image, a residual and batch norms."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.Hardtanh(-0.5, 2.0),
        nn.Conv2d(8, 12, 3, 2, 1),
        nn.ReLU6(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 10),
    ).eval()


def metadata(labels: tuple[str, ...]) -> ModelMetadata:
    return ModelMetadata("plain", "int8", labels, 1, 1, "0" * 64, None, 0, {}, "2026-01-01T00:00:00+00:00")


def test_all_targets_pad_with_the_pixel_of_the_mean(sample: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folded = fold_network(plain(), torch.tensor(sample.train_images[:8]), (100.0,) * 3, (60.0,) * 3)
    integers = quantize(folded.layers, sample.train_images[:64])
    first = integers.layers[0]
    assert isinstance(first, Conv)
    assert (integers.pixels.zero_point, first.padding) == (100, (1, 1, 1, 1))
    images, labels = sample.test_images[:100], sample.test_labels[:100]
    written = write_targets(target_options(TARGETS, {}), integers, metadata(sample.labels), images, labels)
    assert set(written) == set(TARGETS)
    file = tmp_path / "plain.int8.onnx"
    file.write_bytes(written["onnx"].files["plain.int8.onnx"])
    assert IntegerNetwork.from_onnx(file) == integers


def test_codes_end_where_a_clip_does(sample: Dataset) -> None:
    torch.manual_seed(0)
    folded = fold_network(plain(), torch.tensor(sample.train_images[:8]), (100.0,) * 3, (60.0,) * 3)
    first, *_ = quantize(folded.layers, sample.train_images[:64], fit=False).layers
    assert isinstance(first, Conv)
    scale, zero_point, largest = first.output.scale, first.output.zero_point, first.output.largest
    assert np.isclose(-zero_point * scale, -0.5, atol=scale)
    assert np.isclose((largest - zero_point) * scale, 2.0, atol=2 * scale)


class Network(nn.Module):
    """A user's network: a stem, a residual with a projection, two Linear layers, and norms of one kind."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), norm(16), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(16, 24, 3, 2, 1), norm(24), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1), norm(24)
        )
        self.project = nn.Conv2d(16, 24, 1, 2)
        self.classifier = nn.Sequential(nn.Linear(24 * 4, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(self.block(x) + self.project(x))
        logits: torch.Tensor = self.classifier(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))
        return logits


MEAN, STD = 120.0, 60.0


def trained(network: nn.Module, sample: Dataset) -> nn.Module:
    """``network`` after some steps on ``(p - MEAN) / STD``, in evaluation mode."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for step in range(2 * STEPS):
        part = torch.arange(BATCH * step, BATCH * (step + 1)) % len(sample.train_labels)
        x = (torch.tensor(sample.train_images)[part].permute(0, 3, 1, 2).contiguous() - MEAN) / STD
        loss = nn.functional.cross_entropy(network(x), torch.tensor(sample.train_labels)[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def network(sample: Dataset) -> nn.Module:
    torch.manual_seed(0)
    return trained(Network(), sample)


def answers(network: nn.Module, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    x = (torch.tensor(images).permute(0, 3, 1, 2).contiguous() - MEAN) / STD
    with torch.no_grad():
        found: np.ndarray[Any, Any] = network(x).numpy()
    return found


def test_from_a_network_to_files(sample: Dataset, network: nn.Module, tmp_path: Path) -> None:
    folded = edge.fold(network, sample.train_images, mean=MEAN, std=STD)
    integers = edge.quantize(folded, sample.train_images)
    test = sample.test_images, sample.test_labels
    report = edge.export(
        integers, tmp_path / "out", targets=["c"], reference=network, test=test, labels=sample.labels, name="mine"
    )
    fp32, folding, int8 = report.rows
    assert fp32.comparison.max_difference < 1e-4
    assert folding.comparison.max_difference < 1e-4
    assert int8.comparison.agreement > 0.95
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "mine.fp32.onnx",
        "mine.int8.onnx",
        "mine.c",
        "report.json",
        "report.md",
    }
    for precision in ("fp32", "int8"):
        classifier = Classifier(tmp_path / "out" / f"mine.{precision}.onnx")
        assert classifier.metadata.normalization == "(p - 120) / 60"
        found = [classifier.predict(image).label for image in sample.test_images[:50]]
        wanted = [sample.labels[index] for index in answers(network, sample.test_images[:50]).argmax(1)]
        assert np.mean([one == other for one, other in zip(found, wanted, strict=True)]) > 0.9


def test_debug_names_the_modules_of_the_network(sample: Dataset, network: nn.Module) -> None:
    integers = edge.quantize(edge.fold(network, sample.train_images, mean=MEAN, std=STD), sample.train_images)
    signals = edge.debug(integers, sample.test_images)
    names = [signal.layer for signal in signals.layers]
    assert names == [
        "stem.0",
        "block.0",
        "block.3",
        "project",
        "add",
        "adaptive_avg_pool2d",
        "classifier.0",
        "classifier.3",
    ]
    assert all(signal.rounding > 10 and (signal.folding or 100) > 80 for signal in signals.layers)
    assert signals.advice in signals.to_table()


@pytest.mark.parametrize("norm", [partial(nn.GroupNorm, 4), partial(nn.InstanceNorm2d, affine=True)])
def test_finetuning_recovers_what_fitted_norms_lose(sample: Dataset, norm: Callable[[int], nn.Module]) -> None:
    torch.manual_seed(0)
    network = trained(Network(norm), sample)
    folded = edge.fold(network, sample.train_images, mean=MEAN, std=STD)
    data = sample.train_images, sample.train_labels
    tuned = edge.finetune(folded, data, teacher=network, epochs=4)
    wanted = answers(network, sample.train_images).argmax(1)
    before, after = (
        float(np.mean(edge.torch_logits(each, sample.train_images).argmax(1) == wanted)) for each in (folded, tuned)
    )
    assert before < after
    assert edge.debug(edge.quantize(tuned, sample.train_images), sample.test_images).layers[-1].folding is not None


def test_a_channel_that_never_fires_is_exported(sample: Dataset, network: nn.Module) -> None:
    made = Network()
    made.load_state_dict(network.state_dict())
    with torch.no_grad():
        first = made.stem[1]
        assert isinstance(first, nn.BatchNorm2d)
        first.weight[3], first.bias[3] = 0.0, -1.0
    integers = edge.quantize(edge.fold(made.eval(), sample.train_images, mean=MEAN, std=STD), sample.train_images)
    wanted = answers(made, sample.test_images)
    assert np.mean(integers(sample.test_images).argmax(1) == wanted.argmax(1)) > 0.9


def nan(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    return network


def negative_variance(network: nn.Module) -> nn.Module:
    network.get_buffer("stem.1.running_var")[3] = -1.0
    return network


class Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.dtype)


BAD_NETWORKS: dict[str, Callable[[nn.Module], object]] = {
    "training mode; call network.eval": lambda network: network.train(),
    "stem.1 is in training mode": lambda network: [network.eval(), network.get_submodule("stem.1").train()] and network,
    "stem.0.weight is float64; call network.float": lambda network: network.double(),
    "stem.0.weight is on meta; call network.cpu": lambda network: network.to("meta"),
    "stem.0.weight holds NaN": nan,
    "not a torch.nn.Module": lambda network: "network",
    "is a DataParallel; give its .module": nn.DataParallel,
    "0.weight has no shape yet": lambda network: nn.Sequential(nn.LazyConv2d(8, 3), nn.Flatten()).eval(),
    "1,200 classes; 2 to 1,000": lambda network: nn.Sequential(nn.Flatten(), nn.Linear(3072, 1200)).eval(),
    "returns a tensor .*logits": lambda network: nn.Conv2d(3, 3, 1).eval(),
    "takes 2 inputs|cannot classify": lambda network: nn.Bilinear(3, 3, 2).eval(),
    "stem.1.running_var is negative, which no variance is": negative_variance,
    "returns float64; .* logits in float32": lambda network: nn.Sequential(network, Cast(torch.float64)).eval(),
    "returns uint8; .* logits in float32": lambda network: nn.Sequential(network, Cast(torch.uint8)).eval(),
}


@pytest.mark.parametrize("message", BAD_NETWORKS)
def test_a_network_that_cannot_be_folded_is_one_line(sample: Dataset, message: str) -> None:
    with pytest.raises(ExportError) as caught:
        edge.fold(BAD_NETWORKS[message](Network().eval()), sample.train_images)  # type: ignore[arg-type]
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)


BAD_IMAGES: dict[str, Callable[[np.ndarray[Any, Any]], object]] = {
    "uint8 pixels, .* not a float32 array": lambda images: images.astype(np.float32),
    "not a list": lambda images: images.tolist(),
    "the shape .*not .n, S, S, 3.; give images.transpose.0, 2, 3, 1.": lambda images: images.transpose(0, 3, 1, 2),
    "30x30 pixels; S is a multiple of 16": lambda images: images[:, 1:-1, 1:-1],
    "images are 1; give 2 or more": lambda images: images[:1],
}


@pytest.mark.parametrize("message", BAD_IMAGES)
def test_images_of_another_form_are_one_line(sample: Dataset, network: nn.Module, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        edge.fold(network, BAD_IMAGES[message](sample.train_images))  # type: ignore[arg-type]


MISUSES: dict[str, Callable[[nn.Module, TracedNetwork, edge.Quantized, tuple[Any, Any]], object]] = {
    "quantize takes what fold or finetune returned, not a Network; the order is fold, quantize, export": (
        lambda network, folded, made, data: edge.quantize(network, data[0])  # type: ignore[arg-type]
    ),
    "quantize takes .*, not a Quantized": (
        lambda network, folded, made, data: edge.quantize(made, data[0])  # type: ignore[arg-type]
    ),
    "finetune takes what fold returned, not a Network": (
        lambda network, folded, made, data: edge.finetune(network, data)  # type: ignore[arg-type]
    ),
    "debug takes what quantize returned, not a TracedNetwork": (
        lambda network, folded, made, data: edge.debug(folded, data[0])  # type: ignore[arg-type]
    ),
    "export takes what quantize returned, not a TracedNetwork": (
        lambda network, folded, made, data: edge.export(folded, "out", test=data)  # type: ignore[arg-type]
    ),
    "the network is a TracedNetwork; give the network that was folded": (
        lambda network, folded, made, data: edge.fold(folded, data[0])
    ),
    "the network is a class; give an instance, Network": (
        lambda network, folded, made, data: edge.fold(Network, data[0])  # type: ignore[arg-type]
    ),
    "the teacher is a TracedNetwork; give the network that was folded": (
        lambda network, folded, made, data: edge.finetune(folded, data, teacher=folded)
    ),
    "the teacher has 7 classes, but the network has 10": (
        lambda network, folded, made, data: edge.finetune(
            folded, data, teacher=nn.Sequential(nn.Flatten(), nn.Linear(3072, 7)).eval()
        )
    ),
    "the reference has 7 classes, but the network has 10": (
        lambda network, folded, made, data: edge.export(
            made, "out", test=data, reference=nn.Sequential(nn.Flatten(), nn.Linear(3072, 7)).eval()
        )
    ),
    "epochs = 1.5 is not a whole number": (
        lambda network, folded, made, data: edge.finetune(folded, data, epochs=1.5)  # type: ignore[arg-type]
    ),
    "epochs = 0 is not between": lambda network, folded, made, data: edge.finetune(folded, data, epochs=0),
    "learning_rate = '1' is not a number": (
        lambda network, folded, made, data: edge.finetune(folded, data, learning_rate="1")  # type: ignore[arg-type]
    ),
    "data labels are 3, but the images are 64": (
        lambda network, folded, made, data: edge.finetune(folded, (data[0], data[1][:3]))
    ),
    "data labels are no array of whole numbers": (
        lambda network, folded, made, data: edge.finetune(folded, (data[0], [[1], [1, 2]]))  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("message", MISUSES)
def test_misuse_is_one_line(
    sample: Dataset, network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = sample.train_images[:64], sample.train_labels[:64]
    folded = edge.fold(network, data[0], mean=MEAN, std=STD)
    made = edge.quantize(folded, data[0])
    with pytest.raises(CifarEdgeError, match=f"^{message}") as caught:
        MISUSES[message](network, folded, made, data)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_arrays_may_be_views_with_negative_strides(sample: Dataset, network: nn.Module, tmp_path: Path) -> None:
    images, labels = sample.train_images[:64, :, ::-1], sample.train_labels[:64][::-1]
    folded = edge.fold(network, images, mean=MEAN, std=STD)
    tuned = edge.finetune(folded, (images, labels), epochs=1)
    made = edge.quantize(tuned, images)
    assert edge.debug(made, images).layers
    assert edge.export(made, tmp_path / "out", test=(images, labels), reference=network, max_drop=100).rows
    copies = edge.quantize(folded, np.ascontiguousarray(images))
    assert edge.quantize(folded, images).integers == copies.integers


def larger(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.pad(images, ((0, 0), (8, 8), (8, 8), (0, 0)))


LATER: dict[str, Callable[[edge.Quantized, np.ndarray[Any, Any], np.ndarray[Any, Any]], object]] = {
    "finetune": lambda made, images, labels: edge.finetune(made.folded, (images, labels), epochs=1),
    "quantize": lambda made, images, labels: edge.quantize(made.folded, images),
    "debug": lambda made, images, labels: edge.debug(made, images),
    "export": lambda made, images, labels: edge.export(made, "out", test=(images, labels)),
}


@pytest.mark.parametrize("step", LATER)
def test_images_of_another_size_are_one_line_in_each_step(
    sample: Dataset, network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folded = edge.fold(network, sample.train_images, mean=MEAN, std=STD)
    made = edge.quantize(folded, sample.train_images[:8])
    with pytest.raises(ExportError, match="images are 48x48 pixels; S is 32"):
        LATER[step](made, larger(sample.train_images[:8]), sample.train_labels[:8])
    assert not list(tmp_path.iterdir())


def test_a_pool_of_several_windows_is_exported(sample: Dataset) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d((2, 5)), nn.Flatten(), nn.Linear(40, 10)).eval()
    about = replace(metadata(sample.labels), precision="fp32")
    file = serialize(with_pixels(network_graph(network, 32)), about)
    found = run(load(file).session, sample.test_images[:20])
    assert np.abs(found - edge.torch_logits(network, sample.test_images[:20])).max() < 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["cat"]}, "labels are 1 names"),
        ({"labels": ["cat"] * 10}, "different names"),
        ({"name": "../x"}, "is not made of at most 100 letters"),
        ({"targets": ["coreml"]}, "no target is called"),
        ({"test": None}, "is a pair"),
        ({"reference": nn.Linear(3, 3)}, "the reference is in training mode; call reference.eval"),
        ({"max_drop": -1}, "max_drop = -1 is not a number of percentage points of 0 or more"),
        ({"max_drop": "1"}, "max_drop = '1' is not a number"),
        ({"labels": "abcdefghij"}, "labels are the text 'abcdefghij'; give a list of names"),
        ({"labels": []}, "labels are empty; give 10 names"),
        ({"labels": 10}, "labels are an int; give a list of names"),
        ({"targets": "litert"}, "give a list of them, .'litert'."),
        ({"name": 3}, "is not made of at most 100 letters"),
    ],
)
def test_nothing_is_written_after_an_error(
    sample: Dataset, network: nn.Module, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    integers = edge.quantize(edge.fold(network, sample.train_images, mean=MEAN, std=STD), sample.train_images[:64])
    arguments = {"test": (sample.test_images, sample.test_labels), "labels": sample.labels}
    with pytest.raises(CifarEdgeError, match=message):
        edge.export(integers, tmp_path / "out", **(arguments | changes))
    assert not list(tmp_path.iterdir())
