"""Where a training begins that does not begin with random weights: a folded network with another head."""

import copy
from collections.abc import Sequence
from operator import itemgetter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar_edge.errors import ModelError
from cifar_edge.folding.batch_norm import with_batch_norm
from cifar_edge.folding.fold import without_norms
from cifar_edge.folding.network import BatchNormNetwork, FoldedNetwork
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.own_images import beginning

_IMAGES = 512
"""Images that the statistics of the batch norms are of, so that activations of large images fit into memory."""
_BATCH = 100
_RIDGES = tuple(10.0 ** (power / 2) for power in range(-6, 5))
"""0.001 to 100."""
_LOGIT = 2.0
"""What the closed form aims at: the logit of the right class, and with the sign turned that of each other class."""


def initial_network(folded: FoldedNetwork, images: Tensor, labels: Tensor, classes: int) -> BatchNormNetwork:
    """``folded`` with a head for other classes, to be trained on.

    A batch norm stands in place of each bias, as in the fine-tuning of a folded network. The head is the solution of a
    ridge regression on the network's pooled features, so that the training does not begin by spoiling these.

    Args:
        folded: see `folded_beginning`; it is not changed.
        images: training images, uint8 ``[n, S, S, 3]``; S may be another than that of ``folded``.
        labels: int64 ``[n]``.
        classes: number of classes.
    """
    *layers, old = copy.deepcopy(folded).to(images.device).layers
    assert isinstance(old, nn.Linear)
    head = nn.Linear(old.in_features, classes).to(images.device)
    weight, bias = ridge_head(_features(nn.Sequential(*layers), images), labels, classes)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return with_batch_norm(FoldedNetwork(nn.Sequential(*layers, head)), images[:_IMAGES])


def folded_beginning(init: str, model: str) -> FoldedNetwork:
    """The folded network of the run or released model ``init``, to begin a training of the network ``model`` with.

    Raises:
        ModelError: there is no such run or model, it has another network, or its norms are not folded.
    """
    trained = load_network(beginning(init))
    if trained.name != model:
        raise ModelError(f"{init} is a {trained.name}, no beginning for a {model}; give --model {trained.name}")
    folded = trained.folded or without_norms(trained.network)
    if folded is None:
        raise ModelError(f"{init} has no folded network to begin with; fold its norms first (cifar-edge fold)")
    return folded


@torch.no_grad()
def _features(layers: nn.Sequential, images: Tensor) -> Tensor:
    return torch.cat([layers(pixels_to_input(part)) for part in images.split(_BATCH)])


def ridge_head(
    features: Tensor, labels: Tensor, classes: int, ridges: Sequence[float] = _RIDGES
) -> tuple[Tensor, Tensor]:
    """Weight ``[classes, width]`` and bias ``[classes]`` of a ridge regression of the classes on ``features``.

    All classes count alike, however many images they have. Of several ridges it takes the one with the least squared
    error on each image by the regression on all others, which the solution on all gives in closed form (Allen 1974,
    doi:10.1080/00401706.1974.10489157).

    Args:
        features: float32 ``[n, width]``.
        labels: int64 ``[n]``.
        classes: number of classes.
        ridges: penalties on the squared weights of standardised features, where all images together weigh 1.
    """
    mean, deviation = features.mean(0), features.std(0, correction=0) + 1e-3
    columns = F.pad((features - mean) / deviation, (0, 1), value=1.0).double()
    sizes = torch.bincount(labels, minlength=classes).clamp_min(1)
    weights = (1.0 / sizes.double())[labels][:, None] / classes
    targets = _LOGIT * (2.0 * F.one_hot(labels, classes).double() - 1.0)
    penalised = torch.ones(columns.shape[1], dtype=torch.float64, device=features.device)
    penalised[-1] = 1e-9  # the bias is not held small
    moments, products = columns.T @ (weights * columns), columns.T @ (weights * targets)

    def solved(ridge: float) -> tuple[float, Tensor]:
        inverse = torch.linalg.inv(moments + torch.diag(ridge * penalised))
        solution = inverse @ products
        influence = weights * ((columns @ inverse) * columns).sum(1, keepdim=True)  # of an image on its own answer
        errors = (targets - columns @ solution) / (1.0 - influence).clamp_min(1e-6)
        return (weights * errors**2).sum().item(), solution

    _, best = min((solved(ridge) for ridge in ridges), key=itemgetter(0))
    solution = best.float()
    weight = (solution[:-1] / deviation[:, None]).T
    return weight, solution[-1] - weight @ mean
