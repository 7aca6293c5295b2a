"""Networks that no one here wrote, from PyTorch to all targets."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from cifar_edge.data import Dataset
from cifar_edge.export.quantize import quantize
from cifar_edge.export.targets import TARGETS, target_options, write_targets
from cifar_edge.folding.traced import fold_network
from cifar_edge.integer import Conv, IntegerNetwork
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
