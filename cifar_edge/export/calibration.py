"""The scales of int8: one for each output channel of weights, one for each activation, found on training images."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cifar_edge.export.float_network import FloatLayer, run
from cifar_edge.integer import PIXELS, Quantization
from cifar_edge.models.pixels import pixels_to_input

CALIBRATION_IMAGES = 1024
LARGEST = 255
"""The largest uint8. After ReLU nothing is negative, so that the zero point is 0 and every code is used."""

SIGNED_ZERO_POINT = 128
"""Zero point where values may be negative, as before the sum of a residual."""

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


ChooseScale = Callable[..., float]
"""From histograms to the one scale for all of their values."""


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


def calibrate(
    layers: Sequence[FloatLayer], images: npt.NDArray[np.uint8], choose_scale: ChooseScale | None = None
) -> dict[FloatLayer, Quantization]:
    """What the output codes of each layer stand for; a max pool has none, since it passes on the codes that it reads.

    The two ways of a residual and their sum share one scale: so the sum is one of integers, without rounding, and the
    same on every processor.

    Args:
        layers: of a network on the CPU, in evaluation mode.
        images: training images, uint8 ``[n, S, S, 3]``; see `calibration_images`.
        choose_scale: one scale for the values of several histograms; `least_error_scale` if it is None.
    """
    found, groups = histograms(layers, images), _sharing(layers)
    scales: dict[_Group, np.float32] = {_PIXELS: PIXELS.scale}
    for group in dict.fromkeys(groups.values()):
        if group is not _PIXELS:
            together = [found[layer] for layer in found if groups[layer] is group]
            scales[group] = np.float32((choose_scale or least_error_scale)(*together))
    return {layer: _quantization(layer, scales[groups[layer]], found[layer]) for layer in found}


def histograms(layers: Sequence[FloatLayer], images: npt.NDArray[np.uint8]) -> dict[FloatLayer, Histogram]:
    """What each layer but max pools passes on, on ``images``: a first pass for the extremes, a second to count."""
    maxima: dict[FloatLayer, float] = defaultdict(float)
    minima: dict[FloatLayer, float] = defaultdict(float)
    counts: dict[FloatLayer, npt.NDArray[np.int64]] = {}

    def extremes(layer: FloatLayer, values: Tensor) -> None:
        maxima[layer] = max(maxima[layer], float(values.max()))
        minima[layer] = min(minima[layer], float(values.min()))

    def count(layer: FloatLayer, values: Tensor) -> None:
        low, high = minima[layer], maxima[layer]
        counted = np.histogram(values.numpy(), _BINS, (low, high if high > low else 1.0))[0]
        counts[layer] = counts.get(layer, 0) + counted

    for see in (extremes, count):
        _run(layers, images, see)
    return {
        layer: Histogram(counts[layer], maxima[layer], minima[layer])
        for layer in counts
        if not isinstance(layer.module, nn.MaxPool2d)
    }


@torch.inference_mode()
def _run(
    layers: Sequence[FloatLayer], images: npt.NDArray[np.uint8], see: Callable[[FloatLayer, Tensor], None]
) -> None:
    for start in range(0, len(images), _BATCH):
        run(layers, pixels_to_input(torch.tensor(images[start : start + _BATCH])), see)


_Group = FloatLayer | str
_PIXELS = "pixels"
"""The group of those that share the scale of the image."""


def _sharing(layers: Sequence[FloatLayer]) -> dict[FloatLayer, _Group]:
    """The group of each layer: those of one group have one scale."""
    groups: dict[FloatLayer, _Group] = {}

    def join(one: _Group, other: _Group) -> _Group:
        kept, gone = (other, one) if other is _PIXELS else (one, other)
        groups.update({layer: kept for layer, group in groups.items() if group is gone})
        return kept

    def chain(layers: Sequence[FloatLayer], group: _Group) -> _Group:
        """The group of what ``layers`` pass on; ``group`` is that of what they read."""
        for layer in layers:
            if layer.layers or layer.shortcut:
                group = join(chain(layer.layers, group), chain(layer.shortcut, group))
            elif not isinstance(layer.module, nn.MaxPool2d):
                group = layer
            groups[layer] = group
        return group

    chain(layers, _PIXELS)
    return groups


def _quantization(layer: FloatLayer, scale: np.float32, histogram: Histogram) -> Quantization:
    """The codes of what ``layer`` passes on: with a ReLU6 they end at that of 6."""
    least, largest = histogram.codes
    if layer.largest is not None and np.isfinite(layer.largest):
        largest = min(largest, round(layer.largest / float(scale)))
    return Quantization(scale, -least, largest - least)


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
