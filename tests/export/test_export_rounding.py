"""Weights rounded up or down: what a layer answers changes least, and never more than by rounding to nearest."""

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from export_helpers import LAYER, answers, build_folded, neighbours
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cifar_edge.data import Dataset
from cifar_edge.export.calibration import kernel_order
from cifar_edge.export.integers import quantize
from cifar_edge.export.parity import compare, torch_logits
from cifar_edge.export.rounding import round_to_fit
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.integer import Conv
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.spec import PIXEL_SCALE

Array = npt.NDArray[Any]
SEED = st.integers(0, 2**32 - 1)


def errors(exact: Array, codes: Array, covariance: Array) -> Array:
    """What each output channel is off by: its variance."""
    return np.asarray(np.einsum("oi,ij,oj->o", exact - codes, covariance, exact - codes))


def case(inputs: int, channels: int, seed: int) -> tuple[Array, Array]:
    """Weights in units of their scale, no sum of two neighbours beyond 127, and a covariance of inputs."""
    generator = np.random.default_rng(seed)
    exact = generator.uniform(-63, 63, (channels, inputs))
    samples = generator.standard_normal((2 * inputs, inputs)) @ generator.standard_normal((inputs, inputs))
    return exact, np.cov(samples, rowvar=False).reshape(inputs, inputs)


@settings(max_examples=50, deadline=None)
@given(inputs=st.integers(1, 40), channels=st.integers(1, 8), seed=SEED)
def test_it_takes_a_neighbouring_integer_and_is_never_worse_than_the_nearest(
    inputs: int, channels: int, seed: int
) -> None:
    exact, covariance = case(inputs, channels, seed)
    codes = round_to_fit(exact, np.rint(exact), covariance)
    assert (np.abs(codes - exact) < 1).all()
    assert (codes == np.rint(codes)).all()
    before, after = (errors(exact, each, covariance) for each in (np.rint(exact), codes))
    assert (after <= before * (1 + 1e-9)).all()


@settings(max_examples=30, deadline=None)
@given(inputs=st.integers(1, 6), seed=SEED)
def test_no_single_change_would_be_better(inputs: int, seed: int) -> None:
    exact, covariance = case(inputs, 1, seed)
    codes = round_to_fit(exact, np.rint(exact), covariance)
    found = errors(exact, codes, covariance)[0]
    choices = [np.array([choice]) for choice in product(*zip(np.floor(exact[0]), np.ceil(exact[0]), strict=True))]
    every = {tuple(choice[0]): errors(exact, choice, covariance)[0] for choice in choices}
    near = [error for choice, error in every.items() if np.count_nonzero(choice != codes[0]) <= 1]
    assert min(every.values()) * (1 - 1e-9) <= found <= min(near) * (1 + 1e-9)


def test_errors_of_inputs_that_go_together_cancel() -> None:
    exact = np.array([[0.4, 10.3, 0.4, 0.3]])
    together = np.ones((4, 4)) + 0.01 * np.eye(4)
    assert np.rint(exact).sum() == 10
    assert round_to_fit(exact, np.rint(exact), together).sum() == 11  # of 11.4
    apart = np.eye(4)
    assert np.array_equal(round_to_fit(exact, np.rint(exact), apart), np.rint(exact))


def test_codes_and_their_sums_end_where_kernels_saturate() -> None:
    """Scales are float32: one that was rounded down leaves a little more than 127."""
    exact = np.array([[64.00001, 63.00001, *[0.4] * 6], [127.00001, -0.2, *[0.4] * 6]])
    together = np.ones((8, 8)) + 1e-3 * np.eye(8)
    codes = round_to_fit(exact, np.rint(exact), together)
    assert codes.tolist() == [[65, 63, 1, 0, 0, 0, 0, 0], [127, 0, 1, 1, 0, 0, 0, 0]]


def test_inputs_that_never_change_decide_nothing() -> None:
    exact = np.array([[0.4, 0.4, 0.4]])
    assert np.array_equal(round_to_fit(exact, np.rint(exact), np.zeros((3, 3))), np.rint(exact))


@torch.inference_mode()
def first_layer(network: FoldedNetwork, integers: Conv, images: Array) -> tuple[Array, Array]:
    """What the first convolution gives before its ReLU, in float and by integers: ``[channels, values]``."""
    layer = network.layers[0]
    assert isinstance(layer, nn.Conv2d)
    x = pixels_to_input(torch.tensor(images)).double()
    wanted = layer.double()(x)
    layer.float()
    codes, scales, bias = (torch.tensor(part).double() for part in (integers.weights, integers.scales, integers.bias))
    assert not isinstance(layer.padding, str)
    found = nn.functional.conv2d(
        x,
        codes * scales[:, None, None, None],
        bias * scales * PIXEL_SCALE,
        layer.stride,
        layer.padding,
        groups=layer.groups,
    )
    return (wanted.transpose(0, 1).flatten(1).numpy(), found.transpose(0, 1).flatten(1).numpy())


@settings(max_examples=30, deadline=None)
@given(layer=LAYER, seed=SEED)
def test_the_outputs_of_any_layer_are_nearer_and_right_on_average(
    sample: Dataset, layer: dict[str, int], seed: int
) -> None:
    torch.manual_seed(seed)
    network = build_folded([layer], classes=3)
    images = sample.train_images[:70]  # more than one batch
    fitted, nearest = (quantize(network.layers, images, fit=fit).layers[0] for fit in (True, False))
    assert isinstance(fitted, Conv)
    assert isinstance(nearest, Conv)
    assert np.array_equal(fitted.scales, nearest.scales)
    assert np.abs(neighbours(fitted.weights)).max() <= 128
    wanted, by_fitted = first_layer(network, fitted, images)
    _, by_nearest = first_layer(network, nearest, images)
    assert ((by_fitted - wanted).std(axis=1) <= (by_nearest - wanted).std(axis=1) * (1 + 1e-6) + 1e-12).all()
    assert (np.abs((by_fitted - wanted).mean(axis=1)) <= 0.501 * fitted.scales * PIXEL_SCALE).all()  # half a bias code


def test_the_released_network_loses_less(folded: FoldedNetwork, sample: Dataset) -> None:
    wanted = torch_logits(folded, sample.test_images)
    ratios = []
    for fit in (False, True):
        integers = quantize(folded.layers, sample.train_images, fit=fit)
        ratios.append(compare(answers(integers, sample.test_images), wanted, sample.test_labels).snr_db)
    nearest, fitted = ratios
    assert nearest is not None
    assert fitted is not None
    assert fitted > nearest + 2


def test_kernels_read_height_width_and_input_channel() -> None:
    weights = np.arange(2 * 3 * 2 * 2, dtype=np.float64).reshape(2, 3, 2, 2)
    assert kernel_order(weights)[0].tolist() == [
        weights[0, c, h, w] for h in range(2) for w in range(2) for c in range(3)
    ]
