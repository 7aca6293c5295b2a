"""What is left of a gn-cnn once its norms are folded: convolutions with bias, ReLU, a pool and a linear layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FoldedNetwork(nn.Module):
    """A plain chain: ReLU(conv(x)) layer after layer, global average pool, linear classifier."""

    def __init__(self, convolutions: Sequence[nn.Conv2d], head: nn.Linear) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of float32 ``[batch, 3, 32, 32]``."""
        for convolution in self.convolutions:
            x = torch.relu(convolution(x))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


class BatchNormLayer(nn.Module):
    """ReLU(BN(conv(x)) + BN(x)), the second term where shapes allow (RepVGG, Ding et al. 2021, arXiv:2101.03697)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels)
        self.identity_norm = nn.BatchNorm2d(conv.out_channels) if keeps_shape(conv) else None

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channels, height, width]`` in and out."""
        total: Tensor = self.norm(self.conv(x))
        if self.identity_norm is not None:
            total = total + self.identity_norm(x)
        return torch.relu(total)


class BatchNormNetwork(nn.Module):
    """A `FoldedNetwork` while it is fine-tuned, with batch norms and identities that fold away."""

    def __init__(self, layers: Sequence[BatchNormLayer], head: nn.Linear) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of float32 ``[batch, 3, 32, 32]``."""
        logits: Tensor = self.head(self.pool(self.layers(x)).flatten(1))
        return logits


def keeps_shape(conv: nn.Conv2d) -> bool:
    """Whether the output of ``conv`` has the shape of its input, and its kernel a middle: identities can be added."""
    return conv.in_channels == conv.out_channels and conv.stride == (1, 1) and conv.kernel_size[0] % 2 == 1


def like(convolution: nn.Conv2d, *, bias: bool) -> nn.Conv2d:
    """A convolution of the same shape, stride, padding and groups; weights uninitialised but for PyTorch's default."""
    kernel, stride, padding = convolution.kernel_size, convolution.stride, convolution.padding
    assert not isinstance(padding, str)
    made = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        (kernel[0], kernel[1]),
        (stride[0], stride[1]),
        (padding[0], padding[1]),
        groups=convolution.groups,
        bias=bias,
    )
    return made.to(convolution.weight.device)
