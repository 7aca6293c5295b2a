"""The reference network with three kinds of norm (s8-layer, s8-group, s8-batch), and without any (s8-none).

Its ten convolutions and three poolings are those of the published table of "CIFAR-10 with Group Norm", layer for layer.
Every 3x3 convolution is followed by ReLU, norm and dropout, in this order. A norm after ReLU cannot be folded into the
convolution.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

Norm = Callable[[int, int], nn.Module]
"""(channels, height and width) -> the norm layer for a feature map of that shape."""

GROUPS = 2
DROPOUT = 0.01
"""The reference names no rate. A network of 11,104 parameters underfits, so the rate is near zero."""


def layer_norm(channels: int, size: int) -> nn.Module:
    """LayerNorm over channels, height and width, with its affine at every position."""
    return nn.LayerNorm([channels, size, size])


def group_norm(channels: int, size: int) -> nn.Module:
    """GroupNorm with two groups; its affine has one scale and one shift a channel."""
    return nn.GroupNorm(GROUPS, channels)


def batch_norm(channels: int, size: int) -> nn.Module:
    """BatchNorm; it has as many parameters as GroupNorm."""
    return nn.BatchNorm2d(channels)


def reference_network(classes: int, size: int, norm: Norm) -> nn.Sequential:
    """The reference network for float32 input ``[batch, 3, size, size]``; logits ``[batch, classes]``."""
    middle = (size - 4) // 2  # 14 for an image of 32
    last = (middle - 2) // 2  # 6 for an image of 32

    def block(channels_in: int, channels: int, size: int, padding: int = 0) -> list[nn.Module]:
        return [
            nn.Conv2d(channels_in, channels, 3, padding=padding, bias=False),
            nn.ReLU(),
            norm(channels, size),
            nn.Dropout(DROPOUT),
        ]

    pointwise = partial(nn.Conv2d, kernel_size=1, bias=False)
    return nn.Sequential(
        *block(3, 4, size - 2),
        *block(4, 8, size - 4),
        pointwise(8, 4),
        nn.MaxPool2d(2),
        *block(4, 10, middle, padding=1),
        *block(10, 16, middle - 2),
        *block(16, 16, middle - 2, padding=1),
        pointwise(16, 10),
        nn.MaxPool2d(2),
        *block(10, 16, last, padding=1),
        *block(16, 16, last, padding=1),
        *block(16, 16, last, padding=1),
        nn.AvgPool2d(last),
        pointwise(16, classes),
        nn.Flatten(),
    )


def unnormalized_network(classes: int, size: int) -> nn.Sequential:
    """The reference network without norms: 10,900 parameters, all of them convolution weights.

    They are initialised as in He et al. 2015 (arXiv:1502.01852). PyTorch's default leaves a third of the variance after
    each convolution. Norms restore it; without them the logits are so near zero that training never leaves chance.
    """
    network = reference_network(classes, size, lambda channels, size: nn.Identity())
    for module in network:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network
