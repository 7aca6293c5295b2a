"""Equalisation: the same function by weights with which int8 loses less."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cifar_edge.data import Dataset
from cifar_edge.export.integers import quantize
from cifar_edge.folding.equalisation import equalised
from cifar_edge.folding.layers import Residual
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.training.checkpoint import load_network

RELEASED = ("gn-cnn", "gn-cnn-max", "gn-cnn-nano")


def released(name: str) -> FoldedNetwork:
    folded = load_network(resolve_run(name).path).folded
    assert folded is not None
    return folded


@torch.inference_mode()
def logits(network: FoldedNetwork, images: Tensor) -> Tensor:
    found: Tensor = network(pixels_to_input(images))
    return found


def convolution_of(layers: nn.Sequential, index: int) -> nn.Conv2d:
    found = layers[index]
    assert isinstance(found, nn.Conv2d)
    return found


@pytest.fixture(scope="module")
def images(sample: Dataset) -> Tensor:
    return torch.from_numpy(sample.train_images[:200])


@pytest.mark.parametrize("name", RELEASED)
def test_the_function_stays_the_same(name: str, images: Tensor) -> None:
    network = released(name)
    before = copy.deepcopy(network.state_dict())

    found = equalised(network, images)

    torch.testing.assert_close(logits(found, images), logits(network, images), rtol=0, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def uneven(network: FoldedNetwork) -> FoldedNetwork:
    """The same function as that of ``gn-cnn-max``, with channels of its first residuals that differ tenfold."""
    found = copy.deepcopy(network)
    branches = [module.layers for module in found.layers if isinstance(module, Residual)][:3]
    first = convolution_of(found.layers, 8)
    readers = [convolution_of(found.layers, 16), *(convolution_of(branch, 0) for branch in branches)]
    factors = torch.logspace(0, 1, first.out_channels)
    for writer in [first, *(convolution_of(branch, -1) for branch in branches)]:
        assert writer.bias is not None
        writer.weight.mul_(factors[:, None, None, None])
        writer.bias.mul_(factors)
    for reader in readers:
        reader.weight.div_(factors[:, None, None, None])
    return found


def noise(network: FoldedNetwork, images: Tensor, *, fit: bool = False) -> float:
    """Power of what int8 changes in the logits, as a fraction of theirs."""
    exact = logits(network, images).double().numpy()
    integers = quantize(network.layers, images.numpy(), fit=fit)
    found = integers(images.numpy()) * float(integers.logit_scale)
    return float(np.square(found - exact).sum() / np.square(exact).sum())


def test_int8_does_not_depend_on_how_uneven_channels_were(images: Tensor) -> None:
    network = released("gn-cnn-max")
    spoiled = uneven(network)
    torch.testing.assert_close(logits(spoiled, images), logits(network, images), rtol=0, atol=1e-4)

    before, after = noise(spoiled, images), noise(equalised(spoiled, images), images)

    assert after < before / 1.5
    assert after == pytest.approx(noise(equalised(network, images), images), rel=0.1)


def test_int8_loses_less_of_the_released_network(images: Tensor) -> None:
    network = released("gn-cnn-max")

    assert noise(equalised(network, images), images, fit=True) <= 1.05 * noise(network, images, fit=True)


def convolution(*, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(8, 8, 3, padding=1, groups=groups)


@pytest.mark.parametrize("between", [nn.ReLU6(), nn.Hardtanh(-1, 1)], ids=["ReLU6", "Hardtanh"])
def test_channels_that_are_clipped_at_a_value_stay_as_they_are(between: nn.Module, images: Tensor) -> None:
    network = network_of(nn.Conv2d(3, 8, 1), between, convolution(groups=8), nn.ReLU())

    found = equalised(network, images)

    assert torch.equal(convolution_of(found.layers, 0).weight, convolution_of(network.layers, 0).weight)


def test_weights_that_an_ordinary_convolution_reads_stay_as_they_are(images: Tensor) -> None:
    network = network_of(nn.Conv2d(3, 8, 1), nn.ReLU(), convolution(), nn.ReLU())

    found = equalised(network, images)

    assert torch.equal(convolution_of(found.layers, 0).weight, convolution_of(network.layers, 0).weight)
    # The last Linear reads what this one writes.
    assert not torch.equal(convolution_of(found.layers, 2).weight, convolution_of(network.layers, 2).weight)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(3, 8, 1), nn.ReLU(), nn.MaxPool2d(2), convolution(groups=8), nn.ReLU(), nn.AvgPool2d(2)),
        # A residual within a branch of another: all of them share their channels.
        (
            nn.Conv2d(3, 8, 1),
            nn.ReLU(),
            Residual(nn.Sequential(Residual(nn.Sequential(convolution(groups=8))), nn.ReLU(), convolution(groups=8))),
            nn.ReLU(),
        ),
        (
            nn.Conv2d(3, 8, 1),
            Residual(nn.Sequential(convolution(groups=8)), nn.Sequential(nn.Conv2d(8, 8, 1))),
            nn.ReLU(),
        ),
        (Residual(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3))), nn.ReLU(), nn.Conv2d(3, 8, 1)),
        (nn.Conv2d(3, 8, 1), nn.Sequential(nn.ReLU(), convolution(groups=8)), nn.ReLU()),
    ],
    ids=["pools", "nested", "projection", "of-the-image", "sequential"],
)
def test_any_tree_keeps_its_function(layers: tuple[nn.Module, ...], images: Tensor) -> None:
    network = network_of(*layers)

    torch.testing.assert_close(
        logits(equalised(network, images), images), logits(network, images), rtol=1e-4, atol=1e-4
    )


def test_channels_that_never_fire_do_no_harm(images: Tensor) -> None:
    network = network_of(nn.Conv2d(3, 8, 1), nn.ReLU(), convolution(groups=8), nn.ReLU())
    first = convolution_of(network.layers, 0)
    assert first.bias is not None
    first.weight[:7] = 0
    first.bias[:7] = -1

    found = equalised(network, images)

    assert all(bool(value.isfinite().all()) for value in found.state_dict().values())
    torch.testing.assert_close(logits(found, images), logits(network, images), rtol=1e-4, atol=1e-4)


def network_of(*layers: nn.Module) -> FoldedNetwork:
    torch.manual_seed(0)
    body = copy.deepcopy(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)))
    return FoldedNetwork(body).eval().requires_grad_(False)
