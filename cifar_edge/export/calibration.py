"""Calibration: the int8 scales, one for each output channel of weights and one for each activation."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cifar_edge.export.float_network import FloatLayer, run
from cifar_edge.folding.layers import Shift
from cifar_edge.integer import PIXELS, Quantization
from cifar_edge.integer.quantization import DENOMINATOR, fraction
from cifar_edge.models.pixels import pixels_to_input

CALIBRATION_IMAGES = 1024
LARGEST = 255
"""The largest uint8. After a ReLU nothing is negative, so the zero point is 0 and every code is used."""

SIGNED_ZERO_POINT = 128
"""Zero point of values that may be negative, as before the sum of a residual."""

LARGEST_WEIGHT = 127
_SMALLEST_SCALE = 1e-12  # for channels whose weights are all zero
_BATCH = 64
_BINS = 4096
_FRACTIONS = np.linspace(0.2, 1.0, 161)


@dataclass(frozen=True, slots=True)
class Histogram:
    """The distribution of the values of one activation.

    Attributes:
        counts: int64 ``[bins]``; the bins divide ``minimum`` to ``maximum`` equally.
        maximum: the largest value seen; 0 for an activation that never fires.
        minimum: 0 after a ReLU; else the least value seen.
    """

    counts: npt.NDArray[np.int64]
    maximum: float
    minimum: float = 0.0

    @property
    def codes(self) -> tuple[int, int]:
        """The least and the largest code of its values, minus the zero point."""
        return (0, LARGEST) if self.minimum == 0 else (-SIGNED_ZERO_POINT, LARGEST - SIGNED_ZERO_POINT)


ChooseScale = Callable[..., float]
"""From one or several histograms to one scale for all their values."""


def calibration_images(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """At most `CALIBRATION_IMAGES` of ``images``, evenly spread, so the same at every call."""
    return images[np.linspace(0, len(images) - 1, min(len(images), CALIBRATION_IMAGES)).astype(np.intp)]


def weight_scales(weights: npt.NDArray[np.floating], both_sides: bool = False) -> npt.NDArray[np.float64]:
    """One scale a channel for symmetric int8 ``weights``, with which no processor's sums of products saturate.

    x86 without VNNI adds neighbouring products in pairs, in int16, and 255 * 127 * 2 is twice its range. So the codes
    of each pair of neighbours, in the order in which kernels read them, have a sum of at most 128: 255 * 128 < 2^15.
    Seven bits for all weights would avoid saturation too, but lose more: docs/int8.md.

    Args:
        weights: output channels first, then input channels, then height and width if any.
        both_sides: any two neighbours may be a pair, as in `cifar_edge.integer.columns`; else every second two are.

    Returns:
        Positive, float64 ``[output channels]``.
    """
    rows = kernel_order(weights.astype(np.float64))
    sums = rows + np.pad(rows, ((0, 0), (0, 1)))[:, 1:]
    pairs = sums if both_sides else sums[:, ::2]
    largest = np.maximum(np.abs(rows).max(axis=1), np.abs(pairs).max(axis=1))
    return np.asarray(np.maximum(largest / LARGEST_WEIGHT, _SMALLEST_SCALE))


def kernel_order(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``weights`` as ``[output channels, inputs]``, inputs in the order of kernels: height, width, input channel."""
    return np.moveaxis(weights, 1, -1).reshape(len(weights), -1)


def calibrate(
    layers: Sequence[FloatLayer],
    images: npt.NDArray[np.uint8],
    choose_scale: ChooseScale | None = None,
    pixels: Quantization = PIXELS,
) -> dict[FloatLayer, Quantization]:
    """The quantization of each layer's output, except max pools, which keep that of their input.

    The two branches of a residual and their sum share one scale, or the shortcut has a fraction of it
    (`cifar_edge.integer.quantization.fraction`). So the sum is the same on every processor.

    Args:
        layers: of a network on the CPU, in evaluation mode.
        images: training images, uint8 ``[n, S, S, 3]``; see `calibration_images`.
        choose_scale: None for `least_error_scale`. Fractions are always chosen by least squared error.
        pixels: the quantization of ``images`` for the layers.
    """
    found, (groups, coarser) = histograms(layers, images, pixels), _sharing(layers)
    # The histograms of each group and of all before it along a chain of residuals, whose scales are as fine or finer.
    together: dict[_Group, list[Histogram]] = defaultdict(list)
    for layer, histogram in found.items():
        group: _Group | None = groups[layer]
        while group is not None:
            together[group].append(histogram)
            group = coarser.get(group)
    scales: dict[_Group, np.float32] = {_PIXELS: PIXELS.scale}

    def scale_of(group: _Group) -> np.float32:
        if group not in scales and group in coarser:
            scales[group] = _finer_scale(scale_of(coarser[group]), together[group])
        elif group not in scales:
            scales[group] = np.float32((choose_scale or least_error_scale)(*together[group]))
        return scales[group]

    return {layer: _quantization(layer, scale_of(groups[layer]), found[layer]) for layer in found}


def tied(layers: Sequence[FloatLayer]) -> set[FloatLayer]:
    """Those of ``layers`` whose scale others depend on: all share it, or a residual adds them."""
    groups, coarser = _sharing(layers)
    scaled = {layer: group for layer, group in groups.items() if not isinstance(layer.module, nn.MaxPool2d)}
    sizes, added = Counter(scaled.values()), {*coarser, *coarser.values(), _PIXELS}
    return {layer for layer, group in scaled.items() if sizes[group] > 1 or group in added}


def histograms(
    layers: Sequence[FloatLayer], images: npt.NDArray[np.uint8], pixels: Quantization = PIXELS
) -> dict[FloatLayer, Histogram]:
    """Histograms of each layer's output on ``images``, except max pools: one pass for the extremes, one to count."""
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
        _run(layers, images, see, pixels)
    return {
        layer: Histogram(counts[layer], maxima[layer], minima[layer])
        for layer in counts
        if not isinstance(layer.module, nn.MaxPool2d)
    }


@torch.inference_mode()
def _run(
    layers: Sequence[FloatLayer],
    images: npt.NDArray[np.uint8],
    see: Callable[[FloatLayer, Tensor], None],
    pixels: Quantization,
) -> None:
    shift = Shift(pixels.zero_point)
    for start in range(0, len(images), _BATCH):
        run(layers, shift(pixels_to_input(torch.tensor(images[start : start + _BATCH]))), see)


_Group = FloatLayer | str
_PIXELS = "pixels"
"""The group of layers that share the scale of the image."""


def _sharing(layers: Sequence[FloatLayer]) -> tuple[dict[FloatLayer, _Group], dict[_Group, _Group]]:
    """The group of each layer, whose layers share one scale; and group -> the group whose scale is as fine or coarser.

    Such a pair is what a residual with an empty shortcut reads, and its sum.
    """
    groups: dict[FloatLayer, _Group] = {}
    joined: dict[_Group, _Group] = {}  # group -> the group that it has become part of
    coarser: dict[_Group, _Group] = {}

    def whole(group: _Group) -> _Group:
        while group in joined:
            group = joined[group]
        return group

    def join(one: _Group, other: _Group) -> _Group:
        """Make both one, with all those that may be coarser than they."""
        one, other = whole(one), whole(other)
        if one is other:
            return one
        kept, gone = (other, one) if other is _PIXELS else (one, other)
        joined[gone] = kept
        for group in (gone, kept):
            if group in coarser:
                kept = join(kept, coarser.pop(group))
        return kept

    def add(end: _Group, given: _Group) -> _Group:
        """The group of a residual that adds its input, of the group ``given``, to the ``end`` of its branch."""
        end, given = whole(end), whole(given)
        if given is _PIXELS or given in coarser:
            return join(end, given)
        if given is not end:
            coarser[given] = end
        return end

    def chain(layers: Sequence[FloatLayer], group: _Group) -> _Group:
        """The group of the output of ``layers``; ``group`` is that of their input."""
        for layer in layers:
            if layer.shortcut:
                group = join(chain(layer.layers, group), chain(layer.shortcut, group))
            elif layer.layers:
                group = add(chain(layer.layers, group), group)
            elif not isinstance(layer.module, nn.MaxPool2d):
                group = layer
            groups[layer] = group
        return group

    chain(layers, _PIXELS)
    return (
        {layer: whole(group) for layer, group in groups.items()},
        {fine: whole(coarse) for fine, coarse in coarser.items()},
    )


def _quantization(layer: FloatLayer, scale: np.float32, histogram: Histogram) -> Quantization:
    """The quantization of the output of ``layer``; codes end where its activation clips, as with a ReLU6 at 6."""
    least, largest = histogram.codes
    if layer.largest is not None:
        least = max(least, round(layer.least / float(scale)))
        if np.isfinite(layer.largest):
            largest = min(largest, round(layer.largest / float(scale)))
    return Quantization(scale, -least, largest - least)


def least_error_scale(*histograms: Histogram) -> float:
    """The scale with the least squared error between the values of all ``histograms`` and their uint8 codes.

    A smaller scale than ``maximum / 255`` rounds the many small values more finely, but clips the few largest ones. The
    best of 161 candidates is chosen. docs/int8.md compares this choice with others.
    """
    # The extent that 255 positive codes would have to cover at the scale that clips nothing.
    extent = max(
        value * LARGEST / code if code != LARGEST else value
        for histogram in histograms
        for value, code in zip((histogram.minimum, histogram.maximum), histogram.codes, strict=True)
        if code
    )
    if extent == 0:
        return 1.0
    candidates = _FRACTIONS * extent / LARGEST
    return float(candidates[_squared_errors(histograms, candidates).argmin()])


def _finer_scale(whole: np.float32, histograms: Sequence[Histogram]) -> np.float32:
    """The fraction of ``whole`` with the least squared error between the values of ``histograms`` and their codes.

    With less than ``whole`` the sum rounds once more, so it is taken only for less than half of the error.
    """
    candidates = np.array([fraction(whole, numerator) for numerator in range(1, DENOMINATOR + 1)])
    errors = _squared_errors(histograms, candidates)
    finest = errors.argmin()
    return np.float32(candidates[finest] if errors[finest] < errors[-1] / 2 else whole)


def _squared_errors(histograms: Sequence[Histogram], scales: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The squared errors between the values of all ``histograms`` and their codes by each of ``scales``."""
    steps, errors = scales.astype(np.float64)[:, None], np.zeros(len(scales))
    for histogram in histograms:
        bin_width = (histogram.maximum - histogram.minimum) / len(histogram.counts)
        values = histogram.minimum + (np.arange(len(histogram.counts)) + 0.5) * bin_width
        coded = np.clip(np.rint(values / steps), *histogram.codes) * steps
        errors += np.square(coded - values) @ histogram.counts
    return errors
