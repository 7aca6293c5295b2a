"""The layers of an integer network, each with plain fields and its definition.

An activation is uint8 codes, ``[n, height, width, channels]``, and a `Quantization` that says what they stand for. A
layer takes the quantization of its input as an argument, so that it is a value of its own. Sums of products are int32.
From sums to codes the arithmetic is onnxruntime's: one float32 factor a channel, one product, rounded half to even.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cifar_edge.spec import PIXEL_SCALE, PIXEL_ZERO_POINT

Codes: TypeAlias = npt.NDArray[np.uint8]
Sums: TypeAlias = npt.NDArray[np.float64]
"""Integers below 2^53, for which float64 is exact and BLAS is fast."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """What uint8 codes stand for: ``(code - zero_point) * scale``.

    Attributes:
        scale: float32, positive.
        zero_point: the code of 0. With zero point 0 the clip of codes at 0 is a ReLU.
        largest: the largest code that occurs, 255 but for a ReLU6.
    """

    scale: np.float32
    zero_point: int = 0
    largest: int = 255

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"a scale is positive and finite, not {self.scale}")
        if not 0 <= self.zero_point <= self.largest <= 255:
            raise ValueError(f"zero point {self.zero_point} and largest code {self.largest} are not within 0 to 255")


PIXELS = Quantization(np.float32(PIXEL_SCALE), PIXEL_ZERO_POINT)
"""Of the image itself: `cifar_edge.spec` says that a pixel p stands for (p - 128) / 64."""


class Layer(Protocol):
    """What all layers have in common."""

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        """The layer's output and its quantization.

        Args:
            codes: uint8 ``[n, height, width, channels]``.
            given: their quantization.
        """
        ...


class ByValue:
    """Equality of dataclasses whose fields may be arrays: the same types, shapes and numbers."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)


def _equal(first: object, second: object) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    return bool(first == second)


@dataclass(frozen=True, slots=True, eq=False)
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
    scales: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int32]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int
    output: Quantization

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        top, left, bottom, right = self.padding
        border = ((0, 0), (top, bottom), (left, right), (0, 0))
        padded = np.pad(codes, border, constant_values=given.zero_point).astype(np.float64) - given.zero_point
        out, channels, *kernel = self.weights.shape
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))
        windows = windows[:, :: self.stride[0], :: self.stride[1]]  # [n, rows, columns, in, kernel height, width]
        n, rows, columns = windows.shape[:3]
        by_group = windows.reshape(n * rows * columns, self.groups, channels * kernel[0] * kernel[1])
        weights = self.weights.reshape(self.groups, out // self.groups, -1).astype(np.float64)
        sums = by_group.transpose(1, 0, 2) @ weights.transpose(0, 2, 1)  # [groups, n * rows * columns, out / groups]
        sums = sums.transpose(1, 0, 2).reshape(n, rows, columns, out) + self.bias
        return requantized(sums, self.factors(given), self.output), self.output

    def factors(self, given: Quantization) -> npt.NDArray[np.float32]:
        """What sums are multiplied by to give codes, float32 ``[out]``: rounded as onnxruntime does it."""
        return given.scale * self.scales / self.output.scale


@dataclass(frozen=True, slots=True, eq=False)
class Linear(ByValue):
    """The last layer, fully connected to all codes of an image, flattened in PyTorch's order: channel, row, column.

    Its int32 sums are the logits.

    Attributes:
        weights: int8 ``[out, in]``.
        scales: float32 ``[out]``: a weight stands for code * scale.
        bias: int32 ``[out]``, in units of the input's scale times ``scales``.
    """

    weights: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int32]

    def sums(self, codes: Codes, given: Quantization) -> npt.NDArray[np.int32]:
        """The int32 sums ``[n, out]`` of uint8 ``[n, height, width, channels]``."""
        flat = (
            codes.transpose(0, 3, 1, 2).reshape(len(codes), self.weights.shape[1]).astype(np.float64) - given.zero_point
        )
        return (flat @ self.weights.T.astype(np.float64) + self.bias).astype(np.int32)


@dataclass(frozen=True, slots=True)
class AveragePool:
    """The mean of all positions, a channel at a time: int32 sums, requantized.

    Attributes:
        output: of the codes that come out.
    """

    output: Quantization

    def __call__(self, codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
        sums = (codes.astype(np.float64) - given.zero_point).sum((1, 2), keepdims=True)
        positions = np.float32(codes.shape[1] * codes.shape[2])
        return requantized(sums, given.scale / (self.output.scale * positions), self.output), self.output


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
        total = np.full((), self.output.zero_point, np.int32)
        for way in (self.layers, self.shortcut):
            added, quantization = run(way, codes, given)
            if quantization.scale != self.output.scale:
                raise ValueError(f"a residual of scale {self.output.scale} cannot add codes of {quantization.scale}")
            total = total + (added.astype(np.int32) - quantization.zero_point)
        return total.clip(0, self.output.largest).astype(np.uint8), self.output


def run(layers: tuple[Layer, ...], codes: Codes, given: Quantization) -> tuple[Codes, Quantization]:
    """The output of a chain of layers, and its quantization."""
    for layer in layers:
        codes, given = layer(codes, given)
    return codes, given


def requantized(sums: Sums, factors: npt.NDArray[np.float32] | np.float32, output: Quantization) -> Codes:
    """Codes of ``output`` for sums ``[..., channels]``: a float32 product, rounded half to even, then clipped."""
    scaled: npt.NDArray[np.float32] = np.rint(sums.astype(np.float32) * factors) + np.float32(output.zero_point)
    return scaled.clip(0, output.largest).astype(np.uint8)
