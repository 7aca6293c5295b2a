"""The scales of int8: one for each output channel of weights, one for each activation, found on training images."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.models.pixels import pixels_to_input

CALIBRATION_IMAGES = 1024
LARGEST = 255
"""The largest uint8. After ReLU nothing is negative, so that the zero point is 0 and every code is used."""

SIGNED_ZERO_POINT = 128
"""Zero point of what a residual's layer adds to its shortcut: no ReLU stands before the sum."""

LARGEST_WEIGHT = 127
_SMALLEST_SCALE = 1e-12  # for channels whose weights are all zero
_BATCH = 64
_BINS = 4096
_FRACTIONS = np.linspace(0.2, 1.0, 161)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often which values occur in one activation, without keeping them.

    Attributes:
        counts: int64 ``[bins]``, over equal parts of ``minimum`` to ``maximum``.
        maximum: the largest value seen; 0 for an activation that never fires.
        minimum: 0 behind a ReLU; else the least value seen.
    """

    counts: npt.NDArray[np.int64]
    maximum: float
    minimum: float = 0.0

    @property
    def codes(self) -> tuple[int, int]:
        """The least and the largest code of its values, the zero point taken off."""
        return (0, LARGEST) if self.minimum == 0 else (-SIGNED_ZERO_POINT, LARGEST - SIGNED_ZERO_POINT)


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

    A residual's shortcut, what is added to it, and their sum share one scale: so the sum is one of integers, without
    rounding, and the same on every processor.

    Args:
        network: on the CPU, in evaluation mode.
        images: training images, uint8 ``[n, 32, 32, 3]``; see `calibration_images`.

    Returns:
        One scale for each convolution's output after ReLU, then one for the average pool's.
    """
    found = histograms(network, images)
    count = len(network.convolutions) + 1
    outputs, added = found[:count], dict(zip(_residual_layers(network), found[count:], strict=True))
    tied = list(range(count))  # the first activation of those that share a scale with this one
    for index, residual in enumerate(network.residuals):
        tied[index] = tied[index - residual]
    chosen: dict[int, float] = {}
    for first in sorted(set(tied)):
        members = [index for index in range(count) if tied[index] == first]
        together = [outputs[index] for index in members] + [added[index] for index in members if index in added]
        chosen[first] = least_error_scale(*together)
    return [chosen[first] for first in tied]


def histograms(network: FoldedNetwork, images: npt.NDArray[np.uint8]) -> list[Histogram]:
    """The distribution of all `activations` on ``images``: a first pass for their extremes, a second to count."""
    count = len(network.convolutions) + 1
    kinds = count + len(_residual_layers(network))
    maxima, minima = [0.0] * kinds, [0.0] * kinds
    for batch in activations(network, images):
        maxima = [max(maximum, float(values.max())) for maximum, values in zip(maxima, batch, strict=True)]
        minima = [min(minimum, float(values.min())) for minimum, values in zip(minima, batch, strict=True)]
    counts = [np.zeros(_BINS, np.int64) for _ in maxima]
    for batch in activations(network, images):
        for total, values, minimum, maximum in zip(counts, batch, minima, maxima, strict=True):
            total += np.histogram(values.numpy(), _BINS, (minimum, maximum if maximum > minimum else 1.0))[0]
    return [Histogram(*fields) for fields in zip(counts, maxima, minima, strict=True)]


@torch.inference_mode()
def activations(network: FoldedNetwork, images: npt.NDArray[np.uint8]) -> Iterator[list[Tensor]]:
    """What passes through ``network``, a batch of images at a time.

    That is each ReLU's output, then the average pool's, then what the layer of each residual adds to its shortcut.
    """
    for start in range(0, len(images), _BATCH):
        x = pixels_to_input(torch.tensor(images[start : start + _BATCH]))
        inputs, added = [x], []
        for convolution, residual in zip(network.convolutions, network.residuals, strict=True):
            x = convolution(inputs[-1])
            if residual:
                added.append(x)
                x = x + inputs[-residual]
            inputs.append(torch.relu(x))
        yield [*inputs[1:], network.pool(inputs[-1]), *added]


def _residual_layers(network: FoldedNetwork) -> list[int]:
    return [index for index, residual in enumerate(network.residuals) if residual]


def least_error_scale(*histograms: Histogram) -> float:
    """The one scale with the least squared error between the values of all ``histograms`` and their uint8 codes.

    A smaller scale than ``maximum / 255`` rounds the many small values more finely and clips the few largest ones; the
    best of 161 candidates is taken. docs/int8.md compares this choice with others.
    """
    # The largest value that needs a code, as if all codes were for values above 0.
    extent = max(
        value * LARGEST / code if code != LARGEST else value
        for histogram in histograms
        for value, code in zip((histogram.minimum, histogram.maximum), histogram.codes, strict=True)
        if code
    )
    if extent == 0:
        return 1.0
    candidates = _FRACTIONS * extent / LARGEST
    errors = np.zeros(len(candidates))
    for histogram in histograms:
        bin_width = (histogram.maximum - histogram.minimum) / len(histogram.counts)
        values = histogram.minimum + (np.arange(len(histogram.counts)) + 0.5) * bin_width
        coded = np.clip(np.rint(values / candidates[:, None]), *histogram.codes) * candidates[:, None]
        errors += np.square(coded - values) @ histogram.counts
    return float(candidates[errors.argmin()])
