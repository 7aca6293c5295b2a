"""Scales of activations: what shares one, what is clipped, and where a residual's shortcut has a finer one."""

import numpy as np
import pytest
import torch
from export_helpers import NETWORKS, answers, numerators, residual
from torch import nn

from cifar_edge.data import Dataset
from cifar_edge.export.calibration import Histogram, calibrate, histograms, least_error_scale
from cifar_edge.export.float_network import float_layers
from cifar_edge.export.integers import quantize
from cifar_edge.export.parity import compare, torch_logits
from cifar_edge.integer import AveragePool
from cifar_edge.integer.quantization import DENOMINATOR


def test_what_is_added_shares_a_scale(sample: Dataset) -> None:
    torch.manual_seed(0)
    layers = float_layers(NETWORKS["residuals"]().eval().requires_grad_(False))[:-1]
    outputs = calibrate(layers, sample.train_images[:64])
    stem, identity, projection, _ = layers
    assert outputs[stem].scale == outputs[identity].scale == outputs[identity.layers[-1]].scale
    assert outputs[projection].scale == outputs[projection.layers[-1]].scale == outputs[projection.shortcut[-1]].scale
    assert outputs[projection].scale != outputs[identity].scale
    assert [outputs[layer].zero_point for layer in (stem, identity, projection)] == [0, 0, 0]
    assert [outputs[layer.layers[-1]].zero_point for layer in (identity, projection)] == [128, 128]
    assert outputs[projection].largest == min(255, round(6 / outputs[projection].scale))


def test_a_shortcut_of_small_values_has_a_finer_scale(sample: Dataset) -> None:
    torch.manual_seed(0)
    network = NETWORKS["growing"]().eval().requires_grad_(False)
    images = sample.train_images
    integers = quantize(network, images)
    found = numerators(integers.layers[:-1], integers.pixels)
    assert len(found) == 4
    assert min(found) < DENOMINATOR / 2
    comparison = compare(answers(integers, images), torch_logits(network, images), sample.train_labels)
    assert comparison.snr_db is not None
    assert comparison.snr_db > 30


def test_little_is_clipped_where_sums_shrink_along_a_chain(sample: Dataset) -> None:
    """The ReLU6 in its middle must not give large values before it a scale that suits small ones."""
    torch.manual_seed(0)
    stem, head = (nn.Conv2d(3, 8, 3, stride=2), nn.ReLU()), (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    chain = (residual(30), nn.ReLU(), residual(0.01), nn.ReLU6(), residual(30), nn.ReLU())
    layers = float_layers(nn.Sequential(*stem, *chain, *head).eval().requires_grad_(False))[:-1]
    outputs, found = calibrate(layers, images := sample.train_images), histograms(layers, images)
    for layer, histogram in found.items():
        if layer.largest != 6:
            edges = np.linspace(histogram.minimum, histogram.maximum, len(histogram.counts) + 1)[1:]
            lowest, highest = (float(outputs[layer].scale) * code for code in histogram.codes)
            clipped = histogram.counts[(edges < lowest) | (edges > highest)].sum() / histogram.counts.sum()
            assert clipped < 0.02


@pytest.mark.parametrize(("scale", "finer"), [(1.5, False), (30, True)])
def test_a_finer_scale_is_taken_where_it_leaves_less_than_half_of_the_error(
    scale: float, finer: bool, sample: Dataset
) -> None:
    """What reads a pool, and its sum; the pool's own scale is exact only if no residual adds it to others."""
    torch.manual_seed(0)
    stem = (nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AvgPool2d(2))
    head = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    network = nn.Sequential(*stem, residual(scale), *head).eval().requires_grad_(False)
    layers = float_layers(network)[:-1]
    _, pool, added, *_ = calibrate(layers, sample.train_images).values()
    integers = quantize(network, sample.train_images)
    assert (numerators(integers.layers[:-1], integers.pixels)[0] < DENOMINATOR) == finer
    assert isinstance(quantized := integers.layers[1], AveragePool)
    assert quantized.output.scale == pool.scale
    assert (pool.scale < added.scale) == finer


@pytest.mark.parametrize(
    ("outliers", "low", "high"),
    [
        (0, 0.97, 1.0),  # evenly spread: nothing to gain by clipping
        (1, 0.20, 0.80),  # one value far out among 400,000: clip it
        (10**6, 0.97, 1.0),  # more there than elsewhere: keep them
    ],
)
def test_scale_clips_what_is_rare(outliers: int, low: float, high: float) -> None:
    counts = np.zeros(4096, np.int64)
    counts[: 4096 if outliers == 0 else 400] = 1000
    counts[-1] += outliers
    assert low * 4.0 / 255 <= least_error_scale(Histogram(counts, 4.0)) <= high * 4.0 / 255
