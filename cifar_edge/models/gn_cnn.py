"""gn-cnn and its sizes: networks with GroupNorm before ReLU, which fold into plain convolutions.

A layer is a ReLU of a sum of branches, as in RepVGG (Ding et al. 2021, arXiv:2101.03697): the convolution, optionally a
1x1 convolution, and the identity where shapes allow. Each branch has its own GroupNorm (Wu & He 2018,
arXiv:1803.08494). Once the norms are affine, the sum is one convolution: see `cifar_edge.folding.fold`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cifar_edge.models.depthwise import DepthwiseConv2d


@dataclass(frozen=True, slots=True)
class Layer:
    """The shape of one layer.

    Attributes:
        channels: output channels.
        kernel: height and width of the kernel.
        stride: in both dimensions.
        depthwise: one filter a channel; the number of channels does not change.
        pointwise: a parallel 1x1 branch at training time; only with an odd kernel above 1.
        identity: a parallel identity branch at training time, where channels and stride allow one.
        residual: number of layers, this one included, that the shortcut spans; 0 for no shortcut. The input of the
            first of them is added before this layer's ReLU (He et al. 2016, arXiv:1512.03385), in the same shape.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    depthwise: bool = False
    pointwise: bool = False
    identity: bool = True
    residual: int = 0


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
    """ReLU(GN(conv(x)) + GN(conv1x1(x)) + GN(x) + shortcut); all terms but the first depend on `Layer` and shapes."""

    def __init__(self, channels_in: int, layer: Layer, group_size: int) -> None:
        super().__init__()
        channels, kernel, stride = layer.channels, layer.kernel, layer.stride
        conv_groups = channels if layer.depthwise else 1

        def convolution(size: int) -> nn.Conv2d:
            padding = (size - 1) // 2
            kind = DepthwiseConv2d if layer.depthwise else nn.Conv2d
            return kind(channels_in, channels, size, stride, padding, groups=conv_groups, bias=False)

        convs: list[nn.Module] = [convolution(kernel)]
        if layer.pointwise and kernel % 2 == 1 and kernel > 1:
            convs.append(convolution(1))
        if layer.identity and channels == channels_in and stride == 1:
            convs.append(nn.Identity())
        self.branches = nn.ModuleList(Branch(conv, channels, group_size) for conv in convs)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """``[batch, channels, height, width]`` in and out; ``shortcut`` has the shape of the output."""
        total = self.normalized(x)
        return torch.relu(total if shortcut is None else total + shortcut)

    def normalized(self, x: Tensor) -> Tensor:
        """The sum of the branches, before shortcut and ReLU."""
        total: Tensor = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        return total


class GnCnn(nn.Module):
    """A chain of `GroupNormLayer`, global average pool, and a linear classifier.

    Attributes:
        residuals: `Layer.residual` of each layer.

    Raises:
        ValueError: a shortcut begins at the image or before it, or inside another, or its ends differ in shape.
    """

    def __init__(self, classes: int, layers: Sequence[Layer], group_size: int = 4) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        channels = 3
        for index, layer in enumerate(layers):
            _check_residual(layers, index)
            modules.append(GroupNormLayer(channels, layer, group_size))
            channels = layer.channels
        self.layers = nn.Sequential(*modules)
        self.residuals = tuple(layer.residual for layer in layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of float32 ``[batch, 3, S, S]``."""
        inputs: list[Tensor] = []
        for layer, residual in zip(self.layers, self.residuals, strict=True):
            inputs.append(x)
            x = layer(x, inputs[-residual]) if residual else layer(x)
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


def _check_residual(layers: Sequence[Layer], index: int) -> None:
    """Refuse a shortcut that does not fit the sum that it is added to."""
    residual = layers[index].residual
    if not 0 <= residual <= index:
        raise ValueError(f"layer {index + 1} has a residual over {residual} layers, but only {index} come before it")
    inside = layers[index + 1 - residual : index + 1]
    before = layers[index - residual]
    if residual and (before.channels != layers[index].channels or any(layer.stride != 1 for layer in inside)):
        raise ValueError(f"layer {index + 1} has a residual whose ends differ in shape; keep channels and stride 1")
    for other in range(index):
        if other - layers[other].residual < index - residual < other:
            raise ValueError(f"layer {index + 1} has a residual that begins inside that of layer {other + 1}")


GN_CNN_LAYERS = (
    Layer(32, kernel=4, stride=2),  # (32, 16, 16); it halves the image at once: a convolution at 32x32 costs 22 us
    Layer(32),
    Layer(64, stride=2),  # (64, 8, 8)
    *2 * (Layer(64, depthwise=True), Layer(64, kernel=1)),
    Layer(64, depthwise=True),
    Layer(112, kernel=1),
)
"""The best of its latency in the search in benchmarks/: 49,226 parameters for ten classes, 47,962 once folded.

Depthwise layers stand at 8x8 alone: at 16x16 onnxruntime takes three times as long for one.
"""

EARLIER_GN_CNN_LAYERS = (
    Layer(32, kernel=4, stride=2),  # (32, 16, 16)
    Layer(32),
    Layer(32),
    Layer(32, stride=2),  # (32, 8, 8)
    Layer(32),
    Layer(28),
    Layer(64, kernel=1),  # gives the classifier more features than the 28 channels before it
)
"""What gn-cnn was before it had depthwise layers: 49,602 parameters for ten classes, 49,158 once folded."""


GN_CNN_MAX_LAYERS = (
    Layer(32),  # (32, 32, 32)
    Layer(32, depthwise=True),
    Layer(32, kernel=1),
    Layer(32, stride=2, depthwise=True),  # (32, 16, 16)
    Layer(64, kernel=1),
    *3 * (Layer(64, depthwise=True), Layer(64, kernel=1, identity=False, residual=2)),
    Layer(64, stride=2, depthwise=True),  # (64, 8, 8)
    Layer(96, kernel=1),
    *2 * (Layer(96, depthwise=True), Layer(96, kernel=1, identity=False, residual=2)),
)
"""Depthwise layers allow depth: seventeen convolutions where gn-cnn has seven, with as many parameters.

It has 49,514 parameters for ten classes, 47,498 once folded. Depthwise widths are multiples of 16, because onnxruntime
takes up to 2.7 times as long for others.
"""

GN_CNN_NANO_LAYERS = (
    Layer(16, kernel=4, stride=2),  # (16, 16, 16)
    Layer(48, stride=2),  # (48, 8, 8)
    Layer(48, kernel=5, depthwise=True),
    Layer(112, kernel=1),
)
"""For the smallest devices: 15,930 parameters for ten classes, 15,610 once folded, and 1.1 million MACs."""
