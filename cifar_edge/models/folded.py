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


class BatchNormNetwork(nn.Module):
    """A `FoldedNetwork` while it is fine-tuned: a batch norm in place of each bias keeps it well conditioned."""

    def __init__(self, convolutions: Sequence[nn.Conv2d], norms: Sequence[nn.BatchNorm2d], head: nn.Linear) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(norms)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of float32 ``[batch, 3, 32, 32]``."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = torch.relu(norm(convolution(x)))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


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
