"""Norm folding: GroupNorm out, a convolution's bias in.

GroupNorm computes its statistics from each image, so it cannot be folded exactly. Layer by layer from the input, the
sum of a layer's normalised branches is approximated by an affine function of their convolutions, one scale a branch and
channel and one shift a channel, fitted by least squares to what the GroupNorm layer itself gives on training images. An
affine function folds exactly into the convolution before it, and a sum of convolutions is one convolution (RepVGG,
arXiv:2101.03697). The folded network is then fine-tuned with batch norms in place of each bias, one for the convolution
and one for the identity taken out of it, which fold exactly.
"""

import copy
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar_edge.models.folded import BatchNormLayer, BatchNormNetwork, FoldedNetwork, like
from cifar_edge.models.gn_cnn import Branch, GnCnn, GroupNormLayer
from cifar_edge.models.pixels import pixels_to_input

_BATCH = 500


def can_fold(network: nn.Module) -> TypeGuard[GnCnn]:
    """Whether `fold` applies: every norm stands between a convolution and the ReLU after it."""
    return isinstance(network, GnCnn)


@torch.no_grad()
def fold(network: GnCnn, images: Tensor) -> FoldedNetwork:
    """The folded network nearest to ``network`` on ``images``, with no training at all.

    Args:
        network: in evaluation mode.
        images: training images, uint8 ``[n, 32, 32, 3]``, on the device of ``network``; a thousand are plenty.
    """
    exact = [pixels_to_input(part) for part in images.split(_BATCH)]
    folded = list(exact)
    convolutions: list[nn.Conv2d] = []
    for layer in network.layers:
        assert isinstance(layer, GroupNormLayer)
        convolutions.append(_folded_layer(layer, exact, folded))
        exact = [layer(x) for x in exact]
        folded = [torch.relu(convolutions[-1](x)) for x in folded]
    return FoldedNetwork(convolutions, copy.deepcopy(network.head)).eval().requires_grad_(False)


def unfitted(network: GnCnn) -> FoldedNetwork:
    """A folded network of the shape that `fold` makes of ``network``, for weights that were saved."""
    mains = [_convolutions(layer)[0] for layer in network.layers]
    return FoldedNetwork([like(_checked(main), bias=True) for main in mains], copy.deepcopy(network.head))


def _convolutions(layer: nn.Module) -> list[nn.Module]:
    assert isinstance(layer, GroupNormLayer)
    return [branch.conv for branch in layer.branches if isinstance(branch, Branch)]


def _checked(main: nn.Module) -> nn.Conv2d:
    assert isinstance(main, nn.Conv2d)
    return main


def _folded_layer(layer: GroupNormLayer, exact: list[Tensor], folded: list[Tensor]) -> nn.Conv2d:
    """Fit the layer's output before ReLU on ``exact`` by its branches' convolutions on ``folded``; merge them."""
    branches = _convolutions(layer)
    main = _checked(branches[0])
    terms = len(branches) + 1
    channels = main.out_channels
    gram = torch.zeros(channels, terms, terms, dtype=torch.float64)
    moment = torch.zeros(channels, terms, dtype=torch.float64)
    for x, reference in zip(folded, exact, strict=True):
        target = torch.stack([branch(reference) for branch in layer.branches]).sum(0)
        columns = [branch(x) for branch in branches]
        stacked = torch.stack([*columns, torch.ones_like(columns[0])]).double()
        regressors = stacked.permute(2, 0, 1, 3, 4).flatten(2)  # (channels, terms, batch * height * width)
        wanted = target.double().transpose(0, 1).flatten(1)  # (channels, batch * height * width)
        gram += (regressors @ regressors.mT).cpu()
        moment += (regressors @ wanted[..., None])[..., 0].cpu()
    # A whisper of ridge: a branch that is constant in some channel would make the system singular.
    ridge = 1e-9 * gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
    solution = torch.linalg.solve(gram + torch.diag_embed(ridge[:, None].expand(-1, terms)), moment)
    merged = like(main, bias=True)
    kernel = torch.zeros_like(main.weight, dtype=torch.float64, device="cpu")
    for index, branch in enumerate(branches):
        kernel += solution[:, index, None, None, None] * _kernel(branch, main).double().cpu()
    merged.weight.copy_(kernel)
    assert merged.bias is not None
    merged.bias.copy_(solution[:, -1])
    return merged


def _kernel(branch: nn.Module, main: nn.Conv2d) -> Tensor:
    """The branch's convolution as a kernel of the shape of ``main``'s: 1x1 in the middle, identity as ones there."""
    if isinstance(branch, nn.Conv2d) and branch.kernel_size == main.kernel_size:
        return branch.weight
    if isinstance(branch, nn.Conv2d):
        point = branch.weight
    else:
        depthwise = main.groups > 1
        ones = torch.ones(main.out_channels, 1) if depthwise else torch.eye(main.out_channels)
        point = ones[..., None, None].to(main.weight)
    margin = (main.weight.shape[-1] - 1) // 2
    return F.pad(point, (margin, margin, margin, margin))


@torch.no_grad()
def with_batch_norm(network: FoldedNetwork, images: Tensor) -> BatchNormNetwork:
    """The same function, with batch norms in place of each bias, their statistics taken on ``images`` (uint8 NHWC)."""
    activations = [pixels_to_input(part) for part in images.split(_BATCH)]
    layers: list[BatchNormLayer] = []
    for biased in network.convolutions:
        assert isinstance(biased, nn.Conv2d)
        assert biased.bias is not None
        conv = like(biased, bias=False)
        conv.weight.copy_(biased.weight)
        layer = BatchNormLayer(conv).to(biased.weight.device)
        if layer.identity_norm is not None:
            # What stands in the middle of the kernel, from each channel to itself, is an identity times a scale.
            middle = _middle(conv)
            _start(layer.identity_norm, activations, middle.clone(), torch.zeros_like(middle))
            middle.zero_()
        _start(layer.norm, [conv(x) for x in activations], torch.ones_like(biased.bias), biased.bias)
        layers.append(layer)
        activations = [torch.relu(biased(x)) for x in activations]
    return BatchNormNetwork(layers, copy.deepcopy(network.head)).requires_grad_(True)


def _middle(conv: nn.Conv2d) -> Tensor:
    """The weights from each channel to itself in the middle of the kernel: a view, ``[channels]``."""
    row, column = conv.kernel_size[0] // 2, conv.kernel_size[1] // 2
    weights = conv.weight.detach()[:, :, row, column]
    return weights[:, 0] if conv.groups > 1 else weights.diagonal()


def _start(norm: nn.BatchNorm2d, inputs: list[Tensor], scale: Tensor, shift: Tensor) -> None:
    """Make ``norm`` ``scale * x + shift`` in evaluation mode, with the statistics of ``inputs``."""
    variance, mean = torch.var_mean(torch.cat(inputs), dim=(0, 2, 3), correction=0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.bias.copy_(shift + scale * mean)


@torch.no_grad()
def without_batch_norm(network: BatchNormNetwork) -> FoldedNetwork:
    """The same function in evaluation mode, batch norms and identities folded by the running statistics."""
    convolutions: list[nn.Conv2d] = []
    for layer in network.layers:
        assert isinstance(layer, BatchNormLayer)
        biased = like(layer.conv, bias=True)
        assert biased.bias is not None
        scale, shift = _affine(layer.norm)
        kernel = layer.conv.weight.double() * scale[:, None, None, None]
        if layer.identity_norm is not None:
            identity_scale, identity_shift = _affine(layer.identity_norm)
            kernel += identity_scale[:, None, None, None] * _kernel(nn.Identity(), layer.conv).double()
            shift = shift + identity_shift
        biased.weight.copy_(kernel)
        biased.bias.copy_(shift)
        convolutions.append(biased)
    return FoldedNetwork(convolutions, copy.deepcopy(network.head)).eval().requires_grad_(False)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of ``norm`` in evaluation mode, float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale
