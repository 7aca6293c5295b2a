"""A gn-cnn whose norms are folded: convolutions with bias, shortcuts, ReLU, a pool and a linear classifier."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cifar_edge.folding.layers import Residual


class FoldedNetwork(nn.Module):
    """ReLU(conv(x) + shortcut) layer after layer, global average pool, linear classifier.

    Attributes:
        residuals: for each layer, the number of layers that its shortcut spans, itself included; 0 for no shortcut.
    """

    def __init__(self, convolutions: Sequence[nn.Conv2d], head: nn.Linear, residuals: Sequence[int]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.residuals = tuple(residuals)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of float32 ``[batch, 3, S, S]``."""
        inputs: list[Tensor] = []
        for convolution, residual in zip(self.convolutions, self.residuals, strict=True):
            inputs.append(x)
            x = convolution(x)
            x = torch.relu(x + inputs[-residual] if residual else x)
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits

    def sequential(self) -> nn.Sequential:
        """The same modules as a chain, in which shortcuts and ReLUs are modules too."""
        chain: list[nn.Module] = []
        ends: list[int] = []  # length of `chain` after each layer
        for index, (convolution, residual) in enumerate(zip(self.convolutions, self.residuals, strict=True)):
            chain.append(convolution)
            if residual:
                start = ends[index - residual]
                chain[start:] = [Residual(nn.Sequential(*chain[start:]))]
            chain.append(nn.ReLU())
            ends.append(len(chain))
        return nn.Sequential(*chain, self.pool, nn.Flatten(), self.head)


class BatchNormNetwork(nn.Module):
    """A `FoldedNetwork` while it is fine-tuned: a batch norm in place of each bias keeps it well conditioned."""

    def __init__(
        self,
        convolutions: Sequence[nn.Conv2d],
        norms: Sequence[nn.BatchNorm2d],
        head: nn.Linear,
        residuals: Sequence[int],
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.residuals = tuple(residuals)
        self.norms = nn.ModuleList(norms)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of float32 ``[batch, 3, S, S]``."""
        inputs: list[Tensor] = []
        for convolution, norm, residual in zip(self.convolutions, self.norms, self.residuals, strict=True):
            inputs.append(x)
            x = norm(convolution(x))
            x = torch.relu(x + inputs[-residual] if residual else x)
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


def like(convolution: nn.Conv2d, *, bias: bool) -> nn.Conv2d:
    """A convolution of the same class, shape, stride, padding and groups, with weights as PyTorch initialises them."""
    kernel, stride, padding = convolution.kernel_size, convolution.stride, convolution.padding
    assert not isinstance(padding, str)
    made = type(convolution)(
        convolution.in_channels,
        convolution.out_channels,
        (kernel[0], kernel[1]),
        (stride[0], stride[1]),
        (padding[0], padding[1]),
        groups=convolution.groups,
        bias=bias,
    )
    return made.to(convolution.weight.device)
