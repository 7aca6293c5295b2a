"""How a gn-cnn is folded: each GroupNorm is replaced by an affine, which is merged into its convolution.

GroupNorm computes its statistics from each image, so it cannot be folded exactly. The sum of a layer's normalised
branches is approximated by an affine function of their convolutions: one scale for each branch and channel, one shift
for each channel. It is fitted by least squares to the output of the GroupNorm layer on training images, layer by layer
from the input. An affine function folds exactly into the convolution before it, and a sum of convolutions is one
convolution (RepVGG, arXiv:2101.03697). A shortcut stays as it is; the fit of its layer corrects the shortcut's error
too. The folded network is then fine-tuned with a batch norm in place of each bias, which folds exactly.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar_edge.folding.layers import Residual
from cifar_edge.folding.network import FoldedNetwork, like
from cifar_edge.models.gn_cnn import Branch, GnCnn, GroupNormLayer
from cifar_edge.models.pixels import pixels_to_input

_BATCH = 500


@torch.no_grad()
def fold_gn_cnn(network: GnCnn, images: Tensor) -> FoldedNetwork:
    """The folded network nearest to ``network`` on ``images``, without any training.

    Args:
        network: in evaluation mode.
        images: training images, uint8 ``[n, S, S, 3]``, on the device of ``network``; a thousand are plenty.
    """
    exact = [[pixels_to_input(part) for part in images.split(_BATCH)]]  # the inputs of each layer, batch by batch
    folded = [exact[0]]
    convolutions: list[nn.Conv2d] = []
    for layer, residual in zip(network.layers, network.residuals, strict=True):
        assert isinstance(layer, GroupNormLayer)
        targets, shortcuts = [layer.normalized(x) for x in exact[-1]], None
        if residual:
            targets = [target + x for target, x in zip(targets, exact[-residual], strict=True)]
            shortcuts = folded[-residual]
        convolutions.append(_folded_layer(layer, targets, folded[-1], shortcuts))
        outputs = [convolutions[-1](x) for x in folded[-1]]
        if shortcuts:
            outputs = [output + x for output, x in zip(outputs, shortcuts, strict=True)]
        exact.append([torch.relu(x) for x in targets])
        folded.append([torch.relu(x) for x in outputs])
    return _chain(convolutions, network).eval().requires_grad_(False)


def unfitted(network: GnCnn) -> FoldedNetwork:
    """A folded network as `fold_gn_cnn` makes it of ``network``, with weights as PyTorch initialises them."""
    mains = [_convolutions(layer)[0] for layer in network.layers]
    convolutions = [like(_checked(main), bias=True) for main in mains]
    return _chain(convolutions, network)


def _chain(convolutions: Sequence[nn.Conv2d], network: GnCnn) -> FoldedNetwork:
    """ReLU(convolution + shortcut) layer after layer, global average pool, and the classifier of ``network``."""
    layers: list[nn.Module] = []
    ends: list[int] = []  # length of `layers` after each layer of the network
    for index, (convolution, residual) in enumerate(zip(convolutions, network.residuals, strict=True)):
        layers.append(convolution)
        if residual:
            start = ends[index - residual]
            layers[start:] = [Residual(nn.Sequential(*layers[start:]))]
        layers.append(nn.ReLU())
        ends.append(len(layers))
    return FoldedNetwork(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), copy.deepcopy(network.head)))


def _convolutions(layer: nn.Module) -> list[nn.Module]:
    assert isinstance(layer, GroupNormLayer)
    return [branch.conv for branch in layer.branches if isinstance(branch, Branch)]


def _checked(main: nn.Module) -> nn.Conv2d:
    assert isinstance(main, nn.Conv2d)
    return main


def _folded_layer(
    layer: GroupNormLayer, targets: list[Tensor], inputs: list[Tensor], shortcuts: list[Tensor] | None
) -> nn.Conv2d:
    """The merged convolution of ``layer``: of ``inputs`` and added to ``shortcuts``, it best fits ``targets``."""
    branches = _convolutions(layer)
    main = _checked(branches[0])
    terms = len(branches) + 1
    channels = main.out_channels
    gram = torch.zeros(channels, terms, terms, dtype=torch.float64)
    moment = torch.zeros(channels, terms, dtype=torch.float64)
    for index, (x, target) in enumerate(zip(inputs, targets, strict=True)):
        if shortcuts:
            target = target - shortcuts[index]
        columns = [branch(x) for branch in branches]
        stacked = torch.stack([*columns, torch.ones_like(columns[0])]).double()
        regressors = stacked.permute(2, 0, 1, 3, 4).flatten(2)  # (channels, terms, batch * height * width)
        wanted = target.double().transpose(0, 1).flatten(1)  # (channels, batch * height * width)
        gram += (regressors @ regressors.mT).cpu()
        moment += (regressors @ wanted[..., None])[..., 0].cpu()
    # A tiny ridge term, because a branch that is constant in some channel would make the system singular.
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
    """The branch as a kernel of the shape of ``main``'s; a 1x1 kernel or an identity lies in its middle."""
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
