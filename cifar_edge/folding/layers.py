"""`Residual`, the one module of a folded network that is not PyTorch's own."""

from torch import Tensor, nn


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
