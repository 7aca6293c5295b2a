"""A first layer computed in columns of four pixels: the same codes, on processors of either kind, or the plain form."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from export_helpers import answers
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto
from torch import nn

from cifar_edge.data import Dataset
from cifar_edge.errors import ContractError
from cifar_edge.export.calibration import LARGEST_WEIGHT, kernel_order, weight_scales
from cifar_edge.export.graphs import serialize
from cifar_edge.export.integers import quantize
from cifar_edge.export.rounding import round_to_fit
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.folding.layers import Shift
from cifar_edge.integer import Conv, IntegerNetwork, columns
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME, ModelMetadata

Array = npt.NDArray[Any]
ABOUT = ModelMetadata("gn-cnn", "int8", tuple("abcde"), 1, 1, "0" * 64, None, 0, {}, "now")


def network(size: int = 32, pixel: int = 128, largest: float = 6.0, channels: int = 8) -> IntegerNetwork:
    """One whose first layer is a 3x3 convolution of the image, calibrated on noise."""
    torch.manual_seed(0)
    modules = [
        Shift(pixel),
        nn.Conv2d(3, channels, 3, 1, 1),
        nn.Hardtanh(0.0, largest),
        nn.Conv2d(channels, 12, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    ]
    return quantize(nn.Sequential(*modules).eval().requires_grad_(False), noise(size))


def noise(size: int, count: int = 16) -> Array:
    """Images of noise, and of the darkest and the brightest pixels alone: whole, and in stripes of each width."""
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    places = np.arange(size * 3).reshape(size, 3)
    for index, width in enumerate((1, 2, 3, 4, 6, 12)):
        images[index] = 255 * (places // width % 2)
    images[6], images[7] = 0, 255
    return images


def with_first(network: IntegerNetwork, weights: Array) -> IntegerNetwork:
    first = network.layers[0]
    assert isinstance(first, Conv)
    return replace(network, layers=(replace(first, weights=weights.astype(np.int8)), *network.layers[1:]))


def logits_of(graph: ModelProto, images: Array, optimized: Path | None = None) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # it warns that the optimised graph is for this machine only
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([OUTPUT_NAME], {INPUT_NAME: images})[0])


def in_columns(graph: ModelProto) -> bool:
    return "Pad" in {node.op_type for node in graph.graph.node}


@pytest.mark.parametrize("pixel", [128, 0, 255])
@pytest.mark.parametrize("size", [32, 48])
def test_columns_give_the_codes_of_the_layer(size: int, pixel: int, tmp_path: Path) -> None:
    integers, images = network(size, pixel), noise(size)
    graph = integer_graph(integers)
    assert in_columns(graph)
    onnx.checker.check_model(graph, full_check=True)
    assert np.array_equal(logits_of(graph, images), answers(integers, images))
    assert np.array_equal(logits_of(graph, images[:1]), answers(integers, images[:1]))
    file = tmp_path / "columns.onnx"
    file.write_bytes(serialize(graph, replace(ABOUT, size=size)))
    assert IntegerNetwork.from_onnx(file) == integers


def test_onnxruntime_computes_them_as_one_convolution(tmp_path: Path) -> None:
    logits_of(integer_graph(network()), noise(32), tmp_path / "optimized.onnx")
    run = onnx.load(tmp_path / "optimized.onnx").graph
    assert [node.op_type for node in run.node] == [
        *("Pad", "Reshape", "QLinearConv", "Reshape", "QLinearConv"),
        *("QLinearGlobalAveragePool", "Flatten", "MatMulInteger", "Add", "DequantizeLinear"),
    ]


def test_the_file_holds_the_weights_once() -> None:
    few, many = (len(integer_graph(network(channels=channels)).SerializeToString()) for channels in (16, 32))
    assert many - few < 16 * (27 + 3 * 4 + 12 * 9) + 100  # weights; scale and bias; those of the second layer


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_weights_are_found_in_those_of_columns(seed: int) -> None:
    generator = np.random.default_rng(seed)
    weights = generator.integers(-127, 128, (generator.integers(1, 40), 3, 3, 3), dtype=np.int8)
    wide = columns.wide(weights)
    assert np.array_equal(columns.narrow(wide), weights)
    place = tuple(generator.integers(0, wide.shape))
    wide[place] ^= 1
    with pytest.raises(ValueError, match="columns"):
        columns.narrow(wide)


@settings(max_examples=50, deadline=None)
@given(channels=st.integers(1, 8), spread=st.floats(0, 4), seed=st.integers(0, 2**32 - 1))
def test_no_two_neighbours_saturate(channels: int, spread: float, seed: int) -> None:
    """Neighbours in order of the kernel are the pairs of either form, among the zeros too."""
    generator = np.random.default_rng(seed)
    weights = generator.standard_normal((channels, 3, 3, 3)) * np.exp(spread * generator.standard_normal((3, 3, 3)))
    exact = kernel_order(weights / weight_scales(weights, both_sides=True)[:, None, None, None])
    samples = generator.standard_normal((54, 27)) @ generator.standard_normal((27, 27))
    codes = round_to_fit(exact, np.rint(exact), np.cov(samples, rowvar=False), both_sides=True)
    assert (np.abs(codes - exact) < 1).all()
    assert np.abs(codes).max() <= LARGEST_WEIGHT
    narrow = codes.reshape(-1, 3, 3, 3).transpose(0, 3, 1, 2).astype(np.int8)
    for form in (narrow, columns.wide(narrow)):
        read = np.moveaxis(form, 1, -1).reshape(len(form), -1).astype(int)
        read = np.pad(read, ((0, 0), (0, read.shape[1] % 2)))
        assert 255 * np.abs(read[:, ::2] + read[:, 1::2]).max() < 2**15


def test_the_first_layer_is_bounded_on_both_sides_and_no_other(sample: Dataset) -> None:
    torch.manual_seed(0)
    modules = [nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU()]
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)]
    integers = quantize(nn.Sequential(*modules, *tail).eval().requires_grad_(False), sample.train_images[:64])
    first, second = (
        kernel_order(layer.weights.astype(np.float64)) for layer in integers.layers[:2] if isinstance(layer, Conv)
    )
    assert np.abs(first[:, :-1] + first[:, 1:]).max() <= 128
    assert np.abs(second[:, 1:-1:2] + second[:, 2::2]).max() > 128


@pytest.mark.parametrize("place", range(26))
def test_weights_that_may_saturate_in_columns_keep_the_plain_form(place: int) -> None:
    integers, images = network(), noise(32)
    for weight, plain in ((64, False), (65, True)):
        rows = np.zeros((8, 27))
        rows[3, place : place + 2] = 64, weight
        changed = with_first(integers, rows.reshape(8, 3, 3, 3).transpose(0, 3, 1, 2))
        graph = integer_graph(changed)
        assert in_columns(graph) is not plain
        if not plain:
            assert np.array_equal(logits_of(graph, images), answers(changed, images))


@pytest.mark.parametrize(
    "first",
    [
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.Conv2d(3, 8, 4, 2, 1),
        nn.Conv2d(3, 8, 3, 1, 0),
        nn.Conv2d(3, 9, 3, 1, 1, groups=3),
        nn.Conv2d(3, 8, 5, 1, 2),
    ],
    ids=str,
)
def test_other_first_layers_keep_the_plain_form(first: nn.Conv2d) -> None:
    tail = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(first.out_channels, 5)]
    integers = quantize(nn.Sequential(first, *tail).eval().requires_grad_(False), noise(32))
    assert not in_columns(integer_graph(integers))


def test_other_sizes_and_float_logits_keep_the_plain_form() -> None:
    assert not in_columns(integer_graph(network(30)))
    assert not in_columns(integer_graph(network(), float_head=True))


def other_number(graph: ModelProto, constant: str, change: Sequence[int]) -> None:
    (tensor,) = [each for each in graph.graph.initializer if each.name == constant]
    changed = onnx.numpy_helper.to_array(tensor) + np.array(change)
    tensor.CopyFrom(onnx.numpy_helper.from_array(changed, constant))


def other_input(graph: ModelProto, output: str, place: int, name: str) -> None:
    (node,) = [each for each in graph.graph.node if each.output[0] == output]
    node.input[place] = name


OTHER: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    "image to the right": (
        lambda graph: other_number(graph, "xps", [0, 0, 1, 0, 0, 0, -1, 0]),
        "padded in another way",
    ),
    "padding of black": (lambda graph: other_input(graph, "xp", 2, "z0"), "changes"),
    "columns of six": (lambda graph: other_number(graph, "xrs", [0, 17, -3, -4]), "not fit|not one of columns"),
    "weights to the right": (lambda graph: other_number(graph, "w0p2s", [0, 0, 1, 0, 0, -1]), "not those of columns"),
    "pixels in another order": (lambda graph: other_input(graph, "w0c", 1, "w0p2"), "not those of columns"),
    "zeros that are none": (lambda graph: graph.graph.node[6].input.append("wh"), "something else than zeros"),
    "a bias a pixel": (lambda graph: other_input(graph, "b0c", 2, "b1"), "differ from pixel to pixel|not fit"),
    "output of other pixels": (lambda graph: other_number(graph, "y0rs", [0, 32, -16, 0]), "not one of columns"),
}
"""A change of a file in columns, and what is said of it."""


@pytest.mark.parametrize("name", OTHER)
def test_a_file_of_other_columns_is_no_integer_network(name: str, tmp_path: Path) -> None:
    graph, file = integer_graph(network(channels=12)), tmp_path / "other.onnx"
    change, words = OTHER[name]
    change(graph)
    file.write_bytes(serialize(graph, ABOUT))
    with pytest.raises(ContractError, match=words):
        IntegerNetwork.from_onnx(file)
