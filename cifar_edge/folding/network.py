"""A network without norms, as folding makes it: a tree of PyTorch's own layers and of residuals."""

from torch import Tensor, nn


class FoldedNetwork(nn.Module):
    """A network without norms, which integers can compute.

    Attributes:
        layers: the tree: modules of the kinds in `cifar_edge.folding.description`, a Linear last.
    """

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of float32 ``[batch, 3, S, S]``."""
        logits: Tensor = self.layers(x)
        return logits


class BatchNormNetwork(nn.Module):
    """A `FoldedNetwork` while it is fine-tuned: a batch norm in place of each bias keeps it well conditioned.

    Attributes:
        layers: the tree; behind each convolution that had a bias stands its ``BatchNorm2d``.
    """

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of float32 ``[batch, 3, S, S]``."""
        logits: Tensor = self.layers(x)
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
