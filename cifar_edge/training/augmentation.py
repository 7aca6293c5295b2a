"""Whole-set augmentation on uint8 tensors: every image of an epoch at once, no loader processes."""

import torch
from torch import Tensor

from cifar_edge.spec import PIXEL_ZERO_POINT

_CHUNK = 5_000
"""Images augmented at a time, so that index tensors stay small."""


def augment(images: Tensor, generator: torch.Generator, *, crop: int, flip: bool, cutout: int) -> Tensor:
    """Shifted, mirrored and cut-out copies of ``images``.

    Args:
        images: uint8 ``[n, height, width, 3]`` on any device.
        generator: a CPU generator; the same state gives the same result on every device.
        crop: largest shift either way, in pixels; what comes in from outside is reflected.
        flip: mirror half of the images left to right.
        cutout: side of the square set to grey (pixel 128, the contract's zero), its centre anywhere; 0 for none.

    Returns:
        uint8, the shape and device of ``images``.
    """
    count, height, width, _ = images.shape

    def integers(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (count, 1), generator=generator).to(images.device)

    rows = _reflected(torch.arange(height, device=images.device) + integers(-crop, crop + 1), height)
    columns = _reflected(torch.arange(width, device=images.device) + integers(-crop, crop + 1), width)
    if flip:
        columns = torch.where(integers(0, 2) == 1, columns.flip(1), columns)
    result = torch.empty_like(images)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        which = torch.arange(count, device=images.device)[part, None, None]
        result[part] = images[which, rows[part, :, None], columns[part, None, :]]
    if cutout:
        top, left = integers(0, height) - cutout // 2, integers(0, width) - cutout // 2
        down, across = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
        in_rows = (down >= top) & (down < top + cutout)
        in_columns = (across >= left) & (across < left + cutout)
        result.masked_fill_((in_rows[:, :, None] & in_columns[:, None, :])[..., None], PIXEL_ZERO_POINT)
    return result


def _reflected(index: Tensor, size: int) -> Tensor:
    """Fold indices that left ``[0, size)`` back in, the border not repeated."""
    index = index.abs()
    return torch.where(index < size, index, 2 * (size - 1) - index)
