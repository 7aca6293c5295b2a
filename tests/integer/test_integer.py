"""The layers of an integer network against PyTorch's convolutions and exact arithmetic."""

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from torch.nn import functional as F

from cifar_edge.integer import (
    PIXELS,
    AveragePool,
    Conv,
    IntegerNetwork,
    Linear,
    MaxPool,
    Quantization,
    Residual,
    exact_scales,
    fixed_point,
)
from cifar_edge.integer.quantization import DENOMINATOR, fraction

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


@pytest.mark.parametrize("channels", [1_001, 20_001])
def test_a_wide_convolution_loses_no_unit_of_its_sums(channels: int) -> None:
    kernel = np.full((1, channels, 1, 2), 127, np.int8) * np.array([1, -1], np.int8)
    layer = Conv(
        kernel, np.ones(1, np.float32), np.zeros(1, np.int32), (1, 1), (0, 0, 0, 0), 1, Quantization(np.float32(1), 50)
    )
    x = np.full((1, 1, 2, channels), 255, np.uint8)
    x[0, 0, 1, 0] = 254
    assert layer(x, Quantization(np.float32(1)))[0].item() == 50 + 127  # a difference of odd numbers beyond 2^24


@settings(max_examples=30, deadline=None)
@given(output=OUTPUTS, seed=st.integers(0, 99), zero=st.sampled_from([0, 128]), scale=SCALES)
def test_an_average_pool_rounds_the_sum_once(output: Quantization, seed: int, zero: int, scale: np.float32) -> None:
    x = codes(3, seed)
    answer, _ = AveragePool(output)(x, Quantization(scale, zero))
    sums = (x.astype(np.int64) - zero).sum((1, 2), keepdims=True)
    factor = scale / (output.scale * np.float32(x.shape[1] * x.shape[2]))
    assert np.array_equal(answer, rounded(sums, np.full(3, factor, np.float32), output))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), zero=st.sampled_from([0, 128]), seed=st.integers(0, 99))
def test_pools_are_pytorchs(data: st.DataObject, zero: int, seed: int) -> None:
    kernel = data.draw(st.tuples(st.integers(2, 4), st.integers(2, 4)))
    stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    top, left, bottom, right = padding = data.draw(st.tuples(*[st.integers(0, 1)] * 4))
    x, given_codes = codes(3, seed), Quantization(np.float32(0.1), zero)
    values = torch.tensor(x.astype(np.int64) - zero).permute(0, 3, 1, 2).double()
    window = MaxPool(kernel, stride, padding)
    found, quantization = window(x, given_codes)
    wanted = F.max_pool2d(F.pad(values, (left, right, top, bottom), value=-np.inf), kernel, stride)
    assert quantization == given_codes
    assert np.array_equal(found.astype(int) - zero, wanted.permute(0, 2, 3, 1).numpy())
    assert window.output_shape(x.shape[1:]) == found.shape[1:]
    mean = AveragePool(Quantization(np.float32(0.07), 100), kernel, stride, padding)
    sums = F.avg_pool2d(F.pad(values, (left, right, top, bottom)), kernel, stride, divisor_override=1)
    factors = np.full(3, mean.factors(given_codes, x.shape[1:])[0])
    assert factors == pytest.approx(0.1 / 0.07 / (kernel[0] * kernel[1]))
    answer, _ = mean(x, given_codes)
    assert np.array_equal(answer, rounded(sums.permute(0, 2, 3, 1).numpy(), factors, mean.output))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), output=OUTPUTS, zero=st.sampled_from([0, 128]), seed=st.integers(0, 99))
def test_a_hidden_linear_is_pytorchs_on_integers(
    data: st.DataObject, output: Quantization, zero: int, seed: int
) -> None:
    x, given_codes = codes(3, seed), Quantization(data.draw(SCALES), zero)
    generator = np.random.default_rng(seed)
    layer = Linear(
        generator.integers(-127, 128, (5, 6 * 7 * 3)).astype(np.int8),
        generator.uniform(1e-4, 1e-1, 5).astype(np.float32),
        generator.integers(-(2**15), 2**15, 5).astype(np.int32),
        output,
    )
    values = torch.tensor(x.astype(np.int64) - zero).permute(0, 3, 1, 2).double().flatten(1)
    sums = F.linear(values, torch.tensor(layer.weights).double(), torch.tensor(layer.bias).double())
    factors = given_codes.scale * layer.requantization()[0] / output.scale
    answer, quantization = layer(x, given_codes)
    assert quantization == output
    assert answer.shape == (2, *layer.output_shape(x.shape[1:]))
    assert np.array_equal(answer[:, 0, 0], rounded(sums.numpy(), factors, output))


@settings(max_examples=40, deadline=None)
@given(
    factors=st.lists(st.floats(2.0**-12, 8.0), min_size=1, max_size=4),
    zero_point=st.sampled_from([0, 1, 128, 200]),
    largest=st.sampled_from([200, 255]),
)
def test_fixed_point_gives_the_codes_of_float32(factors: list[float], zero_point: int, largest: int) -> None:
    """For every sum where a code begins, what surrounds it, and the extremes of int32."""
    output = Quantization(np.float32(1), zero_point, largest)
    wanted = np.array(factors, np.float32)
    exact = exact_scales(wanted, lambda scales: scales, output)
    assert np.abs(exact / wanted - 1).max() <= 1e-4
    multipliers, shifts = fixed_point(exact, output)
    assert multipliers.dtype == np.int32
    assert multipliers.min() > 0
    for factor, multiplier, shift in zip(exact, multipliers, shifts, strict=True):
        edges = ((np.arange(-zero_point, 257 - zero_point) - 0.5) / factor).astype(np.int64)
        around = (edges[:, None] + np.arange(-12, 13)).ravel()
        sums = np.unique(np.concatenate([around, [-(2**31), 2**31 - 1, 0]]).clip(-(2**31), 2**31 - 1))
        in_float = np.rint(sums.astype(np.float32) * factor) + zero_point
        in_integers = [
            (int(each) * int(multiplier) + (1 << int(shift) - 1) >> int(shift)) + zero_point for each in sums
        ]
        assert np.array_equal(in_float.clip(0, largest), np.clip(in_integers, 0, largest))


def test_a_factor_without_a_multiplier_is_an_error() -> None:
    tiny, output = np.array([1e-6], np.float32), Quantization(np.float32(1))
    with pytest.raises(ValueError, match="no multiplier"):
        fixed_point(tiny, output)
    with pytest.raises(ValueError, match="no scale near"):
        exact_scales(tiny, lambda scales: scales, output)


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


@settings(max_examples=30, deadline=None)
@given(
    scale=SCALES,
    numerator=st.integers(1, DENOMINATOR),
    zero=st.sampled_from([0, 7, 128]),
    other=st.sampled_from([0, 128]),
)
def test_a_finer_shortcut_is_rounded_to_the_nearest_in_every_runtime(
    scale: np.float32, numerator: int, zero: int, other: int
) -> None:
    """All pairs of codes; onnxruntime computes them in float, by a node of its own and as the file says."""
    end, shortcut = Quantization(scale, 128), Quantization(fraction(scale, numerator), other)
    residual = Residual((), (), Quantization(scale, zero))
    pairs = [each.astype(np.uint8).reshape(1, 256, 256, 1) for each in np.mgrid[:256, :256]]
    added = residual.total((pairs[0], end), (pairs[1], shortcut))
    exact = [Fraction(code - other) * numerator / DENOMINATOR for code in range(256)]
    assert all(abs(value - math.floor(value) - Fraction(1, 2)) >= Fraction(1, 2 * DENOMINATOR) for value in exact)
    nearest = np.array([round(value) for value in exact])
    assert np.array_equal(added, (zero + pairs[0].astype(int) - 128 + nearest[pairs[1]]).clip(0, 255))
    for computed in sums_in_onnxruntime(pairs, (end, shortcut), residual.output):
        assert np.array_equal(computed, added)


def sums_in_onnxruntime(
    pairs: list[npt.NDArray[np.uint8]], given: tuple[Quantization, Quantization], output: Quantization
) -> Iterator[npt.NDArray[np.uint8]]:
    """What onnxruntime gives for a sum of dequantized codes, with all of its optimizations and with none."""
    quantizations = dict(zip("aby", (*given, output), strict=True))
    constants = [numpy_helper.from_array(np.array(each.scale), f"{name}s") for name, each in quantizations.items()]
    constants += [
        numpy_helper.from_array(np.array(each.zero_point, np.uint8), f"{name}z") for name, each in quantizations.items()
    ]
    nodes = [helper.make_node("DequantizeLinear", [name, f"{name}s", f"{name}z"], [f"{name}d"]) for name in "ab"]
    nodes.append(helper.make_node("Add", ["ad", "bd"], ["sum"]))
    nodes.append(helper.make_node("QuantizeLinear", ["sum", "ys", "yz"], ["y"]))
    a, b, y = (helper.make_tensor_value_info(name, TensorProto.UINT8, pairs[0].shape) for name in "aby")
    graph = helper.make_graph(nodes, "sum", [a, b], [y], constants)
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    for level in (GraphOptimizationLevel.ORT_ENABLE_ALL, GraphOptimizationLevel.ORT_DISABLE_ALL):
        options = SessionOptions()
        options.graph_optimization_level = level
        session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
        yield session.run(None, dict(zip("ab", pairs, strict=True)))[0]


def test_a_residual_of_two_scales_is_an_error() -> None:
    half, quarter = Quantization(np.float32(0.5)), Quantization(np.float32(0.25))
    residual = Residual((), (), half)
    with pytest.raises(ValueError, match=r"of scale 0\.5 cannot add codes of 0\.25"):
        residual(codes(3, 0), quarter)
    third = Quantization(fraction(np.float32(0.5), 5))
    with pytest.raises(ValueError, match="cannot add codes of"):
        residual.total((codes(3, 0), third), (codes(3, 0), half))  # only a shortcut may be finer


@pytest.mark.parametrize(
    ("scale", "zero_point", "largest"), [(0.0, 0, 255), (-1.0, 0, 255), (np.nan, 0, 255), (1.0, 256, 255), (1.0, 9, 8)]
)
def test_a_quantization_that_is_none_is_an_error(scale: float, zero_point: int, largest: int) -> None:
    with pytest.raises(ValueError, match=r"scale|zero point"):
        Quantization(np.float32(scale), zero_point, largest)


def network(bias: int = 7) -> IntegerNetwork:
    """One whose logits are the mean red, green, blue, and blue once more with a ``bias``."""
    weights = np.eye(3, dtype=np.int8)[[0, 1, 2, 2]]
    head = Linear(weights, None, np.array([0, 0, 0, bias], np.int32), None)
    return IntegerNetwork(32, (AveragePool(PIXELS), head), np.float32(0.25))


def one_by_one(weight: int) -> Conv:
    """A depthwise 1x1 convolution of three channels by the same ``weight``."""
    weights, scales, bias = np.full((3, 1, 1, 1), weight, np.int8), np.ones(3, np.float32), np.zeros(3, np.int32)
    return Conv(weights, scales, bias, (1, 1), (0, 0, 0, 0), 3, PIXELS)


def test_logits_are_the_sums_of_the_last_layer() -> None:
    images = np.random.default_rng(0).integers(0, 256, (130, 32, 32, 3)).astype(np.uint8)  # more than one batch
    means = np.rint((images.astype(int) - 128).sum((1, 2)) / np.float32(1024)).astype(np.int32)
    logits = network()(images)
    assert logits.dtype == np.int32
    assert np.array_equal(logits, means[:, [0, 1, 2, 2]] + [0, 0, 0, 7])
    assert network()(images[:0]).shape == (0, 4)


def test_the_last_layer_alone_gives_sums() -> None:
    with pytest.raises(ValueError, match="last layer"):
        IntegerNetwork(32, (AveragePool(PIXELS),), np.float32(1))
    with pytest.raises(ValueError, match="int32 sums"):
        network().head(codes(3, 0), PIXELS)
    with pytest.raises(ValueError, match="or neither"):
        replace(network().head, output=PIXELS)


def test_a_network_shows_its_fields() -> None:
    assert repr(network()) == (
        f"IntegerNetwork(size=32, layers=({AveragePool(PIXELS)!r}, Linear(weights=int8[4, 3], scales=None, "
        f"bias=int32[4], output=None)), logit_scale=np.float32(0.25), pixels={PIXELS!r})"
    )


def test_networks_are_equal_by_what_they_hold() -> None:
    assert network() == network()
    assert network() != network(bias=8)
    assert network() != replace(network(), logit_scale=np.float32(0.5))
    assert network() != replace(network(), layers=(AveragePool(replace(PIXELS, largest=254)), network().head))
    assert network() != 3


def test_the_digest_of_a_network_is_that_of_what_it_holds() -> None:
    others = [
        network(bias=8),
        replace(network(), logit_scale=np.float32(0.5)),
        replace(network(), layers=(AveragePool(replace(PIXELS, largest=254)), network().head)),
        replace(network(), layers=(network().head,)),
    ]
    digests = [each.digest for each in (network(), *others)]
    assert digests == [network().digest, *(each.digest for each in others)]
    assert len(set(digests)) == len(digests)
    in_residuals = [
        replace(network(), layers=(Residual((branch,), (), PIXELS), *network().layers))
        for branch in (one_by_one(3), one_by_one(4), replace(one_by_one(3), output=replace(PIXELS, zero_point=127)))
    ]
    assert len({each.digest for each in (network(), *in_residuals)}) == 4
    size: Any = np.int64(32)
    assert replace(network(), size=size).digest == digests[0]
    in_numpy_2 = in_residuals[0].digest
    with np.printoptions(legacy="1.25"):  # as numpy 1 shows its scalars
        assert (network().digest, in_residuals[0].digest) == (digests[0], in_numpy_2)
    assert digests[0] == "20989a310eef"  # in logs of boards, so it stays
