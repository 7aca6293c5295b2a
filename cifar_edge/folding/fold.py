"""Norm folding: from a trained network to a folded one.

Which networks can be folded, and how, says `FOLDS`: a function for each class of networks. What it makes is a tree of
layers (`cifar_edge.folding.network.FoldedNetwork`) that says its own geometry, and nothing behind it asks for the class
again.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from cifar_edge.folding.description import describe
from cifar_edge.folding.functions import as_linear
from cifar_edge.folding.gn_cnn import fold_gn_cnn
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.models.gn_cnn import GnCnn

Fold = Callable[[Any, Tensor], FoldedNetwork]
"""The network, in evaluation mode, and training images, uint8 ``[n, S, S, 3]`` on its device -> its folded form."""

FOLDS: Mapping[type[nn.Module], Fold] = {GnCnn: fold_gn_cnn}
"""Class of networks -> how one is folded."""


def can_fold(network: nn.Module) -> bool:
    """Whether `fold` applies."""
    return _fold_of(network) is not None


def fold(network: nn.Module, images: Tensor) -> FoldedNetwork:
    """The folded network nearest to ``network`` on ``images``, without any training.

    Args:
        network: in evaluation mode; `can_fold` says whether it is one of `FOLDS`.
        images: training images, uint8 ``[n, S, S, 3]``, on the device of ``network``; a thousand are plenty.
    """
    how = _fold_of(network)
    assert how is not None, f"{type(network).__name__} is not in FOLDS"
    return how(network, images)


def without_norms(network: nn.Module) -> FoldedNetwork | None:
    """``network`` itself as a folded one, if it consists of the layers of a folded network alone; else None.

    A 1x1 convolution at the end, which reads one position, becomes the Linear that a folded network ends with.
    """
    if isinstance(network, FoldedNetwork):
        return network
    if not isinstance(network, nn.Sequential):
        return None
    try:
        describe(network)
    except ValueError:
        return None
    *layers, last = copy.deepcopy(network)
    if isinstance(last, nn.Flatten) and layers and isinstance(layers[-1], nn.Conv2d):
        layers[-1:], last = [last], as_linear(layers[-1])
    return FoldedNetwork(nn.Sequential(*layers, last)).eval().requires_grad_(False)


def _fold_of(network: nn.Module) -> Fold | None:
    return next((how for kind, how in FOLDS.items() if isinstance(network, kind)), None)
