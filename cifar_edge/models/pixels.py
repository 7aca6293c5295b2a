"""The edge contract's map from pixels to network input, in PyTorch."""

import torch
from torch import Tensor, nn

from cifar_edge.spec import PIXEL_SCALE, PIXEL_ZERO_POINT


def pixels_to_input(images: Tensor) -> Tensor:
    """Map uint8 pixels, NHWC ``[batch, height, width, 3]``, to float32 in [-2, 1.984], contiguous NCHW."""
    centred = images.permute(0, 3, 1, 2).to(torch.float32) - PIXEL_ZERO_POINT
    return (centred * PIXEL_SCALE).contiguous()


class PixelNetwork(nn.Module):
    """A network with the edge contract's signature: uint8 NHWC pixels in, float32 logits out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Logits, float32 ``[batch, classes]``, of ``image``, uint8 ``[batch, S, S, 3]``."""
        logits: Tensor = self.network(pixels_to_input(image))
        return logits
