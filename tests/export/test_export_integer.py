"""The int8 graph of a folded network: the integers it computes, what onnxruntime runs, calibration, lost signal."""

import copy
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from export_helpers import LAYER, answers, build_folded, neighbours
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, numpy_helper
from torch import nn

from cifar_edge.data import Dataset
from cifar_edge.export.calibration import (
    CALIBRATION_IMAGES,
    Histogram,
    activation_scales,
    activations,
    calibration_images,
    histograms,
    least_error_scale,
)
from cifar_edge.export.debug import layer_signals
from cifar_edge.export.fp32 import network_graph, with_pixels
from cifar_edge.export.graphs import serialize
from cifar_edge.export.integer import integer_graph, integer_network
from cifar_edge.export.parity import compare, torch_logits
from cifar_edge.export.rounding import QuantizedWeights, fitted_weights, nearest_weights, round_to_nearest
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.integer import IntegerNetwork
from cifar_edge.spec import (
    INPUT_NAME,
    MAX_IR_VERSION,
    MAX_OPSET,
    OUTPUT_NAME,
    PIXEL_SCALE,
    PIXEL_ZERO_POINT,
    ModelMetadata,
)

MAX_BYTES = 60_000
SNR_DB = 25.0
"""The released network has 31 dB; one wrong scale, zero point or padding leaves less than 20."""

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def exact(folded: FoldedNetwork) -> ModelProto:
    """Its float graph."""
    return with_pixels(network_graph(folded))


@pytest.fixture(scope="module")
def integers(folded: FoldedNetwork, sample: Dataset) -> IntegerNetwork:
    """Its integers, calibrated on the sample."""
    scales = activation_scales(folded, sample.train_images)
    return integer_network(folded, scales, fitted_weights(folded, scales, sample.train_images))


@pytest.fixture(scope="module")
def graph(integers: IntegerNetwork) -> ModelProto:
    """Its int8 graph."""
    return integer_graph(integers)


def session(model: ModelProto, optimized: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # it warns that the optimised graph is for this machine only
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def logits_of(model: ModelProto, images: Array) -> Array:
    return np.asarray(session(model).run([OUTPUT_NAME], {INPUT_NAME: images})[0])


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_file_computes_the_integer_network(
    integers: IntegerNetwork, graph: ModelProto, sample: Dataset, batch: int
) -> None:
    images = sample.test_images[:batch]
    assert np.array_equal(logits_of(graph, images), answers(integers, images))


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_file_computes_nearly_what_the_folded_network_does(
    folded: FoldedNetwork, graph: ModelProto, sample: Dataset, batch: int
) -> None:
    images, labels = sample.test_images[-batch:], sample.test_labels[-batch:]
    comparison = compare(logits_of(graph, images), torch_logits(folded, images), labels)
    assert comparison.snr_db is not None
    assert comparison.snr_db > SNR_DB
    assert comparison.agreement >= 0.95


def test_classes_survive_quantization(folded: FoldedNetwork, graph: ModelProto, sample: Dataset) -> None:
    comparison = compare(
        logits_of(graph, sample.test_images), torch_logits(folded, sample.test_images), sample.test_labels
    )
    assert comparison.agreement >= 0.97
    assert abs(comparison.drop.value) <= 0.015


def test_onnxruntime_runs_integers_and_nothing_else(graph: ModelProto, sample: Dataset, tmp_path: Path) -> None:
    session(graph, tmp_path / "optimized.onnx")
    run = onnx.load(tmp_path / "optimized.onnx").graph
    assert [node.op_type for node in run.node] == [
        *["QLinearConv"] * 7,
        "QLinearGlobalAveragePool",
        "Flatten",
        "MatMulInteger",
        "Add",
        "DequantizeLinear",
    ]
    assert run.node[0].input[0] == INPUT_NAME, "the pixels themselves are what the first convolution reads"
    assert list(run.node[-1].output) == [OUTPUT_NAME]


def test_file_is_small_and_of_standard_operators(graph: ModelProto, folded: FoldedNetwork) -> None:
    onnx.checker.check_model(graph, full_check=True)
    assert {entry.domain for entry in graph.opset_import} == {""}
    assert graph.opset_import[0].version <= MAX_OPSET
    assert graph.ir_version <= MAX_IR_VERSION
    labels = tuple(f"a rather long name of class {index}" for index in range(10))
    about = ModelMetadata(
        "gn-cnn", "int8", labels, 49_158, 6_922_880, "0" * 64, 0.89, 10_000, {"torch": "2.14.1"}, "now"
    )
    assert len(serialize(graph, about)) <= MAX_BYTES


def test_types_are_what_every_processor_has_kernels_for(graph: ModelProto) -> None:
    constants = {each.name: each for each in graph.graph.initializer}
    makers = {output: node for node in graph.graph.node for output in node.output}
    transpose, pixels = graph.graph.node[:2]
    assert (list(transpose.input), pixels.input[0]) == ([INPUT_NAME], transpose.output[0])
    assert [numpy_helper.to_array(constants[name]) for name in pixels.input[1:]] == [PIXEL_SCALE, PIXEL_ZERO_POINT]
    for node in graph.graph.node:
        if node.op_type == "Conv":
            weights, bias = makers[node.input[1]].input, makers[node.input[2]].input
            assert constants[weights[0]].data_type == TensorProto.INT8
            assert constants[bias[0]].data_type == TensorProto.INT32
            assert len(constants[weights[1]].dims) == len(constants[bias[1]].dims) == 1, "one scale a channel"
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[2]].data_type == TensorProto.UINT8
            assert numpy_helper.to_array(constants[node.input[2]]) == 0, "it is the ReLU"


def test_sums_of_two_products_fit_into_int16(graph: ModelProto) -> None:
    for constant in graph.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.dtype == np.int8:
            codes = values.T if constant.name == "wh" else values
            assert 255 * np.abs(neighbours(codes)).max() < 2**15
            assert np.abs(codes).max(axis=tuple(range(1, codes.ndim))).min() >= 63, (
                "no channel gives up two bits for it"
            )


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)),
    magnitude=st.floats(1e-6, 1e3),
    bias=st.floats(-100, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_weights_are_within_half_a_code(shape: tuple[int, ...], magnitude: float, bias: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weights = (generator.standard_normal(shape) * magnitude).astype(np.float32)
    layer = nn.Conv2d(shape[1], shape[0], (shape[2], shape[3]))
    layer.load_state_dict({"weight": torch.tensor(weights), "bias": torch.full((shape[0],), bias)})
    codes, scales, biases = round_to_nearest(layer, np.float32(0.05))
    errors = np.abs(codes * scales[:, None, None, None].astype(np.float64) - weights)
    assert (errors <= 0.5001 * scales[:, None, None, None]).all()
    assert np.abs(biases * (scales * 0.05) - bias).max() <= 0.5001 * (scales * 0.05).max() + 1e-6 * abs(bias)
    assert np.abs(neighbours(codes)).max() <= 128


def test_channels_without_weights_keep_their_bias() -> None:
    layer = nn.Conv2d(3, 2, 3)
    weights = torch.zeros(2, 3, 3, 3)
    weights[1] = 1e-30
    layer.load_state_dict({"weight": weights, "bias": torch.tensor([0.0, -7.5])})
    codes, scales, bias = round_to_nearest(layer, np.float32(1 / 64))
    assert not codes.any()
    assert bias * (scales / 64) == pytest.approx([0.0, -7.5])


@torch.inference_mode()
def rounding_bound(
    network: FoldedNetwork, scales: list[float], weights: list[QuantizedWeights], images: Array
) -> Array:
    """How far the logits can be off if every activation is rounded to its nearest code and none is clipped.

    With errors of at most e_x, e_W and e_b in x, W and b, that of W x + b is at most (|W| + e_W) e_x + e_W |x| + e_b.
    """
    (batch,) = activations(network, images)
    inputs = [torch.tensor(images.transpose(0, 3, 1, 2) / 64.0 - 2.0).float(), *batch]
    input_scales = [1 / 64, *scales]
    error = torch.zeros_like(inputs[0])
    errors = [error]
    for index, layer in enumerate(network.convolutions):
        assert isinstance(layer, nn.Conv2d)
        weight_error, bias_error = rounding_errors(layer, weights[index], input_scales[index])
        convolve = copy.deepcopy(layer)
        convolve.load_state_dict({"weight": layer.weight.abs() + weight_error, "bias": bias_error})
        error = convolve(error) + scales[index] / 2
        convolve.load_state_dict({"weight": weight_error, "bias": torch.zeros_like(bias_error)})
        error += convolve(inputs[index].abs())
        if residual := network.residuals[index]:
            error += errors[-residual]
        errors.append(error)
    error = error.mean((2, 3)) + scales[-1] / 2
    weight_error, bias_error = rounding_errors(network.head, weights[-1], scales[-1])
    pooled = inputs[len(network.convolutions) + 1].flatten(1)
    logit_error = error @ (network.head.weight.abs() + weight_error).T + pooled @ weight_error.T + bias_error
    return np.asarray(1.001 * logit_error + 1e-4)


def unclipped_scales(network: FoldedNetwork, images: Array) -> list[float]:
    """Scales by which no activation is clipped; a residual's shortcut, what is added to it and their sum share one."""
    count = len(network.convolutions) + 1
    found = histograms(network, images)
    needed = [histogram.maximum / 255 for histogram in found[:count]]
    added = iter(found[count:])
    first = list(range(count))
    for index, residual in enumerate(network.residuals):
        if residual:
            signed = next(added)
            needed[index] = max(needed[index], signed.maximum / 127, -signed.minimum / 128)
            first[index] = first[index - residual]
    return [max(needed[other] for other in range(count) if first[other] == own) or 1.0 for own in first]


def rounding_errors(
    layer: nn.Conv2d | nn.Linear, weights: QuantizedWeights, input_scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    codes, scales, bias = (torch.tensor(part) for part in weights)
    assert layer.bias is not None
    values = codes * scales.reshape(-1, *[1] * (codes.ndim - 1))
    return (values - layer.weight).abs(), (bias * (scales * input_scale) - layer.bias).abs()


@settings(max_examples=40, deadline=None)
@given(
    layers=st.lists(LAYER, min_size=1, max_size=3),
    classes=st.integers(2, 12),
    fitted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_folded_network_is_computed_within_its_rounding(
    sample: Dataset, layers: list[dict[str, int]], classes: int, fitted: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    network = build_folded(layers, classes)
    images = sample.test_images[:3]
    scales = unclipped_scales(network, images)
    weights = fitted_weights(network, scales, sample.train_images[:3]) if fitted else nearest_weights(network, scales)
    integers = integer_network(network, scales, weights)
    graph = integer_graph(integers)
    onnx.checker.check_model(graph, full_check=True)
    with tempfile.TemporaryDirectory() as folder:
        logits = session(graph, Path(folder, "optimized.onnx")).run([OUTPUT_NAME], {INPUT_NAME: images})[0]
        operators = Counter(node.op_type for node in onnx.load(Path(folder, "optimized.onnx")).graph.node)
    assert np.array_equal(logits, answers(integers, images))
    assert (np.abs(logits - torch_logits(network, images)) <= rounding_bound(network, scales, weights, images)).all()
    assert operators["QLinearConv"] == len(layers)
    assert operators["QLinearAdd"] == sum(residual > 0 for residual in network.residuals)
    assert operators["DequantizeLinear"] == 1
    assert not operators.keys() & {"Conv", "FusedConv", "QuantizeLinear"}


def test_calibration_is_deterministic(folded: FoldedNetwork, sample: Dataset) -> None:
    first, second = (activation_scales(folded, sample.train_images) for _ in range(2))
    assert first == second


def test_calibration_takes_images_from_everywhere() -> None:
    many = np.arange(50_000, dtype="<u4").view(np.uint8).reshape(50_000, 4)  # each names its own index
    chosen = calibration_images(many).copy().view("<u4")[:, 0].astype(int)
    assert len(np.unique(chosen)) == CALIBRATION_IMAGES
    assert (chosen[0], chosen[-1]) == (0, 49_999)
    assert np.ptp(np.diff(chosen)) <= 1
    assert len(calibration_images(many[:10])) == 10


def test_histograms_count_every_activation(folded: FoldedNetwork, sample: Dataset) -> None:
    images = sample.train_images[:70]  # more than one batch
    found = histograms(folded, images)
    sizes = [32 * 16 * 16] * 3 + [32 * 8 * 8] * 2 + [28 * 8 * 8, 64 * 8 * 8, 64]
    assert [histogram.counts.sum() for histogram in found] == [70 * size for size in sizes]
    for index, histogram in enumerate(found):
        assert histogram.maximum == max(float(batch[index].max()) for batch in activations(folded, images))
        assert histogram.counts[-1] > 0


@pytest.mark.parametrize(
    ("outliers", "low", "high"),
    [
        (0, 0.97, 1.0),  # evenly spread: nothing to gain by clipping
        (1, 0.20, 0.80),  # one value far out among 400,000: clip it
        (10**6, 0.97, 1.0),  # more there than elsewhere: keep them
    ],
)
def test_scale_clips_what_is_rare(outliers: int, low: float, high: float) -> None:
    counts = np.zeros(4096, np.int64)
    counts[: 4096 if outliers == 0 else 400] = 1000
    counts[-1] += outliers
    assert low * 4.0 / 255 <= least_error_scale(Histogram(counts, 4.0)) <= high * 4.0 / 255


def test_activation_that_never_fires_has_a_scale(sample: Dataset) -> None:
    torch.manual_seed(0)
    network = build_folded([{"channels": 4, "kernel": 3, "stride": 1, "depthwise": False, "groups": 1}], 3)
    network.convolutions[0].load_state_dict({"weight": torch.zeros(4, 3, 3, 3), "bias": torch.full((4,), -1.0)})
    scales = activation_scales(network, sample.train_images[:2])
    assert scales == [1.0, 1.0]
    weights = fitted_weights(network, scales, sample.train_images[:2])
    logits = logits_of(integer_graph(integer_network(network, scales, weights)), sample.test_images[:2])
    assert logits == pytest.approx(np.tile(network.head.bias.numpy(), (2, 1)), abs=4e-3)


@pytest.mark.parametrize("damaged", [1, 4, 6])
def test_debug_finds_the_damaged_layer(folded: FoldedNetwork, exact: ModelProto, sample: Dataset, damaged: int) -> None:
    scales = activation_scales(folded, sample.train_images)
    scales[damaged] *= 10
    int8 = integer_graph(integer_network(folded, scales, nearest_weights(folded, scales)))
    signals = layer_signals(exact, int8, sample.test_images)
    assert [signal.layer for signal in signals] == [
        *(f"convolution {index}" for index in range(1, 8)),
        "average pool 1 to logits",
    ]
    assert max(signals, key=lambda signal: signal.added).layer == f"convolution {damaged + 1}"
    assert signals[damaged - 1].snr_db > signals[damaged].snr_db + 6


def test_debug_of_a_faithful_graph_is_silent(exact: ModelProto, sample: Dataset) -> None:
    signals = layer_signals(exact, exact, sample.test_images)
    assert {(signal.noise, signal.added, signal.snr_db) for signal in signals} == {(0.0, 0.0, float("inf"))}
