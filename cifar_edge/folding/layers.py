"""The modules of a traced or a folded network that are not PyTorch's own."""

from torch import Tensor, nn

from cifar_edge.spec import PIXEL_SCALE, PIXEL_ZERO_POINT


class Residual(nn.Module):
    """The sum of two branches with the same input (He et al. 2016, arXiv:1512.03385).

    Attributes:
        layers: one branch.
        shortcut: the other; an empty one is the input itself.
    """

    def __init__(self, layers: nn.Sequential, shortcut: nn.Sequential | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = nn.Sequential() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channels, height, width]`` in and out."""
        total: Tensor = self.layers(x) + self.shortcut(x)
        return total


class ChannelLayerNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel (Ba et al. 2016, arXiv:1607.06450)."""

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channels, height, width]`` in and out."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Shift(nn.Module):
    """The first module of a network whose zero padding is another pixel than 128: it makes that pixel 0.

    Attributes:
        pixel: 0 to 255.
    """

    def __init__(self, pixel: int) -> None:
        super().__init__()
        self.pixel = pixel

    def forward(self, x: Tensor) -> Tensor:
        """``(p - pixel) / 64`` of the edge contract's ``(p - 128) / 64``."""
        return x + (PIXEL_ZERO_POINT - self.pixel) * PIXEL_SCALE
