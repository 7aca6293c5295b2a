"""The form in which a folded network is fine-tuned: a batch norm in place of each bias of a convolution, and back."""

import copy

import torch
from torch import Tensor, nn

from cifar_edge.folding.layers import Residual
from cifar_edge.folding.network import BatchNormNetwork, FoldedNetwork, like
from cifar_edge.models.pixels import pixels_to_input

_BATCH = 500


@torch.no_grad()
def with_batch_norm(network: FoldedNetwork, images: Tensor) -> BatchNormNetwork:
    """The same function with a batch norm in place of each bias of a convolution.

    Args:
        network: in evaluation mode.
        images: the statistics are of these, uint8 ``[n, S, S, 3]``, on the device of ``network``.
    """
    layers, _ = _normalized(network.layers, [pixels_to_input(part) for part in images.split(_BATCH)])
    return BatchNormNetwork(layers).train().requires_grad_(True)


def _normalized(layers: nn.Sequential, batches: list[Tensor]) -> tuple[nn.Sequential, list[Tensor]]:
    """``layers`` with batch norms, and what they make of ``batches``."""
    made: list[nn.Module] = []
    for module in layers:
        if isinstance(module, nn.Sequential):
            inner, batches = _normalized(module, batches)
            made.append(inner)
        elif isinstance(module, Residual):
            branch, ones = _normalized(module.layers, batches)
            shortcut, others = _normalized(module.shortcut, batches)
            made.append(Residual(branch, shortcut))
            batches = [one + other for one, other in zip(ones, others, strict=True)]
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            plain = like(module, bias=False)
            plain.weight.copy_(module.weight)
            outputs = [plain(x) for x in batches]
            made += [plain, _norm(outputs, module.bias)]
            batches = [x + module.bias[:, None, None] for x in outputs]
        else:
            made.append(copy.deepcopy(module))
            batches = [module(x) for x in batches]
    return nn.Sequential(*made), batches


def _norm(outputs: list[Tensor], bias: Tensor) -> nn.BatchNorm2d:
    """The batch norm that by the statistics of ``outputs`` adds ``bias`` to them."""
    variance, mean = torch.var_mean(torch.cat(outputs), dim=(0, 2, 3), correction=0)
    norm = nn.BatchNorm2d(len(bias)).to(bias.device)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(bias + mean)
    return norm


@torch.no_grad()
def without_batch_norm(network: BatchNormNetwork) -> FoldedNetwork:
    """The same function in evaluation mode; each batch norm is folded into its convolution, by running statistics."""
    return FoldedNetwork(_merged(network.layers)).eval().requires_grad_(False)


def _merged(layers: nn.Sequential) -> nn.Sequential:
    made: list[nn.Module] = []
    for module in layers:
        if isinstance(module, nn.Sequential):
            made.append(_merged(module))
        elif isinstance(module, Residual):
            made.append(Residual(_merged(module.layers), _merged(module.shortcut)))
        elif isinstance(module, nn.BatchNorm2d):
            plain = made[-1]
            assert isinstance(plain, nn.Conv2d)
            made[-1] = _biased(plain, module)
        else:
            made.append(copy.deepcopy(module))
    return nn.Sequential(*made)


def _biased(plain: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that computes ``norm`` behind ``plain``."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    biased = like(plain, bias=True)
    assert biased.bias is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    biased.weight.copy_(plain.weight.double() * scale[:, None, None, None])
    biased.bias.copy_(norm.bias.double() - norm.running_mean.double() * scale)
    return biased
