"""The first convolution, computed in columns: four pixels of a row are read as one, of twelve channels.

onnxruntime spends most of the time of a convolution with three channels on copying the image, a few bytes at a time. A
kernel of 3 x 3 over the image, padded by 1, gives the same sums as one of 3 x 2 over the columns of the image, padded
by 1 above, below and to the left and by 3 to the right. Its channel ``d * out + o`` at column j is channel o at pixel
``4 * j + d``, and its weights are those of o, moved by d pixels among zeros.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.integer.layers import Conv, Padding, Pair
from cifar_edge.spec import IMAGE_CHANNELS

WIDTH = 4
"""Pixels of a column."""
PADS = (0, 1, 1, 0, 0, 1, 3, 0)
"""Of the image ``[n, height, width, channels]``, as ONNX's Pad takes them: all that begin, then all that end."""
KERNEL = (3, 2)
"""Rows and columns that a kernel reads."""
LARGEST_PAIR = 128
"""Largest sum of two neighbouring weights: x86 without VNNI adds their products in int16, and 255 * 128 < 2^15."""

_SIDE = 3  # height and width of the kernel over the image
_ROW = _SIDE * IMAGE_CHANNELS  # weights of one row of it
_CHANNELS = WIDTH * IMAGE_CHANNELS


def fit(kernel: tuple[int, ...], stride: Pair, padding: Padding, size: int) -> bool:
    """Whether a first convolution can be computed in columns.

    Args:
        kernel: input channels, height and width of its weights.
        stride: vertical, horizontal.
        padding: top, left, bottom, right.
        size: height and width of the image.
    """
    same_size = stride == (1, 1) and padding == (1, 1, 1, 1)
    return kernel == (IMAGE_CHANNELS, _SIDE, _SIDE) and same_size and size % WIDTH == 0


def suit(layer: Conv, size: int) -> bool:
    """Whether ``layer``, the first of a network, can be computed in columns and no processor's sums saturate.

    Weights moved by an odd number of channels are added to the neighbour on their other side.
    """
    rows = in_rows(layer.weights).reshape(len(layer.weights), -1).astype(np.int32)
    bounded = bool((np.abs(rows[:, :-1] + rows[:, 1:]) <= LARGEST_PAIR).all())
    return bounded and fit(layer.weights.shape[1:], layer.stride, layer.padding, size)


def image_shape(size: int) -> tuple[int, int, int]:
    """Height, width and channels of an image of ``size`` in columns, padded."""
    return size + 2, size // WIDTH + 1, _CHANNELS


def in_rows(weights: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """``weights [out, in, height, width]`` as ``[out, height, width * in]``, which `row_pads` moves."""
    return weights.transpose(0, 2, 3, 1).reshape(*weights.shape[::2], -1)


def row_pads(moved: int) -> tuple[int, int]:
    """The zeros before and after a row of weights that is moved by so many pixels."""
    before = moved * IMAGE_CHANNELS
    return before, KERNEL[1] * _CHANNELS - _ROW - before


def wide(weights: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """The weights of the kernels over columns, ``[4 * out, 12, 3, 2]``, for ``weights [out, 3, 3, 3]``."""
    rows = in_rows(weights)
    moved = [np.pad(rows, ((0, 0), (0, 0), row_pads(pixels))) for pixels in range(WIDTH)]
    return np.concatenate(moved).reshape(-1, *KERNEL, _CHANNELS).transpose(0, 3, 1, 2)


def narrow(weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The weights ``[out, 3, 3, 3]`` of which `wide` makes ``weights``.

    Raises:
        ValueError: there are none.
    """
    rows = weights[: len(weights) // WIDTH].transpose(0, 2, 3, 1).reshape(-1, _SIDE, KERNEL[1] * _CHANNELS)
    found = np.ascontiguousarray(rows[..., :_ROW].reshape(-1, _SIDE, _SIDE, IMAGE_CHANNELS).transpose(0, 3, 1, 2))
    if not np.array_equal(wide(found), weights):
        raise ValueError("the weights of its first layer are not those of columns")
    return found
