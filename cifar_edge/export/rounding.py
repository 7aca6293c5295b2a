"""Weights as integers: each rounded up or down such that, on training images, its layer answers as before.

To the nearest integer is best for a weight alone. What a layer computes is a sum, in which the errors of weights add up
or cancel as their inputs go together: which way to round each follows from the covariance of the inputs (Nagel et al.
2020, "Up or Down?", arXiv:2004.10568). docs/int8.md has what it gains.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar_edge.export.calibration import LARGEST, LARGEST_WEIGHT, SIGNED_ZERO_POINT, kernel_order, weight_scales
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.spec import PIXEL_SCALE, PIXEL_ZERO_POINT

_LARGEST_BIAS = 2**30  # half of int32: the other half is for the sum of products
_LARGEST_PAIR = 128  # of two neighbouring codes: see weight_scales
_LEAST_VARIANCE = 1e-6  # of an input, in codes: one that is as good as constant tells nothing
_PASSES = 20  # there are fewer: it stops where no code changes
_BATCH = 64

Array = npt.NDArray[np.float64]


class QuantizedWeights(NamedTuple):
    """The weights of one layer in integers.

    Attributes:
        codes: int8, of the shape of the weights, output channels first; a weight is about code * scale.
        scales: float32 ``[output channels]``.
        bias: int32 ``[output channels]``, in units of scale * the scale of the layer's input.
    """

    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int32]


def nearest_weights(network: FoldedNetwork, scales: Sequence[float]) -> list[QuantizedWeights]:
    """Every weight of ``network`` rounded to its nearest code.

    Args:
        network: on the CPU.
        scales: of its activations, see `cifar_edge.export.calibration.activation_scales`.

    Returns:
        One for each convolution, then one for the last layer.
    """
    layers: list[nn.Conv2d | nn.Linear] = [*_convolutions(network), network.head]
    input_scales = np.array([PIXEL_SCALE, *scales[:-2], scales[-1]], np.float32)  # the last layer reads the pool
    return [round_to_nearest(layer, scale) for layer, scale in zip(layers, input_scales, strict=True)]


def round_to_nearest(layer: nn.Conv2d | nn.Linear, input_scale: np.float32) -> QuantizedWeights:
    """Weights as symmetric int8 and biases as int32, by the scales of `cifar_edge.export.calibration.weight_scales`.

    Args:
        layer: with a bias.
        input_scale: scale of the layer's input.
    """
    weights, bias = _parameters(layer)
    # The bias of a channel whose weights are nearly zero must fit into int32, too.
    scales = np.maximum(weight_scales(weights), np.abs(bias) / (input_scale * _LARGEST_BIAS)).astype(np.float32)
    codes = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1)))
    return QuantizedWeights(codes.astype(np.int8), scales, np.rint(bias / (scales * input_scale)).astype(np.int32))


@torch.inference_mode()
def fitted_weights(
    network: FoldedNetwork, scales: Sequence[float], images: npt.NDArray[np.uint8]
) -> list[QuantizedWeights]:
    """Every weight of ``network`` rounded up or down, whichever changes its layer's output least on ``images``.

    A layer's input is what the layers before it give in integers. Its biases take up what the roundings add on average.

    Args:
        network: on the CPU, in evaluation mode.
        scales: of its activations, see `cifar_edge.export.calibration.activation_scales`.
        images: training images, uint8 ``[n, 32, 32, 3]``; see `cifar_edge.export.calibration.calibration_images`.

    Returns:
        One for each convolution, then one for the last layer.
    """
    *output_scales, pool_scale = (np.float32(scale) for scale in scales)
    inputs = [torch.tensor(images).permute(0, 3, 1, 2).to(torch.int16) - PIXEL_ZERO_POINT]  # of each layer
    input_scale = np.float32(PIXEL_SCALE)
    fitted: list[QuantizedWeights] = []
    layers = zip(_convolutions(network), network.residuals, output_scales, strict=True)
    for layer, residual, output_scale in layers:
        fitted.append(_fit(layer, input_scale, inputs[-1]))
        batches = inputs[-1].split(_BATCH)
        x = torch.cat([_convolve(layer, fitted[-1], input_scale / output_scale, batch) for batch in batches])
        if residual:
            x = x.clamp(-SIGNED_ZERO_POINT, LARGEST - SIGNED_ZERO_POINT) + inputs[-residual]
        inputs.append(x.clamp(0, LARGEST).to(torch.int16))
        input_scale = output_scale
    pooled = (inputs[-1].double().mean((2, 3)) * float(input_scale / pool_scale)).round().clamp(0, LARGEST)
    return [*fitted, _fit(network.head, pool_scale, pooled)]


def round_to_fit(exact: Array, codes: Array, covariance: Array) -> Array:
    """Of the integers next to ``exact`` those with the least error in the layer's output, by coordinate descent.

    One input after another, in all output channels at once, takes the code that is best beside all others as they are,
    until none changes. So the error of a channel, ``e @ covariance @ e`` with e the errors of its codes, never grows;
    nor do sums of neighbours, beyond what `cifar_edge.export.calibration.weight_scales` promises.

    Args:
        exact: weights in units of their scale, ``[output channels, inputs]``, inputs in the order of kernels.
        codes: where to start: `exact` rounded to nearest.
        covariance: of the inputs, ``[inputs, inputs]``.
    """
    codes = codes.copy()
    low, high = (part(exact).clip(-LARGEST_WEIGHT, LARGEST_WEIGHT) for part in (np.floor, np.ceil))
    slope = (exact - codes) @ covariance
    for _ in range(_PASSES):
        before = codes.copy()
        for index in np.flatnonzero(np.diagonal(covariance) > _LEAST_VARIANCE):
            neighbour = index ^ 1
            beside = codes[:, neighbour] if neighbour < codes.shape[1] else 0.0
            best = np.rint(codes[:, index] + slope[:, index] / covariance[index, index])
            best = best.clip(low[:, index], high[:, index]).clip(-_LARGEST_PAIR - beside, _LARGEST_PAIR - beside)
            slope -= np.outer(best - codes[:, index], covariance[index])
            codes[:, index] = best
        if np.array_equal(codes, before):
            break
    return codes


def _fit(layer: nn.Conv2d | nn.Linear, input_scale: np.float32, x: Tensor) -> QuantizedWeights:
    """The weights of ``layer``, fitted to its input, which is in codes: int16 NCHW, or ``[n, inputs]``."""
    nearest = round_to_nearest(layer, input_scale)
    weights, bias = _parameters(layer)
    scales = nearest.scales.astype(np.float64)
    exact, codes = kernel_order(weights) / scales[:, None], kernel_order(nearest.codes.astype(np.float64))
    bias = bias / (scales * input_scale)
    means, covariances = _moments(layer, x)
    for channels, mean, covariance in zip(np.split(np.arange(len(exact)), len(means)), means, covariances, strict=True):
        codes[channels] = round_to_fit(exact[channels], codes[channels], covariance)
        bias[channels] += (exact[channels] - codes[channels]) @ mean
    kernel = weights.shape[2:]
    shaped = np.moveaxis(codes.reshape(len(codes), *kernel, -1), -1, 1).astype(np.int8)
    return QuantizedWeights(shaped, nearest.scales, np.rint(bias).astype(np.int32))


def _moments(layer: nn.Conv2d | nn.Linear, x: Tensor) -> tuple[Array, Array]:
    """Mean ``[groups, inputs]`` and covariance ``[groups, inputs, inputs]`` of what the weights are multiplied by."""
    count, total, products = 0, torch.zeros(()), torch.zeros(())
    for batch in _multiplied(layer, x):
        count += batch.shape[1]
        total = total + batch.sum(1)
        products = products + batch.mT @ batch
    means = total / count
    return means.numpy(), (products / count - means[:, :, None] * means[:, None, :]).numpy()


def _multiplied(layer: nn.Conv2d | nn.Linear, x: Tensor) -> Iterator[Tensor]:
    """What the weights are multiplied by, in the order of kernels: float64 ``[groups, n, inputs]``, in batches."""
    if isinstance(layer, nn.Linear):
        yield x.double()[None]
        return
    assert not isinstance(layer.padding, str)
    for batch in x.split(_BATCH):
        patches = F.unfold(batch.double(), layer.kernel_size, padding=layer.padding, stride=layer.stride)
        grouped = patches.unflatten(1, (layer.groups, layer.in_channels // layer.groups, -1))
        yield grouped.permute(1, 0, 4, 3, 2).flatten(3).flatten(1, 2)  # from [n, groups, channels, kernel, positions]


def _convolve(layer: nn.Conv2d, weights: QuantizedWeights, ratio: np.float32, x: Tensor) -> Tensor:
    """Sums in units of the output's scale, rounded and not clipped; ``ratio`` is the input's scale to the output's."""
    assert not isinstance(layer.padding, str)
    kernel, bias = torch.tensor(weights.codes).double(), torch.tensor(weights.bias).double()
    sums = F.conv2d(x.double(), kernel, bias, layer.stride, layer.padding, groups=layer.groups)
    return (sums * torch.tensor(weights.scales.astype(np.float64) * ratio)[:, None, None]).round()


def _convolutions(network: FoldedNetwork) -> list[nn.Conv2d]:
    return [layer for layer in network.convolutions if isinstance(layer, nn.Conv2d)]


def _parameters(layer: nn.Conv2d | nn.Linear) -> tuple[Array, Array]:
    """Its weights and its bias."""
    assert layer.bias is not None
    return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
