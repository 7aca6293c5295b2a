"""The layers of an integer network: plain fields, and a call that defines what the layer computes.

An activation is uint8 codes, ``[n, height, width, channels]``, with a `Quantization`. That of the input is an argument
of the call, so a layer does not depend on others. Sums of products are int32. They become codes by onnxruntime's
arithmetic: one product with a float32 factor for each channel, rounded half to even.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from cifar_edge.integer.quantization import (
    DENOMINATOR,
    ByValue,
    Codes,
    Factors,
    Quantization,
    Sums,
    numerator_of,
    requantized,
)

T = TypeVar("T", bound=np.generic)
Pair = tuple[int, int]
"""Vertical and horizontal."""
Padding = tuple[int, int, int, int]
"""Top, left, bottom, right."""
Shape = tuple[int, ...]
"""Height, width and channels."""
Exact: TypeAlias = npt.NDArray[np.float32 | np.float64]
"""Integers in a type that holds them exactly, and for which BLAS is fast."""


class Layer(Protocol):
    """The methods that all layers have."""

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        """The layer's output and its quantization.

        Args:
            codes: uint8 ``[n, height, width, channels]``.
            given: the quantization of ``codes``.
        """
        ...

    def output_shape(self, shape: Shape) -> Shape:
        """Height, width and channels of the output, from those of the input."""
        ...


class LayerNames:
    """Names for the layers of a network, asked for in the order of the data, a residual before the layers inside it."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def name(self, layer: Layer, within: str = "") -> str:
        """Kind and running number of ``layer``, such as ``Conv-1``, behind ``within``, such as ``Residual-1.``."""
        kind = type(layer).__name__
        self._counts[kind] += 1
        return f"{within}{kind}-{self._counts[kind]}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Conv(ByValue):
    """A convolution of codes, minus their zero point, with int8 weights: int32 sums plus a bias, requantized.

    Padding is the input's zero point, that is, the value 0.

    Attributes:
        weights: int8 ``[out, in / groups, kernel height, kernel width]``.
        scales: float32 ``[out]``; the real value of a weight is code * scale.
        bias: int32 ``[out]``, in units of the input's scale times ``scales``.
        stride: vertical, horizontal.
        padding: top, left, bottom, right.
        groups: number of groups of channels, which are convolved separately.
        output: the quantization of the output; its clip is the ReLU or ReLU6, if there is one.
    """

    weights: npt.NDArray[np.int8]
    scales: Factors
    bias: npt.NDArray[np.int32]
    stride: Pair
    padding: Padding
    groups: int
    output: Quantization

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        dtype = self._exact_dtype()
        kernel, weights = self.weights.shape[2:], self.weights.astype(dtype)
        found = windows(codes.astype(dtype) - np.float32(given.zero_point), kernel, self.stride, self.padding)
        products = np.zeros((*found.shape[:3], len(weights)), dtype)
        for row, column in np.ndindex(*kernel):
            products += multiplied(found[..., row, column], weights[..., row, column], self.groups)
        return requantized(products + self.bias, self.factors(given), self.output), self.output

    def _exact_dtype(self) -> npt.DTypeLike:
        """float32, which is faster, where it holds all sums of products exactly: integers below 2^24."""
        largest = 255 * np.abs(self.weights.astype(np.int64)).sum((1, 2, 3)).max()
        return np.float32 if largest < 2**24 else np.float64

    def inputs(self, codes: Codes, given: Quantization) -> Sums:
        """The factors of the weights, ``[groups, n * rows * columns, weights of a channel]``."""
        values = codes.astype(np.float64) - given.zero_point
        found = windows(values, self.weights.shape[2:], self.stride, self.padding)
        n, rows, columns = found.shape[:3]
        return found.reshape(n * rows * columns, self.groups, self.weights[0].size).transpose(1, 0, 2)

    def output_shape(self, shape: Shape) -> Shape:
        """Height, width and channels of the output, from those of the input."""
        return *places(shape, self.weights.shape[2:], self.stride, self.padding), len(self.bias)

    def factors(self, given: Quantization) -> Factors:
        """The factors from sums to codes, float32 ``[out]``, rounded as in onnxruntime."""
        return given.scale * self.scales / self.output.scale


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Linear(ByValue):
    """A fully connected layer; its input is flattened in PyTorch's order: channel, row, column.

    The last layer of a network has neither scales nor output: its int32 sums are the logits, and the network has their
    scale.

    Attributes:
        weights: int8 ``[out, in]``.
        scales: float32 ``[out]``; the real value of a weight is code * scale.
        bias: int32 ``[out]``, in units of the input's scale times ``scales``.
        output: the quantization of the output, uint8 ``[n, 1, 1, out]``.

    Raises:
        ValueError: only one of ``scales`` and ``output`` is None.
    """

    weights: npt.NDArray[np.int8]
    scales: Factors | None
    bias: npt.NDArray[np.int32]
    output: Quantization | None

    def __post_init__(self) -> None:
        if (self.scales is None) != (self.output is None):
            raise ValueError("a Linear has scales and an output, or neither if its sums are the logits")

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        """As for `Layer`.

        Raises:
            ValueError: it is the last layer, which has no codes.
        """
        _, output = self.requantization()
        sums = self.sums(codes, given).astype(np.float64)
        return requantized(sums, self.factors(given), output)[:, None, None], output

    def sums(self, codes: Codes, given: Quantization) -> npt.NDArray[np.int32]:
        """The int32 sums, ``[n, out]``, for uint8 codes ``[n, height, width, channels]``."""
        sums: Sums = self.inputs(codes, given)[0] @ self.weights.T.astype(np.float64) + self.bias
        return sums.astype(np.int32)

    def inputs(self, codes: Codes, given: Quantization) -> Sums:
        """The factors of the weights, ``[1, n, in]``."""
        flat = codes.transpose(0, 3, 1, 2).reshape(1, len(codes), self.weights.shape[1])
        return flat.astype(np.float64) - given.zero_point

    def output_shape(self, shape: Shape) -> Shape:
        """As `Conv.output_shape`."""
        return 1, 1, len(self.bias)

    def factors(self, given: Quantization) -> Factors:
        """As `Conv.factors`.

        Raises:
            ValueError: as `requantization`.
        """
        scales, output = self.requantization()
        return given.scale * scales / output.scale

    def as_kernel(self, shape: Shape) -> npt.NDArray[np.int8]:
        """The weights as those of a convolution of the size of its input, ``[out, channels, height, width]``.

        Args:
            shape: height, width and channels of the input.
        """
        height, width, channels = shape
        return self.weights.reshape(-1, channels, height, width)

    def requantization(self) -> tuple[Factors, Quantization]:
        """Scales and output.

        Raises:
            ValueError: it is the last layer of a network.
        """
        if self.scales is None or self.output is None:
            raise ValueError("the last layer of a network gives int32 sums, not codes")
        return self.scales, self.output


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The largest code of each window; the quantization does not change. Padding is never the largest.

    Attributes:
        kernel: height and width of a window.
        stride: vertical, horizontal.
        padding: top, left, bottom, right, each less than the window.
    """

    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        return windows(codes, self.kernel, self.stride, self.padding).max((4, 5)), given

    def output_shape(self, shape: Shape) -> Shape:
        """As `Conv.output_shape`."""
        return *places(shape, self.kernel, self.stride, self.padding), shape[2]


@dataclass(frozen=True, slots=True)
class AveragePool:
    """The mean of each window and channel: int32 sums, requantized. Padding counts as the value 0.

    Attributes:
        output: the quantization of the output.
        kernel: height and width of a window; None for a global pool.
        stride: vertical, horizontal.
        padding: top, left, bottom, right.
    """

    output: Quantization
    kernel: Pair | None = None
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        values = codes.astype(np.float64) - given.zero_point
        sums = windows(values, self.kernel or codes.shape[1:3], self.stride, self.padding).sum((4, 5))
        return requantized(sums, self.factors(given, codes.shape[1:3]), self.output), self.output

    def output_shape(self, shape: Shape) -> Shape:
        """As `Conv.output_shape`."""
        return *places(shape, self.kernel or shape[:2], self.stride, self.padding), shape[2]

    def factors(self, given: Quantization, size: tuple[int, ...]) -> Factors:
        """The factor from sums to codes, for inputs of height and width ``size``, float32 ``[1]``.

        It is rounded as in onnxruntime, where a global pool is an operator, and one with windows a convolution.
        """
        one = np.ones(1, np.float32)
        if self.kernel is None:
            return given.scale / (self.output.scale * (one * (size[0] * size[1])))
        return given.scale * self.weight / self.output.scale * one

    @property
    def weight(self) -> np.float32:
        """The weight of each position of a window: 1 / positions."""
        rows, columns = self.kernel or (1, 1)
        return np.float32(1) / np.float32(rows * columns)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Residual(ByValue):
    """The sum of two branches with the same input, each a chain of layers, clipped to the codes of ``output``.

    The first branch ends with the scale of ``output``, the shortcut with n / 15 of it, n from 1 to 15
    (`cifar_edge.integer.quantization.DENOMINATOR`). Codes of the shortcut are multiplied by n / 15 and rounded to the
    nearest integer before they are added.

    Attributes:
        layers: one branch.
        shortcut: the other; an empty one is the input itself.
        output: the quantization of the sum; its clip is the ReLU.
    """

    layers: tuple[Layer, ...]
    shortcut: tuple[Layer, ...]
    output: Quantization

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        """As for `Layer`.

        Raises:
            ValueError: a branch ends with a scale that cannot be added to that of ``output``.
        """
        return self.total(run(self.layers, codes, given), run(self.shortcut, codes, given)), self.output

    def output_shape(self, shape: Shape) -> Shape:
        """As `Conv.output_shape`."""
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def total(self, end: tuple[Codes, Quantization], shortcut: tuple[Codes, Quantization]) -> Codes:
        """The sum of what both branches end with.

        Raises:
            ValueError: as the call.
        """
        numerator = self.numerator(end[1], shortcut[1])
        total = self.output.zero_point + _values(*end) + _rescaled(_values(*shortcut), numerator)
        return total.clip(0, self.output.largest).astype(np.uint8)

    def numerator(self, end: Quantization, shortcut: Quantization) -> int:
        """The numerator by which codes of the shortcut are multiplied; the denominator is `DENOMINATOR`.

        Args:
            end: the quantization that the other branch ends with.
            shortcut: that of the shortcut.

        Raises:
            ValueError: they cannot be added to codes of ``output``.
        """
        if end.scale != self.output.scale:
            raise ValueError(f"a residual of scale {self.output.scale} cannot add codes of {end.scale}")
        return numerator_of(shortcut.scale, self.output.scale)


def _rescaled(values: npt.NDArray[np.int32], numerator: int) -> npt.NDArray[np.int32]:
    """The integers nearest to ``values * numerator / DENOMINATOR``."""
    return (2 * values * numerator + DENOMINATOR) // (2 * DENOMINATOR)


def _values(codes: Codes, quantization: Quantization) -> npt.NDArray[np.int32]:
    """``codes`` less their zero point."""
    return codes.astype(np.int32) - np.int32(quantization.zero_point)


def run(layers: tuple[Layer, ...], codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
    """The output of a chain of layers, and its quantization."""
    for layer in layers:
        codes, given = layer(codes, given)
    return codes, given


def multiplied(values: Exact, weights: Exact, groups: int) -> Exact:
    """The sums over channels, ``[..., out]``, of products of ``values`` and ``weights``.

    Args:
        values: ``[..., channels]``.
        weights: ``[out, channels / groups]``.
        groups: number of groups of channels, each with its share of the outputs.
    """
    if weights.shape == (groups, 1):
        return values * weights[:, 0]
    grouped = values.reshape(-1, groups, weights.shape[1]).transpose(1, 0, 2)
    sums = grouped @ weights.reshape(groups, -1, weights.shape[1]).transpose(0, 2, 1)
    return sums.transpose(1, 0, 2).reshape(*values.shape[:-1], len(weights))


def windows(values: npt.NDArray[T], kernel: tuple[int, ...], stride: Pair, padding: Padding) -> npt.NDArray[T]:
    """Every window of ``values``, ``[n, rows, columns, channels, kernel height, kernel width]``, without a copy."""
    top, left, bottom, right = padding
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right), (0, 0)))
    found = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))
    return found[:, :: stride[0], :: stride[1]]


def places(shape: Shape, kernel: tuple[int, ...], stride: Pair, padding: Padding) -> Pair:
    """The number of windows, vertically and horizontally."""
    top, left, bottom, right = padding
    height, width = shape[0] + top + bottom - kernel[0], shape[1] + left + right - kernel[1]
    return height // stride[0] + 1, width // stride[1] + 1
