"""gn-cnn, the product's default: a chain of GroupNorm layers that folds into plain convolutions.

Each layer is a sum of branches, every one with its own GroupNorm (Wu & He 2018, arXiv:1803.08494), then ReLU: the
convolution itself, a 1x1 convolution where one is asked for, and the identity where shapes allow, as in RepVGG (Ding et
al. 2021, arXiv:2101.03697). Once the norms are affine, the sum is one convolution: see `cifar_edge.training.folding`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Layer:
    """The shape of one layer.

    Attributes:
        channels: output channels.
        kernel: height and width of the kernel.
        stride: step of the kernel, both ways.
        depthwise: one filter a channel; the number of channels does not change.
        pointwise: a parallel 1x1 branch at training time; only with an odd kernel above 1.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    depthwise: bool = False
    pointwise: bool = False


class Branch(nn.Module):
    """A convolution without bias, or the identity, and the GroupNorm after it."""

    def __init__(self, conv: nn.Module, channels: int, group_size: int) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.GroupNorm(channels // group_size, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out


class GroupNormLayer(nn.Module):
    """ReLU(GN(conv(x)) + GN(conv1x1(x)) + GN(x)), with the branches that `Layer` asks for and shapes allow."""

    def __init__(self, channels_in: int, layer: Layer, group_size: int) -> None:
        super().__init__()
        channels, kernel, stride = layer.channels, layer.kernel, layer.stride
        conv_groups = channels if layer.depthwise else 1

        def convolution(size: int) -> nn.Conv2d:
            padding = (size - 1) // 2
            return nn.Conv2d(channels_in, channels, size, stride, padding, groups=conv_groups, bias=False)

        convs: list[nn.Module] = [convolution(kernel)]
        if layer.pointwise and kernel % 2 == 1 and kernel > 1:
            convs.append(convolution(1))
        if channels == channels_in and stride == 1:
            convs.append(nn.Identity())
        self.branches = nn.ModuleList(Branch(conv, channels, group_size) for conv in convs)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channels, height, width]`` in and out."""
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        return torch.relu(total)


class GnCnn(nn.Module):
    """A chain of `GroupNormLayer`, global average pool, and a linear classifier."""

    def __init__(self, classes: int, layers: Sequence[Layer], group_size: int = 4) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels = 3
        for layer in layers:
            stages.append(GroupNormLayer(channels, layer, group_size))
            channels = layer.channels
        self.layers = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of float32 ``[batch, 3, 32, 32]``."""
        logits: Tensor = self.head(self.pool(self.layers(x)).flatten(1))
        return logits


GN_CNN_LAYERS = (
    Layer(32, kernel=4, stride=2),  # (32, 16, 16): an even kernel and no convolution at 32x32, where one costs 22 us
    Layer(32),
    Layer(32),
    Layer(32, stride=2),  # (32, 8, 8)
    Layer(32),
    Layer(28),
    Layer(64, kernel=1),  # a wide last layer gives the classifier more to choose from than 28 channels
)
"""What the search in benchmarks/ found best for its latency: 49,602 parameters for ten classes, 49,158 once folded."""


def gn_cnn(classes: int) -> GnCnn:
    """The released gn-cnn."""
    return GnCnn(classes, GN_CNN_LAYERS)
