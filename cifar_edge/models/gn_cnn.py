"""gn-cnn, the product's default: a small residual network with GroupNorm before ReLU, so that the norm can be folded."""

import torch
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """A convolution without bias and the GroupNorm after it (Wu & He 2018, arXiv:1803.08494)."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, padding=(kernel - 1) // 2, bias=False)
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out


class GnCnn(nn.Module):
    """Stem 4x4 stride 2, two 3x3 layers of 32 channels, two of 40; a residual add where shapes allow."""

    def __init__(self, classes: int, width: int = 32, wide: int = 40, groups: int = 4) -> None:
        super().__init__()
        self.stem = ConvNorm(3, width, 4, 2, groups)
        self.layers = nn.ModuleList(
            [
                ConvNorm(width, width, 3, 1, groups),
                ConvNorm(width, width, 3, 1, groups),
                ConvNorm(width, wide, 3, 2, groups),
                ConvNorm(wide, wide, 3, 1, groups),
            ]
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of float32 ``[batch, 3, 32, 32]``."""
        x = torch.relu(self.stem(x))
        for layer in self.layers:
            out = layer(x)
            x = torch.relu(out + x if out.shape == x.shape else out)
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits
