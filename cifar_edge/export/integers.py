"""Quantization of a network without norms: `quantize` makes an `IntegerNetwork` of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from cifar_edge.errors import ExportError
from cifar_edge.export.calibration import ChooseScale, calibrate, tied, weight_scales
from cifar_edge.export.float_network import FloatLayer, float_layers, pixels_of
from cifar_edge.export.rounding import Array, round_to_inputs
from cifar_edge.folding.functions import pair
from cifar_edge.folding.layers import Residual as FloatResidual
from cifar_edge.integer import (
    AveragePool,
    Conv,
    IntegerNetwork,
    Layer,
    Linear,
    MaxPool,
    Quantization,
    Residual,
    columns,
    exact_scales,
)
from cifar_edge.integer.quantization import Codes, Factors

_LARGEST_BIAS = 2**30  # half of the range of int32; the other half is for the sum of products
_LEAST_FACTOR = 2.0**-12
"""Least factor of requantization: with a smaller one float32 skips sums (see `cifar_edge.integer.fixed_point`). Only
channels with weights near zero would have a smaller one, and a coarser scale does not harm these."""
_BATCH = 64

Weighted = TypeVar("Weighted", Conv, Linear)
WeightScales = Callable[[Array, bool], Array]
"""From weights ``[out, ...]``, and whether any two neighbours may be a pair, to a scale a channel, ``[out]``."""


def quantize(
    network: nn.Sequential,
    images: npt.NDArray[np.uint8],
    *,
    choose_scale: ChooseScale | None = None,
    choose_weight_scales: WeightScales = weight_scales,
    fit: bool = True,
) -> IntegerNetwork:
    """The integer network of ``network``: first the scales of activations, then weights and biases, layer by layer.

    Args:
        network: on the CPU, in evaluation mode: convolutions, pools, Linear, ReLU, ReLU6, Hardtanh
            and `cifar_edge.folding.layers.Residual`, a Linear last; a `cifar_edge.folding.layers.Shift` may be first.
        images: training images, uint8 ``[n, S, S, 3]``; see `cifar_edge.export.calibration.calibration_images`.
        choose_scale: chooses those of activations, see `cifar_edge.export.calibration.calibrate`.
        choose_weight_scales: chooses those of weights.
        fit: round weights by `cifar_edge.export.rounding`; else to nearest.

    Raises:
        ExportError: the network has a module that integers cannot compute, or its last one is not a Linear.
    """
    pixels = pixels_of(network)
    *layers, head = float_layers(network)
    if not isinstance(head.module, nn.Linear) or head.largest is not None:
        raise ExportError("the last layer of an integer network is a Linear without activation")
    outputs = calibrate(layers, images, choose_scale, pixels)
    first = layers[0] if layers and _fits_columns(layers[0], images.shape[1]) else None
    quantizer = _Quantizer(outputs, tied(layers), choose_weight_scales, fit, first)
    # Without a fit only the shapes are needed, and one image gives them.
    made, x = quantizer.chain(tuple(layers), _Activation(images if fit else images[:1], pixels))
    last, logit_scale = quantizer.head(head.module, x)
    return IntegerNetwork(images.shape[1], (*made, last), logit_scale, pixels)


@dataclass(frozen=True, slots=True)
class _Activation:
    """The input of a layer: the codes that the integer layers before it compute for calibration images."""

    codes: Codes
    quantization: Quantization

    def batches(self) -> list[Codes]:
        return np.split(self.codes, range(_BATCH, len(self.codes), _BATCH))

    def behind(self, layer: Layer) -> "_Activation":
        """The output of ``layer`` for this input."""
        parts = [layer(batch, self.quantization) for batch in self.batches()]
        return _Activation(np.concatenate([codes for codes, _ in parts]), parts[0][1])


@dataclass(frozen=True, slots=True)
class _Quantizer:
    """The options of `quantize`, and the quantization of each layer's output.

    Attributes:
        tied: see `cifar_edge.export.calibration.tied`.
        in_columns: the first layer, if `cifar_edge.integer.columns` can be what computes it; else None.
    """

    outputs: dict[FloatLayer, Quantization]
    tied: set[FloatLayer]
    weight_scales: WeightScales
    fit: bool
    in_columns: FloatLayer | None

    def chain(self, layers: tuple[FloatLayer, ...], x: _Activation) -> tuple[tuple[Layer, ...], _Activation]:
        """The integer layers of ``layers`` for the input ``x``, and their output."""
        made: list[Layer] = []
        for layer in layers:
            if isinstance(layer.module, FloatResidual):
                residual, x = self.residual(layer, x)
                made.append(residual)
            else:
                made.append(self.layer(layer, x))
                x = x.behind(made[-1])
        return tuple(made), x

    def residual(self, layer: FloatLayer, x: _Activation) -> tuple[Residual, _Activation]:
        """The integer layer of a residual, and its output."""
        (layers, one), (shortcut, other) = (self.chain(branch, x) for branch in (layer.layers, layer.shortcut))
        residual = Residual(layers, shortcut, self.outputs[layer])
        total = residual.total((one.codes, one.quantization), (other.codes, other.quantization))
        return residual, _Activation(total, residual.output)

    def layer(self, layer: FloatLayer, x: _Activation) -> Layer:
        """The integer layer of any other layer, except the last."""
        module, given = layer.module, x.quantization
        if isinstance(module, nn.MaxPool2d):
            return MaxPool(pair(module.kernel_size), pair(module.stride), layer.padding)
        output = self.outputs[layer]
        if isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            pool = AveragePool(output)
            if isinstance(module, nn.AvgPool2d):
                pool = AveragePool(output, pair(module.kernel_size), pair(module.stride), layer.padding)
            return pool if layer in self.tied else self._exact_pool(pool, x)
        if not isinstance(module, nn.Conv2d | nn.Linear):
            raise ExportError(f"a {type(module).__name__} cannot be computed in integers")
        weights, bias = _parameters(module)
        if isinstance(module, nn.Linear):  # kernels compute it as a convolution of the size of its input
            height, width, channels = x.codes.shape[1:]
            weights = weights.reshape(len(weights), channels, height, width)
        both_sides = layer is self.in_columns
        least = self._least_scales(weights, bias, given, both_sides)
        least = np.maximum(least, output.scale * _LEAST_FACTOR / given.scale)
        scales = _exact_scales(least.astype(np.float32), lambda scales: given.scale * scales / output.scale, output)
        blank = np.zeros(module.weight.shape, np.int8), scales, np.zeros(len(bias), np.int32)
        if isinstance(module, nn.Linear):
            return self._with_weights(Linear(*blank, output), weights, bias, scales, x)
        convolution = Conv(*blank, pair(module.stride), layer.padding, module.groups, output)
        return self._with_weights(convolution, weights, bias, scales, x, both_sides)

    def head(self, module: nn.Linear, x: _Activation) -> tuple[Linear, np.float32]:
        """The integer layer of the last one, and the scale of its sums, the same for all classes."""
        weights, bias = _parameters(module)
        scale = np.float32(self._least_scales(weights, bias, x.quantization).max())
        blank = Linear(np.zeros(weights.shape, np.int8), None, np.zeros(len(bias), np.int32), None)
        scales = np.full(len(bias), scale)
        return self._with_weights(blank, weights, bias, scales, x), scale * x.quantization.scale

    def _least_scales(self, weights: Array, bias: Array, given: Quantization, both_sides: bool = False) -> Array:
        """The least scales with which weights fit into int8, and biases into int32 even if weights are nearly zero."""
        return np.maximum(self.weight_scales(weights, both_sides), np.abs(bias) / (given.scale * _LARGEST_BIAS))

    def _with_weights(
        self,
        blank: Weighted,
        weights: Array,
        bias: Array,
        scales: Factors,
        x: _Activation,
        both_sides: bool = False,
    ) -> Weighted:
        """``blank`` with weights and bias, in units of their scales and rounded."""
        exact = weights / scales.astype(np.float64).reshape(-1, *[1] * (weights.ndim - 1))
        units = bias / (scales.astype(np.float64) * x.quantization.scale)
        codes = np.rint(exact)
        if self.fit:
            inputs = (blank.inputs(batch, x.quantization) for batch in x.batches())
            codes, lost = round_to_inputs(exact, codes, inputs, both_sides)
            units += lost
        shaped = codes.astype(np.int8).reshape(blank.weights.shape)
        return replace(blank, weights=shaped, bias=np.rint(units).astype(np.int32))

    def _exact_pool(self, pool: AveragePool, x: _Activation) -> AveragePool:
        """``pool`` with the nearest scale whose factor is exact in fixed point."""
        given, size = x.quantization, x.codes.shape[1:3]
        scale = min(pool.output.scale, given.scale)  # a mean needs none coarser than its values, even if it is always 0

        def with_scale(scale: np.float32) -> AveragePool:
            return replace(pool, output=replace(pool.output, scale=scale))

        exact = _exact_scales(np.array([scale]), lambda scales: with_scale(scales[0]).factors(given, size), pool.output)
        return with_scale(exact[0])


def _fits_columns(layer: FloatLayer, size: int) -> bool:
    """Whether ``layer``, the first of a network, can be computed in columns."""
    module = layer.module
    if not isinstance(module, nn.Conv2d):
        return False
    return columns.fit(tuple(module.weight.shape[1:]), pair(module.stride), layer.padding, size)


def _exact_scales(scales: Factors, factors: Callable[[Factors], Factors], output: Quantization) -> Factors:
    """`cifar_edge.integer.exact_scales`, whose failure is one line.

    Raises:
        ExportError: there is no exact scale near one of ``scales``.
    """
    try:
        return exact_scales(scales, factors, output)
    except ValueError as error:
        raise ExportError(f"the network has no exact integers: {error}") from error


def _parameters(layer: nn.Conv2d | nn.Linear) -> tuple[Array, Array]:
    """Weights and bias of ``layer``, float64."""
    weights = layer.weight.detach().double().numpy()
    return weights, np.zeros(len(weights)) if layer.bias is None else layer.bias.detach().double().numpy()
