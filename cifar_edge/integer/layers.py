"""The layers of an integer network, each with plain fields and its definition.

An activation is uint8 codes, ``[n, height, width, channels]``, and a `Quantization` that says what they stand for. A
layer takes the quantization of its input as an argument, so that it is a value of its own. Sums of products are int32.
From sums to codes the arithmetic is onnxruntime's: one float32 factor a channel, one product, rounded half to even.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from cifar_edge.integer.fixed_point import FixedPoint, fixed_point
from cifar_edge.integer.quantization import ByValue, Codes, Factors, Quantization, Sums, requantized

T = TypeVar("T", bound=np.generic)
Pair = tuple[int, int]
"""Down and across."""
Padding = tuple[int, int, int, int]
"""Top, left, bottom, right."""
Shape = tuple[int, ...]
"""Height, width and channels."""


class Layer(Protocol):
    """What all layers have in common."""

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        """The layer's output and its quantization.

        Args:
            codes: uint8 ``[n, height, width, channels]``.
            given: their quantization.
        """
        ...

    def output_shape(self, shape: Shape) -> Shape:
        """Height, width and channels of the output, from those of the input."""
        ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Conv(ByValue):
    """A convolution: int32 sums of the input's values and int8 weights, plus a bias, requantized.

    Padding has the input's zero point for its code, which stands for 0.

    Attributes:
        weights: int8 ``[out, in / groups, kernel height, kernel width]``.
        scales: float32 ``[out]``: a weight stands for code * scale.
        bias: int32 ``[out]``, in units of the input's scale times ``scales``.
        stride: down and across.
        padding: top, left, bottom, right.
        groups: of channels, each convolved for itself.
        output: of the codes that come out; its clip is the ReLU or ReLU6, if there is one.
    """

    weights: npt.NDArray[np.int8]
    scales: Factors
    bias: npt.NDArray[np.int32]
    stride: Pair
    padding: Padding
    groups: int
    output: Quantization

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        weights = self.weights.reshape(self.groups, len(self.weights) // self.groups, -1).astype(np.float64)
        products = self.inputs(codes, given) @ weights.transpose(0, 2, 1)  # [groups, n * rows * columns, out / groups]
        shape = len(codes), *self.output_shape(codes.shape[1:])
        sums = products.transpose(1, 0, 2).reshape(shape) + self.bias
        return requantized(sums, self.factors(given), self.output), self.output

    def inputs(self, codes: Codes, given: Quantization) -> Sums:
        """What the weights are multiplied by, ``[groups, n * rows * columns, weights of a channel]``."""
        values = codes.astype(np.float64) - given.zero_point
        found = windows(values, self.weights.shape[2:], self.stride, self.padding)
        n, rows, columns = found.shape[:3]
        return found.reshape(n * rows * columns, self.groups, self.weights[0].size).transpose(1, 0, 2)

    def output_shape(self, shape: Shape) -> Shape:
        """Height, width and channels of the output, from those of the input."""
        return *places(shape, self.weights.shape[2:], self.stride, self.padding), len(self.bias)

    def factors(self, given: Quantization) -> Factors:
        """What sums are multiplied by to give codes, float32 ``[out]``: rounded as onnxruntime does it."""
        return given.scale * self.scales / self.output.scale

    def fixed_point(self, given: Quantization) -> FixedPoint:
        """`factors` as integers that give the same codes; see `cifar_edge.integer.fixed_point`."""
        return fixed_point(self.factors(given), self.output)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Linear(ByValue):
    """Fully connected to all codes of an image, flattened in PyTorch's order: channel, row, column.

    The last layer of a network has neither scales nor output: its int32 sums are the logits, and the network says what
    they stand for.

    Attributes:
        weights: int8 ``[out, in]``.
        scales: float32 ``[out]``: a weight stands for code * scale.
        bias: int32 ``[out]``, in units of the input's scale times ``scales``.
        output: of the codes that come out, uint8 ``[n, 1, 1, out]``.

    Raises:
        ValueError: one of scales and output is missing.
    """

    weights: npt.NDArray[np.int8]
    scales: Factors | None
    bias: npt.NDArray[np.int32]
    output: Quantization | None

    def __post_init__(self) -> None:
        if (self.scales is None) != (self.output is None):
            raise ValueError("a Linear has scales and an output, or neither where its sums are the logits")

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        """As `Layer`.

        Raises:
            ValueError: it is the last layer, which gives no codes.
        """
        scales, output = self.requantization()
        sums = self.sums(codes, given).astype(np.float64)
        return requantized(sums, given.scale * scales / output.scale, output)[:, None, None], output

    def sums(self, codes: Codes, given: Quantization) -> npt.NDArray[np.int32]:
        """The int32 sums ``[n, out]`` of uint8 ``[n, height, width, channels]``."""
        sums: Sums = self.inputs(codes, given)[0] @ self.weights.T.astype(np.float64) + self.bias
        return sums.astype(np.int32)

    def inputs(self, codes: Codes, given: Quantization) -> Sums:
        """What the weights are multiplied by, ``[1, n, in]``."""
        flat = codes.transpose(0, 3, 1, 2).reshape(1, len(codes), self.weights.shape[1])
        return flat.astype(np.float64) - given.zero_point

    def output_shape(self, shape: Shape) -> Shape:
        """As `Conv.output_shape`."""
        return 1, 1, len(self.bias)

    def fixed_point(self, given: Quantization) -> FixedPoint:
        """As `Conv.fixed_point`."""
        scales, output = self.requantization()
        return fixed_point(given.scale * scales / output.scale, output)

    def requantization(self) -> tuple[Factors, Quantization]:
        """Its scales and output.

        Raises:
            ValueError: it is the last layer of a network.
        """
        if self.scales is None or self.output is None:
            raise ValueError("the last layer of a network gives int32 sums, not codes")
        return self.scales, self.output


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The largest code of each window; codes stand for the same as before. Padding never wins.

    Attributes:
        kernel: height and width of a window.
        stride: down and across.
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
    """The mean of each window, a channel at a time: int32 sums, requantized. Padding counts, and stands for 0.

    Attributes:
        output: of the codes that come out.
        kernel: height and width of a window; None for one of all positions, the global pool.
        stride: down and across.
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
        """What sums of inputs of height and width ``size`` are multiplied by, float32 ``[1]``.

        It is rounded as onnxruntime does it: a global pool is an operator of its own, a window a convolution.
        """
        one = np.ones(1, np.float32)
        if self.kernel is None:
            return given.scale / (self.output.scale * (one * (size[0] * size[1])))
        return given.scale * self.weight / self.output.scale * one

    @property
    def weight(self) -> np.float32:
        """What each code of a window counts, as a weight."""
        rows, columns = self.kernel or (1, 1)
        return np.float32(1) / np.float32(rows * columns)

    def fixed_point(self, given: Quantization, size: tuple[int, ...]) -> FixedPoint:
        """`factors` as integers that give the same codes."""
        return fixed_point(self.factors(given, size), self.output)


@dataclass(frozen=True, slots=True)
class Residual:
    """The sum of two ways from the same input, each a chain of layers, clipped to the codes of ``output``.

    Both ways end with the scale of ``output``. So the sum is one of integers, and there is nothing to round.

    Attributes:
        layers: one way.
        shortcut: the other; an empty one is the input itself.
        output: of the sum; its clip is the ReLU.
    """

    layers: tuple[Layer, ...]
    shortcut: tuple[Layer, ...]
    output: Quantization

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        """As `Layer`.

        Raises:
            ValueError: a way ends with another scale than the output's.
        """
        return self.total(run(self.layers, codes, given), run(self.shortcut, codes, given)), self.output

    def output_shape(self, shape: Shape) -> Shape:
        """As `Conv.output_shape`."""
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def total(self, *ways: tuple[Codes, Quantization]) -> Codes:
        """The sum of what both ``ways`` end with."""
        total = np.full((), self.output.zero_point, np.int32)
        for codes, quantization in ways:
            if quantization.scale != self.output.scale:
                raise ValueError(f"a residual of scale {self.output.scale} cannot add codes of {quantization.scale}")
            total = total + (codes.astype(np.int32) - quantization.zero_point)
        return total.clip(0, self.output.largest).astype(np.uint8)


def run(layers: tuple[Layer, ...], codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
    """The output of a chain of layers, and its quantization."""
    for layer in layers:
        codes, given = layer(codes, given)
    return codes, given


def windows(values: npt.NDArray[T], kernel: tuple[int, ...], stride: Pair, padding: Padding) -> npt.NDArray[T]:
    """Every window of ``values``, ``[n, rows, columns, channels, kernel height, kernel width]``, without a copy."""
    top, left, bottom, right = padding
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right), (0, 0)))
    found = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))
    return found[:, :: stride[0], :: stride[1]]


def places(shape: Shape, kernel: tuple[int, ...], stride: Pair, padding: Padding) -> Pair:
    """How many windows there are, down and across."""
    top, left, bottom, right = padding
    height, width = shape[0] + top + bottom - kernel[0], shape[1] + left + right - kernel[1]
    return height // stride[0] + 1, width // stride[1] + 1
