"""From networks without norms to integers: scales, weights, and what onnxruntime computes of them."""

import math
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
from export_helpers import LAYER, NETWORKS, answers, build_folded, neighbours, numerators, output_of, residual, train
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from cifar_edge.data import Dataset
from cifar_edge.errors import ExportError
from cifar_edge.export.calibration import (
    CALIBRATION_IMAGES,
    Histogram,
    calibration_images,
    histograms,
)
from cifar_edge.export.float_network import FloatLayer, float_layers
from cifar_edge.export.graphs import serialize
from cifar_edge.export.integers import quantize
from cifar_edge.export.parity import compare, torch_logits
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.folding.layers import Residual as FloatResidual
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.integer import PIXELS, AveragePool, Conv, IntegerNetwork, Layer, Linear, Quantization, Residual
from cifar_edge.integer.fixed_point import fixed_point
from cifar_edge.integer.quantization import DENOMINATOR
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME, PIXEL_SCALE, ModelMetadata

Array = npt.NDArray[Any]


def run(network: IntegerNetwork, images: Array) -> tuple[Array, Counter[str]]:
    """What onnxruntime answers, and the operators that it runs."""
    graph = integer_graph(network)
    onnx.checker.check_model(graph, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # it warns that the optimised graph is for this machine only
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder, "optimized.onnx"))
        content = graph.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        operators = Counter(node.op_type for node in onnx.load(Path(folder, "optimized.onnx")).graph.node)
    return session.run([OUTPUT_NAME], {INPUT_NAME: images})[0], operators


def read_back(network: IntegerNetwork, folder: Path) -> IntegerNetwork:
    """What a file of ``network`` is read as, behind the runtime's checks."""
    labels = tuple(f"class {index}" for index in range(len(network.head.bias)))
    about = ModelMetadata("gn-cnn", "int8", labels, 1, 1, "0" * 64, None, 0, {}, "now")
    file = folder / "network.onnx"
    file.write_bytes(serialize(integer_graph(network), about))
    return IntegerNetwork.from_onnx(file)


def proven(layers: tuple[Layer, ...], given: Quantization, shape: tuple[int, ...]) -> int:
    """How many factors have an exact multiplier; one that has none is an error."""
    count = 0
    for layer in layers:
        if isinstance(layer, Residual):
            count += proven(layer.layers, given, shape) + proven(layer.shortcut, given, shape)
        elif isinstance(layer, AveragePool):
            count += len(fixed_point(layer.factors(given, shape[:2]), layer.output).multiplier)
        elif isinstance(layer, Conv | Linear):
            assert layer.output is not None
            count += len(fixed_point(layer.factors(given), layer.output).multiplier)
        given, shape = output_of(layer, given), layer.output_shape(shape)
    return count


@pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_computed_bit_for_bit(name: str, trained: bool, sample: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    if trained:
        train(network, sample)
    network.eval().requires_grad_(False)
    integers = quantize(network, sample.train_images)
    images, labels = sample.test_images, sample.test_labels
    logits, operators = run(integers, images)
    assert np.array_equal(logits, answers(integers, images))
    assert not operators.keys() & {"Conv", "FusedConv", "Gemm", "QuantizeLinear", "AveragePool"}, "no float remains"
    assert operators["DequantizeLinear"] == 1
    comparison = compare(logits, torch_logits(network, images), labels)
    assert comparison.snr_db is not None
    assert comparison.snr_db > 20
    assert comparison.agreement > 0.9
    assert read_back(integers, tmp_path) == integers
    assert proven(integers.layers[:-1], PIXELS, (32, 32, 3)) > 0


def test_the_released_network_is_exact_in_fixed_point(folded: FoldedNetwork, sample: Dataset, tmp_path: Path) -> None:
    integers = quantize(folded.layers, sample.train_images)
    channels = sum(module.out_channels for module in folded.modules() if isinstance(module, nn.Conv2d))
    assert proven(integers.layers[:-1], PIXELS, (32, 32, 3)) == channels + 1  # each of them, and the pool
    assert read_back(integers, tmp_path) == integers


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 900, 2)], "a BatchNorm2d cannot"),
        ([nn.Conv2d(3, 4, 3, dilation=2), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 2)], "another dilation"),
        ([nn.Conv2d(3, 4, 3, padding_mode="reflect", padding=1), nn.Linear(4, 2)], "another padding"),
        ([nn.Conv2d(3, 4, 3, padding="same"), nn.Flatten(), nn.Linear(4, 2)], "a padding without a number"),
        ([nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.Linear(4, 2)], "ceil_mode"),
        ([nn.AvgPool2d(2, padding=1, count_include_pad=False), nn.Linear(4, 2)], "count_include_pad=False"),
        ([nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2)], "another output_size"),
        ([nn.ReLU(), nn.Flatten(), nn.Linear(3072, 2)], "a ReLU of an integer network must follow a layer"),
        ([nn.Flatten(), nn.Linear(3072, 2), nn.ReLU()], "Linear without activation"),
        ([nn.Conv2d(3, 4, 3), nn.ReLU()], "Linear without activation"),
        ([nn.Flatten(), nn.Linear(3072, 2), nn.ZeroPad2d(1)], "a ZeroPad2d of an integer network must come before"),
    ],
)
def test_what_integers_do_not_compute_is_refused(modules: list[nn.Module], message: str, sample: Dataset) -> None:
    with pytest.raises(ExportError, match=message):
        quantize(nn.Sequential(*modules).eval().requires_grad_(False), sample.train_images[:2])


def first_convolution(layer: nn.Conv2d, images: Array) -> Conv:
    """The integers of ``layer``, rounded to nearest, as the first one of a network."""
    network = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(layer.out_channels, 2))
    integers = quantize(network.eval().requires_grad_(False), images, fit=False).layers[0]
    assert isinstance(integers, Conv)
    return integers


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.just(3), st.integers(1, 4), st.integers(1, 3)),
    magnitude=st.floats(1e-6, 1e3),
    bias=st.floats(-100, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_weights_are_within_half_a_code(
    sample: Dataset, shape: tuple[int, ...], magnitude: float, bias: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    weights = (generator.standard_normal(shape) * magnitude).astype(np.float32)
    layer = nn.Conv2d(shape[1], shape[0], (shape[2], shape[3]))
    layer.load_state_dict({"weight": torch.tensor(weights), "bias": torch.full((shape[0],), bias)})
    integers = first_convolution(layer, sample.train_images[:2])
    scales = integers.scales.astype(np.float64)
    errors = np.abs(integers.weights * scales[:, None, None, None] - weights)
    assert (errors <= 0.5001 * scales[:, None, None, None]).all()
    assert np.abs(integers.bias * (scales / 64) - bias).max() <= 0.5001 * (scales / 64).max() + 1e-6 * abs(bias)
    assert np.abs(neighbours(integers.weights)).max() <= 128


def test_channels_without_weights_keep_their_bias(sample: Dataset) -> None:
    layer = nn.Conv2d(3, 2, 3)
    weights = torch.zeros(2, 3, 3, 3)
    weights[1] = 1e-30
    layer.load_state_dict({"weight": weights, "bias": torch.tensor([0.0, -7.5])})
    integers = first_convolution(layer, sample.train_images[:2])
    assert not integers.weights.any()
    assert integers.bias * (integers.scales / 64) == pytest.approx([0.0, -7.5], abs=1e-4)


def bound(
    layers: tuple[FloatLayer, ...], integers: tuple[Layer, ...], x: Tensor, error: Tensor, given: Quantization
) -> tuple[Tensor, Tensor]:
    """How far ``integers`` can be off behind ``layers`` if every code is rounded to nearest and none is clipped.

    With errors of at most e_x, e_W and e_b in x, W and b, that of W x + b is at most (|W| + e_W) e_x + e_W |x| + e_b.
    Takes and returns what the layers in float pass on, and by how much the integers may differ from it.
    """
    for layer, integer in zip(layers, integers, strict=True):
        module, output = layer.module, output_of(integer, given)
        if isinstance(integer, Residual):
            one = bound(layer.layers, integer.layers, x, error, given)
            other = bound(layer.shortcut, integer.shortcut, x, error, given)
            x, error = one[0] + other[0], one[1] + other[1]
        elif isinstance(module, nn.Conv2d | nn.Linear):
            assert isinstance(integer, Conv | Linear)
            scales = np.float32(PIXEL_SCALE) if integer.scales is None else integer.scales
            error = bound_of_products(module, integer, torch.tensor(scales), x, error, given) + float(output.scale) / 2
            x = module(x if isinstance(module, nn.Conv2d) else x.flatten(1))
        else:
            assert isinstance(module, nn.AdaptiveAvgPool2d)
            x, error = module(x), module(error) + float(output.scale) / 2
        x, given = x if layer.largest is None else x.relu(), output
    return x, error


def bound_of_products(
    module: nn.Conv2d | nn.Linear, integer: Conv | Linear, scales: Tensor, x: Tensor, error: Tensor, given: Quantization
) -> Tensor:
    """The same of one layer, before its sums are rounded to codes."""
    assert module.bias is not None
    values = torch.tensor(integer.weights) * scales.reshape(-1, *[1] * (module.weight.ndim - 1))
    off, bias_off = (
        (values - module.weight).abs(),
        (torch.tensor(integer.bias) * (scales * float(given.scale)) - module.bias),
    )
    largest = module.weight.abs() + off
    if isinstance(module, nn.Linear):
        return F.linear(error.flatten(1), largest, bias_off.abs()) + F.linear(x.flatten(1).abs(), off)
    assert not isinstance(module.padding, str)
    window = module.stride, module.padding, module.dilation, module.groups
    return F.conv2d(error, largest, bias_off.abs(), *window) + F.conv2d(x.abs(), off, None, *window)


def unclipped_scale(*histograms: Histogram) -> float:
    """The scale by which no value is clipped."""
    ends = [max(each.maximum / each.codes[1], each.minimum / (each.codes[0] or 1)) for each in histograms]
    return max(ends) or 1.0


@settings(max_examples=40, deadline=None)
@given(
    drawn=st.lists(LAYER, min_size=1, max_size=3),
    classes=st.integers(2, 12),
    fit=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_folded_network_is_computed_within_its_rounding(
    sample: Dataset, drawn: list[dict[str, int]], classes: int, fit: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    network = build_folded(drawn, classes)
    images = sample.train_images[:3]
    integers = quantize(network.layers, images, choose_scale=unclipped_scale, fit=fit)
    logits, operators = run(integers, images)
    assert np.array_equal(logits, answers(integers, images))
    *layers, head = float_layers(network.layers)
    with torch.inference_mode():
        x = pixels_to_input(torch.tensor(images))
        x, error = bound(tuple(layers), integers.layers[:-1], x, torch.zeros_like(x), PIXELS)
        given = output_of(integers.layers[-2], PIXELS)
        scale = torch.tensor(integers.logit_scale / given.scale)
        assert isinstance(head.module, nn.Linear)
        error = bound_of_products(head.module, integers.head, scale, x, error, given)
    assert (np.abs(logits - torch_logits(network, images)) <= 1.001 * error.numpy() + 1e-4).all()
    assert operators["QLinearConv"] == len(drawn)
    assert operators["QLinearAdd"] == sum(isinstance(module, FloatResidual) for module in network.modules())
    assert operators["DequantizeLinear"] == 1
    assert not operators.keys() & {"Conv", "FusedConv", "QuantizeLinear"}


def test_it_is_deterministic(folded: FoldedNetwork, sample: Dataset) -> None:
    images = sample.train_images[:100]
    assert quantize(folded.layers, images) == quantize(folded.layers, images)


def test_calibration_takes_images_from_everywhere() -> None:
    many = np.arange(50_000, dtype="<u4").view(np.uint8).reshape(50_000, 4)  # each names its own index
    chosen = calibration_images(many).copy().view("<u4")[:, 0].astype(int)
    assert len(np.unique(chosen)) == CALIBRATION_IMAGES
    assert (chosen[0], chosen[-1]) == (0, 49_999)
    assert np.ptp(np.diff(chosen)) <= 1
    assert len(calibration_images(many[:10])) == 10


def test_histograms_count_every_activation(folded: FoldedNetwork, sample: Dataset) -> None:
    images = sample.train_images[:70]  # more than one batch
    found = list(histograms(float_layers(folded.layers)[:-1], images).values())
    layers = quantize(folded.layers, images[:8], fit=False).summary().layers[:-1]
    sizes = [math.prod(layer.output) for layer in layers]
    assert [histogram.counts.sum() for histogram in found] == [70 * size for size in sizes]
    for histogram in found:
        assert (histogram.minimum, histogram.codes) == (0.0, (0, 255))
        assert histogram.counts[-1] > 0


def test_residuals_on_the_image_keep_its_scale(sample: Dataset) -> None:
    torch.manual_seed(0)
    chain = (residual(9, 3), residual(9, 3), nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = nn.Sequential(*chain, nn.Linear(8, 3)).eval().requires_grad_(False)
    integers = quantize(network, sample.train_images[:50])
    first, second = integers.layers[:2]
    assert isinstance(first, Residual)
    assert isinstance(second, Residual)
    assert first.output.scale == second.output.scale == PIXELS.scale
    logits, _ = run(integers, images := sample.test_images[:50])
    assert np.array_equal(logits, answers(integers, images))


@pytest.mark.parametrize("inner", [1, 3])
def test_shortcuts_within_shortcuts(inner: int, sample: Dataset) -> None:
    """The shortcut of an outer residual is that of the first inner one as well, whose sum is far larger."""
    torch.manual_seed(0)
    chain: list[nn.Module] = []
    for _ in range(inner):
        chain += [residual(3), nn.ReLU()]
    outer = FloatResidual(nn.Sequential(*chain[:-1]))
    tail = (nn.ReLU(), nn.AvgPool2d(2), residual(9), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), outer, *tail, *head).eval().requires_grad_(False)
    images = sample.train_images[:50]
    integers = quantize(network, images)
    *_, last = found = numerators(integers.layers[:-1], integers.pixels)
    assert (len(found), last < DENOMINATOR / 2) == (inner + 2, True)
    logits, _ = run(integers, images)
    assert np.array_equal(logits, answers(integers, images))
    snr = compare(logits, torch_logits(network, images), sample.train_labels[:50]).snr_db
    assert snr is not None
    assert snr > 20


def test_activation_that_never_fires_has_a_scale(sample: Dataset) -> None:
    torch.manual_seed(0)
    network = build_folded([{"channels": 4, "kernel": 3, "stride": 1, "depthwise": False, "groups": 1}], 3)
    network.layers[0].load_state_dict({"weight": torch.zeros(4, 3, 3, 3), "bias": torch.full((4,), -1.0)})
    head = network.layers[-1]
    assert isinstance(head, nn.Linear)
    integers = quantize(network.layers, sample.train_images[:2])
    assert isinstance(convolution := integers.layers[0], Conv)
    assert convolution.output == Quantization(np.float32(1))
    logits = answers(integers, sample.test_images[:2])
    assert logits == pytest.approx(np.tile(head.bias.numpy(), (2, 1)), abs=4e-3)


def test_a_pool_of_an_activation_that_never_fires_has_a_scale(sample: Dataset) -> None:
    torch.manual_seed(0)
    never = residual(1, 4)
    (branch,) = never.layers.children()
    branch.load_state_dict({"weight": torch.zeros(4, 4, 3, 3), "bias": torch.full((4,), -9.0)})
    tail = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head := nn.Linear(4, 3))
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), never, *tail).eval().requires_grad_(False)
    integers = quantize(network, sample.train_images[:8])
    logits, _ = run(integers, sample.test_images[:2])
    assert logits == pytest.approx(np.tile(head.bias.numpy(), (2, 1)), abs=4e-3)


def test_residuals_that_begin_at_one_activation_share_one_scale(sample: Dataset) -> None:
    """The inner shortcut joins the scale of the activation that the outer shortcut reads too."""
    torch.manual_seed(0)
    inner = FloatResidual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)))
    outer = FloatResidual(nn.Sequential(inner, nn.ReLU(), nn.Conv2d(4, 4, 1)))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), outer, nn.ReLU(), *head)
    images = sample.train_images[:20]
    integers = quantize(network.eval().requires_grad_(False), images)
    logits, _ = run(integers, images)
    assert np.array_equal(logits, answers(integers, images))
