"""A depthwise convolution that trains faster on a CPU than PyTorch's own."""

import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """A convolution with one filter a channel; parameters and results are those of `torch.nn.Conv2d`.

    On a CPU, PyTorch's backward pass of a depthwise convolution takes about four times as long with a stride as
    without. So in training mode the convolution is computed at every position, and the positions that the stride skips
    are dropped.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channels, height, width]`` in and out."""
        rows, columns = self.stride
        if not self.training or x.device.type != "cpu" or (rows, columns) == (1, 1):
            return super().forward(x)
        assert not isinstance(self.padding, str)
        everywhere = F.conv2d(x, self.weight, self.bias, 1, self.padding, groups=self.groups)
        return everywhere[:, :, ::rows, ::columns]
