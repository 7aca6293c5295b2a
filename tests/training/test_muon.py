"""Muon's steps: orthogonal, of the length asked for, and downhill."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cifar_edge.data import Dataset
from cifar_edge.models import build
from cifar_edge.runs.recipe import Recipe
from cifar_edge.training.loop import fit
from cifar_edge.training.muon import Muon, orthogonalized
from cifar_edge.training.step import Step


@pytest.mark.parametrize(("rows", "columns"), [(32, 48), (32, 288), (64, 28), (10, 10), (1, 9)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_singular_values_come_to_about_one(rows: int, columns: int, scale: float) -> None:
    torch.manual_seed(0)
    matrix = scale * torch.randn(rows, columns)
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalized(matrix)
    large = values > 0.01 * values.norm()  # the others have not come so far after five iterations
    along = (u.mT @ result @ v.mT).diagonal()
    assert along[large].min() > 0.6
    assert along.max() < 1.3
    torch.testing.assert_close(result, u @ torch.diag(along) @ v, rtol=0, atol=2e-3)


def test_a_step_has_the_length_asked_for_and_keeps_the_norm() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(3 * torch.randn(32, 16, 3, 3))
    before, norm = weight.detach().clone(), weight.norm().item()
    weight.grad = torch.randn_like(weight)
    Muon([weight], torch.tensor(0.01), momentum=0.9).step()
    assert weight.norm().item() == pytest.approx(norm, rel=1e-6)
    assert (weight.detach() - before).norm().item() == pytest.approx(0.01 * norm, rel=0.02)
    assert ((weight.detach() - before) * weight.grad).sum() < 0


def test_a_step_looks_ahead_along_its_momentum() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 4, 3, 3))
    first, second = torch.randn(2, 8, 4, 3, 3)
    muon = Muon([weight], torch.tensor(0.1), momentum=0.9)
    weight.grad = first
    muon.step()
    before = weight.detach().clone()
    weight.grad = second
    muon.step()
    momentum = 0.9 * first + second
    ahead = orthogonalized((second + 0.9 * momentum).flatten(1)).view_as(before)
    moved = before - 0.1 * before.norm() * ahead / ahead.norm()
    torch.testing.assert_close(weight.detach(), moved * before.norm() / moved.norm())


def test_without_a_gradient_it_stands_still() -> None:
    weight = nn.Parameter(torch.randn(8, 4, 3, 3))
    before = weight.detach().clone()
    weight.grad = torch.zeros_like(weight)
    Muon([weight], torch.tensor(0.1), momentum=0.9).step()
    torch.testing.assert_close(weight.detach(), before, rtol=1e-6, atol=0)


def test_it_takes_the_convolutions_that_are_matrices_and_sgd_the_rest(sample: Dataset) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.full = nn.Conv2d(3, 8, 3, stride=8)
            self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
            self.head = nn.Linear(8, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(F.relu(self.depthwise(self.full(x))).mean((2, 3)))
            return logits

    torch.manual_seed(0)
    network = Mixed()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    # Without a rate for SGD the others stay as they are.
    recipe = Recipe(learning_rate=0.0, muon_learning_rate=0.1, warmup=0.0, precision="fp32")
    step = Step(network, recipe, torch.device("cpu"))
    step(torch.from_numpy(sample.train_images[:16]), torch.from_numpy(sample.train_labels[:16]), 0.0)
    moved = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {"full.weight"}


def test_it_learns_faster_than_sgd(sample: Dataset) -> None:
    """On the sample, in twelve epochs, with the rates of the recipes."""
    images, labels = torch.from_numpy(sample.train_images), torch.from_numpy(sample.train_labels)

    def last_loss(muon_learning_rate: float) -> float:
        losses: list[float] = []
        torch.manual_seed(0)
        recipe = Recipe(epochs=12, batch_size=50, muon_learning_rate=muon_learning_rate, precision="fp32")
        fit(build("gn-cnn"), images, labels, recipe, after_epoch=lambda epoch, _: losses.append(epoch.loss))
        return losses[-1]

    assert last_loss(0.01) < 0.9 * last_loss(0.0)
