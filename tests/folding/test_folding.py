import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cifar_edge.data import Dataset
from cifar_edge.folding.batch_norm import with_batch_norm, without_batch_norm
from cifar_edge.folding.fold import can_fold, fold
from cifar_edge.folding.gn_cnn import unfitted
from cifar_edge.models import build
from cifar_edge.models.gn_cnn import Branch, GnCnn, GroupNormLayer, Layer
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.training.loop import logits_of

EVERY_KIND = (
    Layer(8, kernel=4, stride=2),
    Layer(8, pointwise=True),
    Layer(8, depthwise=True, pointwise=True),
    Layer(12, stride=2, pointwise=True),
    Layer(12, kernel=5, depthwise=True),
    Layer(16, kernel=1),
    Layer(16, kernel=1),
    Layer(16, depthwise=True),
    Layer(16, kernel=1, identity=False, residual=2),
    Layer(16, pointwise=True, residual=1),
    Layer(16, depthwise=True, stride=2),
)


class _Affine(nn.Module):
    """A norm that is affine already: folding it must be exact."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_channels = channels
        self.scale = nn.Parameter(torch.rand(channels) + 0.5)
        self.shift = nn.Parameter(torch.randn(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale[:, None, None] + self.shift[:, None, None]


def _with_affine_norms(network: GnCnn) -> GnCnn:
    for layer in network.layers:
        assert isinstance(layer, GroupNormLayer)
        for branch in layer.branches:
            assert isinstance(branch, Branch)
            channels = branch.norm.num_channels
            del branch.norm
            branch.add_module("norm", _Affine(channels))
    return network.eval().requires_grad_(False)


@given(seed=st.integers(0, 50))
@settings(max_examples=8, deadline=None)
def test_affine_norms_fold_exactly(seed: int) -> None:
    """Padding, stride, depthwise, 1x1 and identity branches: with affine norms nothing is approximated."""
    torch.manual_seed(seed)
    network = _with_affine_norms(GnCnn(10, EVERY_KIND))
    images = torch.randint(0, 256, (64, 32, 32, 3), dtype=torch.uint8)
    folded = fold(network, images)
    other = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8)
    scale = logits_of(network, other).abs().max().item()
    torch.testing.assert_close(logits_of(folded, other), logits_of(network, other), rtol=0, atol=1e-3 * scale)


def test_the_fit_is_the_best_affine_one(sample: Dataset) -> None:
    """No other scale or shift of the first layer comes nearer to what GroupNorm gives on the same images."""
    torch.manual_seed(0)
    network = GnCnn(10, (Layer(8, kernel=4, stride=2),)).eval().requires_grad_(False)
    images = torch.from_numpy(sample.train_images[:100])
    folded = fold(network, images)
    (layer,) = network.layers
    assert isinstance(layer, GroupNormLayer)
    x = pixels_to_input(images)
    wanted = layer.branches[0](x)

    def error() -> torch.Tensor:
        difference: torch.Tensor = folded.layers[0](x) - wanted
        return difference.double().square().mean()

    best = error()
    for parameter in folded.layers[0].parameters():
        for change in (0.99, 1.01):
            parameter.mul_(change)
            assert error() > best
            parameter.div_(change)


def test_a_later_layer_makes_the_best_of_what_the_folded_layers_before_it_give(sample: Dataset) -> None:
    """Its target is that of the exact layers; what it is fitted on are their folded substitutes."""
    torch.manual_seed(0)
    network = GnCnn(10, (Layer(8, kernel=4, stride=2), Layer(8, pointwise=True))).eval().requires_grad_(False)
    images = torch.from_numpy(sample.train_images[:100])
    first, second = (each for each in fold(network, images).layers if isinstance(each, nn.Conv2d))
    layer = network.layers[1]
    assert isinstance(layer, GroupNormLayer)
    x = pixels_to_input(images)
    given, exact = torch.relu(first(x)), network.layers[0](x)
    wanted = torch.stack([branch(exact) for branch in layer.branches]).sum(0)
    convolved = [branch.conv(given) for branch in layer.branches if isinstance(branch, Branch)]

    def by_channel(activation: torch.Tensor) -> torch.Tensor:
        return activation.transpose(0, 1).flatten(1).double()

    columns = torch.stack([by_channel(term) for term in [*convolved, torch.ones_like(given)]], 2)
    best = columns @ torch.linalg.lstsq(columns, by_channel(wanted)[..., None]).solution
    torch.testing.assert_close(by_channel(second(given)), best[..., 0], rtol=0, atol=1e-4)


def test_batch_norm_in_and_out_changes_nothing(sample: Dataset) -> None:
    torch.manual_seed(0)
    network = GnCnn(10, EVERY_KIND).eval().requires_grad_(False)
    images = torch.from_numpy(sample.train_images[:200])
    folded = fold(network, images)
    normalised = with_batch_norm(folded, images)
    torch.testing.assert_close(logits_of(normalised, images), logits_of(folded, images), rtol=1e-3, atol=1e-4)
    assert all(parameter.requires_grad for parameter in normalised.parameters())
    norms = [module for module in normalised.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:  # as fine-tuning would have changed them
        assert norm.running_mean is not None
        norm.running_mean.add_(0.1)
        norm.weight.data.mul_(1.1)
    torch.testing.assert_close(
        logits_of(without_batch_norm(normalised), images), logits_of(normalised, images), rtol=1e-3, atol=1e-4
    )


def test_a_folded_network_has_the_shape_that_its_weights_are_loaded_into(sample: Dataset) -> None:
    network = build("gn-cnn")
    assert isinstance(network, GnCnn)
    folded = fold(network.eval(), torch.from_numpy(sample.train_images[:50]))
    shapes = {name: value.shape for name, value in unfitted(network).state_dict().items()}
    assert shapes == {name: value.shape for name, value in folded.state_dict().items()}


@pytest.mark.parametrize(("name", "folds"), [("gn-cnn", True), ("s8-layer", False), ("s8-group", False)])
def test_only_a_norm_before_relu_folds(name: str, folds: bool) -> None:
    assert can_fold(build(name)) is folds
