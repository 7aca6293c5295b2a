"""The scales of int8: one for each output channel of weights, one for each activation, found on training images."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cifar_edge.models.folded import FoldedNetwork
from cifar_edge.models.pixels import pixels_to_input

CALIBRATION_IMAGES = 1024
LARGEST = 255
"""The largest uint8. After ReLU nothing is negative, so that the zero point is 0 and every code is used."""

LARGEST_WEIGHT = 127
_SMALLEST_SCALE = 1e-12  # for channels whose weights are all zero
_BATCH = 64
_BINS = 4096
_FRACTIONS = np.linspace(0.2, 1.0, 161)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often which values occur in one activation, without keeping them.

    Attributes:
        counts: int64 ``[bins]``, over equal parts of 0 to ``maximum``.
        maximum: the largest value seen; 0 for an activation that never fires.
    """

    counts: npt.NDArray[np.int64]
    maximum: float


def calibration_images(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """At most `CALIBRATION_IMAGES` of ``images``, evenly spread, so that the same come every time."""
    return images[np.linspace(0, len(images) - 1, min(len(images), CALIBRATION_IMAGES)).astype(np.intp)]


def weight_scales(weights: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """One scale a channel for symmetric int8 ``weights``, such that no processor's sums of products saturate.

    x86 without VNNI adds up neighbouring products two by two in int16, and 255 * 127 * 2 is twice its range. So a
    channel's scale also keeps each pair of neighbours, in the order in which kernels read them, at a sum of at most
    128: 255 * 128 < 2^15. Seven bits for all weights would do that too, at a higher price: docs/int8.md.

    Args:
        weights: output channels first, then input channels, then height and width if any.

    Returns:
        Positive, ``[output channels]``.
    """
    rows = kernel_order(weights.astype(np.float64))
    pairs = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(len(rows), -1, 2).sum(axis=2)
    largest = np.maximum(np.abs(rows).max(axis=1), np.abs(pairs).max(axis=1))
    return np.asarray(np.maximum(largest / LARGEST_WEIGHT, _SMALLEST_SCALE))


def kernel_order(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``weights`` as ``[output channels, inputs]``, as kernels read them: height, width, input channel."""
    return np.moveaxis(weights, 1, -1).reshape(len(weights), -1)


def activation_scales(network: FoldedNetwork, images: npt.NDArray[np.uint8]) -> list[float]:
    """The scale of each activation that loses least, see `least_error_scale`.

    Args:
        network: on the CPU, in evaluation mode.
        images: training images, uint8 ``[n, 32, 32, 3]``; see `calibration_images`.

    Returns:
        One scale for each convolution's output after ReLU, then one for the average pool's.
    """
    return [least_error_scale(histogram) for histogram in histograms(network, images)]


def histograms(network: FoldedNetwork, images: npt.NDArray[np.uint8]) -> list[Histogram]:
    """The distribution of every activation on ``images``: a first pass for its maximum, a second to count."""
    maxima = [0.0] * (len(network.convolutions) + 1)
    for batch in activations(network, images):
        maxima = [max(maximum, float(values.max())) for maximum, values in zip(maxima, batch, strict=True)]
    counts = [np.zeros(_BINS, np.int64) for _ in maxima]
    for batch in activations(network, images):
        for total, values, maximum in zip(counts, batch, maxima, strict=True):
            total += np.histogram(values.numpy(), _BINS, (0.0, maximum or 1.0))[0]
    return [Histogram(total, maximum) for total, maximum in zip(counts, maxima, strict=True)]


@torch.inference_mode()
def activations(network: FoldedNetwork, images: npt.NDArray[np.uint8]) -> Iterator[list[Tensor]]:
    """What passes through ``network``, a batch of images at a time: each ReLU's output, then the average pool's."""
    for start in range(0, len(images), _BATCH):
        x = pixels_to_input(torch.tensor(images[start : start + _BATCH]))
        outputs = []
        for convolution in network.convolutions:
            x = torch.relu(convolution(x))
            outputs.append(x)
        yield [*outputs, network.pool(x)]


def least_error_scale(histogram: Histogram) -> float:
    """The scale with the least mean squared error between values and their uint8 codes.

    A smaller scale than ``maximum / 255`` rounds the many small values more finely and clips the few largest ones; the
    best of 161 candidates is taken. docs/int8.md compares this choice with others.
    """
    if histogram.maximum == 0:
        return 1.0
    bin_width = histogram.maximum / len(histogram.counts)
    values = (np.arange(len(histogram.counts)) + 0.5) * bin_width
    candidates = _FRACTIONS * histogram.maximum / LARGEST
    coded = np.clip(np.rint(values / candidates[:, None]), 0, LARGEST) * candidates[:, None]
    errors = np.square(coded - values) @ histogram.counts
    return float(candidates[errors.argmin()])
