"""The layers of an integer network against PyTorch's convolutions and exact arithmetic."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from cifar_edge.integer import PIXELS, AveragePool, Conv, IntegerNetwork, Linear, Quantization, Residual

SCALES = st.floats(1e-3, 1.0).map(np.float32)
OUTPUTS = st.builds(Quantization, SCALES, st.sampled_from([0, 3, 128]), st.sampled_from([200, 255]))


@st.composite
def convolutions(draw: st.DrawFn, channels: int) -> Conv:
    """Any convolution of that many input channels; its padding may differ from side to side."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = draw(st.sampled_from([1, channels] + [2] * (channels % 2 == 0)))
    out = groups * draw(st.integers(1, 3))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    return Conv(
        generator.integers(-127, 128, (out, channels // groups, *kernel)).astype(np.int8),
        generator.uniform(1e-4, 1e-1, out).astype(np.float32),
        generator.integers(-(2**15), 2**15, out).astype(np.int32),
        (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        draw(st.tuples(*[st.integers(0, 2)] * 4)),
        groups,
        draw(OUTPUTS),
    )


def codes(channels: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (2, 6, 7, channels)).astype(np.uint8)


def rounded(sums: npt.NDArray[Any], factors: npt.NDArray[np.float32], output: Quantization) -> npt.NDArray[np.uint8]:
    """The codes of ``output``, number by number."""
    result = np.empty(sums.shape, np.uint8)
    for index in np.ndindex(sums.shape):
        product = np.float32(sums[index]) * factors[index[-1]]
        result[index] = min(max(int(np.rint(product)) + output.zero_point, 0), output.largest)
    return result


@settings(max_examples=60, deadline=None)
@given(data=st.data(), channels=st.integers(1, 4), seed=st.integers(0, 99), zero=st.sampled_from([0, 128]))
def test_a_convolution_is_pytorchs_on_integers(data: st.DataObject, channels: int, seed: int, zero: int) -> None:
    layer, given_codes = data.draw(convolutions(channels)), Quantization(data.draw(SCALES), zero)
    x = codes(channels, seed)
    top, left, bottom, right = layer.padding
    values = torch.tensor(x.astype(np.int64) - zero).permute(0, 3, 1, 2).double()
    weights, bias = torch.tensor(layer.weights).double(), torch.tensor(layer.bias).double()
    sums = F.conv2d(F.pad(values, (left, right, top, bottom)), weights, bias, layer.stride, groups=layer.groups)
    factors = np.array([given_codes.scale * scale / layer.output.scale for scale in layer.scales], np.float32)
    answer, quantization = layer(x, given_codes)
    assert np.array_equal(answer, rounded(sums.permute(0, 2, 3, 1).numpy(), factors, layer.output))
    assert quantization == layer.output


@settings(max_examples=30, deadline=None)
@given(output=OUTPUTS, seed=st.integers(0, 99), zero=st.sampled_from([0, 128]), scale=SCALES)
def test_an_average_pool_rounds_the_sum_once(output: Quantization, seed: int, zero: int, scale: np.float32) -> None:
    x = codes(3, seed)
    answer, _ = AveragePool(output)(x, Quantization(scale, zero))
    sums = (x.astype(np.int64) - zero).sum((1, 2), keepdims=True)
    factor = scale / (output.scale * np.float32(x.shape[1] * x.shape[2]))
    assert np.array_equal(answer, rounded(sums, np.full(3, factor, np.float32), output))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99), zero=st.sampled_from([0, 100]))
def test_a_residual_adds_integers_and_rounds_nothing(data: st.DataObject, seed: int, zero: int) -> None:
    scale = data.draw(SCALES)
    x, given_codes, output = codes(2, seed), Quantization(scale, zero), Quantization(scale)
    generator = np.random.default_rng(seed)
    layer = Conv(
        generator.integers(-127, 128, (2, 2, 3, 3)).astype(np.int8),
        generator.uniform(1e-4, 1e-1, 2).astype(np.float32),
        generator.integers(-(2**15), 2**15, 2).astype(np.int32),
        (1, 1),
        (1, 1, 1, 1),
        1,
        Quantization(scale, 128),
    )
    added, _ = layer(x, given_codes)
    answer, _ = Residual((layer,), (), output)(x, given_codes)
    assert np.array_equal(answer, (added.astype(int) - 128 + x.astype(int) - zero).clip(0, 255))
    twice, _ = Residual((layer,), (layer,), output)(x, given_codes)
    assert np.array_equal(twice, (2 * (added.astype(int) - 128)).clip(0, 255))


def test_a_residual_of_two_scales_is_an_error() -> None:
    residual = Residual((), (), Quantization(np.float32(0.5)))
    with pytest.raises(ValueError, match="cannot add codes of"):
        residual(codes(3, 0), Quantization(np.float32(0.25)))


@pytest.mark.parametrize(
    ("scale", "zero_point", "largest"), [(0.0, 0, 255), (-1.0, 0, 255), (np.nan, 0, 255), (1.0, 256, 255), (1.0, 9, 8)]
)
def test_a_quantization_that_is_none_is_an_error(scale: float, zero_point: int, largest: int) -> None:
    with pytest.raises(ValueError, match=r"scale|zero point"):
        Quantization(np.float32(scale), zero_point, largest)


def network(bias: int = 7) -> IntegerNetwork:
    """One whose logits are the mean red, green, blue, and blue once more with a ``bias``."""
    weights = np.eye(3, dtype=np.int8)[[0, 1, 2, 2]]
    head = Linear(weights, np.full(4, 0.5, np.float32), np.array([0, 0, 0, bias], np.int32))
    return IntegerNetwork(32, (AveragePool(PIXELS),), head, np.full(4, 0.25, np.float32))


def test_logits_are_the_sums_of_the_last_layer() -> None:
    images = np.random.default_rng(0).integers(0, 256, (130, 32, 32, 3)).astype(np.uint8)  # more than one batch
    means = np.rint((images.astype(int) - 128).sum((1, 2)) / np.float32(1024)).astype(np.int32)
    logits = network()(images)
    assert logits.dtype == np.int32
    assert np.array_equal(logits, means[:, [0, 1, 2, 2]] + [0, 0, 0, 7])
    assert network()(images[:0]).shape == (0, 4)


def test_networks_are_equal_by_what_they_hold() -> None:
    assert network() == network()
    assert network() != network(bias=8)
    assert network() != replace(network(), logit_scales=np.full(4, 0.25))  # float64 is another type
    assert network() != 3
