"""The int8 graph of an integer network: what onnxruntime makes of it, what can be read of it, lost signal."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from export_helpers import answers, neighbours
from onnx import ModelProto, TensorProto, numpy_helper
from torch import nn

from cifar_edge.data import Dataset
from cifar_edge.export.calibration import Histogram, least_error_scale
from cifar_edge.export.fp32 import network_graph, with_pixels
from cifar_edge.export.graphs import serialize
from cifar_edge.export.integers import quantize
from cifar_edge.export.layer_signals import layer_signals
from cifar_edge.export.parity import compare, torch_logits
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.integer import IntegerNetwork
from cifar_edge.models.summary import summarize
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
    return with_pixels(network_graph(folded, 32))


@pytest.fixture(scope="module")
def integers(folded: FoldedNetwork, sample: Dataset) -> IntegerNetwork:
    """Its integers, calibrated on the sample."""
    return quantize(folded.layers, sample.train_images)


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


def test_a_float_head_has_the_same_logits_but_for_float_rounding(integers: IntegerNetwork, sample: Dataset) -> None:
    model = integer_graph(integers, float_head=True)
    assert "MatMulInteger" not in {node.op_type for node in model.graph.node}
    wanted = answers(integers, sample.test_images)
    assert np.abs(logits_of(model, sample.test_images) - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_onnxruntime_runs_integers_and_nothing_else(
    graph: ModelProto, folded: FoldedNetwork, sample: Dataset, tmp_path: Path
) -> None:
    session(graph, tmp_path / "optimized.onnx")
    run = onnx.load(tmp_path / "optimized.onnx").graph
    convolutions = sum(isinstance(module, nn.Conv2d) for module in folded.modules())
    assert [node.op_type for node in run.node] == [
        *["QLinearConv"] * convolutions,
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
    costs = summarize(folded)
    about = ModelMetadata(
        "gn-cnn", "int8", labels, costs.parameters, costs.macs, "0" * 64, 0.89, 10_000, {"torch": "2.14.1"}, "now"
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


@pytest.mark.parametrize("damaged", [1, 4, 6])
def test_debug_finds_the_damaged_layer(folded: FoldedNetwork, exact: ModelProto, sample: Dataset, damaged: int) -> None:
    convolutions = sum(isinstance(module, nn.Conv2d) for module in folded.modules())
    scales = iter(range(convolutions + 1))

    def one_too_large(histogram: Histogram) -> float:
        return least_error_scale(histogram) * (20 if next(scales) == damaged else 1)

    int8 = integer_graph(quantize(folded.layers, sample.train_images, choose_scale=one_too_large, fit=False))
    signals = layer_signals(exact, int8, sample.test_images)
    assert [signal.layer for signal in signals] == [
        *(f"convolution {index + 1}" for index in range(convolutions)),
        "average pool 1 to logits",
    ]
    faithful = layer_signals(
        exact, integer_graph(quantize(folded.layers, sample.train_images, fit=False)), sample.test_images
    )
    lost = [sound.snr_db - signal.snr_db for sound, signal in zip(faithful, signals, strict=True)]
    assert lost[:damaged] == [0] * damaged
    assert lost[damaged] > 3


def test_debug_of_a_faithful_graph_is_silent(exact: ModelProto, sample: Dataset) -> None:
    signals = layer_signals(exact, exact, sample.test_images)
    assert {(signal.noise, signal.added, signal.snr_db) for signal in signals} == {(0.0, 0.0, float("inf"))}
