"""Whole-set augmentation on uint8 tensors: every image of an epoch at once, no loader processes."""

import torch
from torch import Tensor

from cifar_edge.runs.recipe import Strength
from cifar_edge.spec import PIXEL_ZERO_POINT

_CHUNK = 5_000
"""Images augmented at a time, so that index tensors stay small."""

_RELIT = 500
"""Images that are held as floats at a time: they fit into a processor's cache."""


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


def relight(images: Tensor, generator: torch.Generator, *, brightness: Strength, contrast: Strength) -> Tensor:
    """``images`` in another light: brighter or darker, then with more or less contrast; each by a factor of its own.

    Pixels are multiplied by a factor within ``brightness``; then their distance from the mean of their image by one
    within ``contrast``; each time cut to 0..255, in the end rounded. A strength s stands for factors from
    [1 - s, 1 + s], two numbers for the least and the largest factor, as in torchvision's ColorJitter; the mean is that
    of all channels alike.

    Args:
        images: uint8 ``[n, height, width, 3]`` on any device.
        generator: a CPU generator, not used where both strengths are 0.
        brightness: from 0 for none to 1, or two factors.
        contrast: from 0 for none to 1, or two factors.

    Returns:
        uint8, the shape and device of ``images``; ``images`` itself where nothing is asked.
    """
    if not brightness and not contrast:
        return images

    def factors(strength: Strength) -> Tensor:
        low, high = strength if isinstance(strength, tuple) else (1 - strength, 1 + strength)
        uniform = torch.rand(len(images), 1, 1, 1, generator=generator)
        return ((low + high) / 2 + (high - low) / 2 * (2 * uniform - 1)).to(images.device)

    brighter, stronger = factors(brightness), factors(contrast)
    result = torch.empty_like(images)
    for start in range(0, len(images), _RELIT):
        part = slice(start, start + _RELIT)
        pixels = images[part].float().mul_(brighter[part]).clamp_(0, 255)
        means = pixels.mean(dim=(1, 2, 3), keepdim=True)
        result[part] = pixels.sub_(means).mul_(stronger[part]).add_(means).clamp_(0, 255).round_()
    return result


def _reflected(index: Tensor, size: int) -> Tensor:
    """Fold indices that left ``[0, size)`` back in, the border not repeated."""
    index = index.abs()
    return torch.where(index < size, index, 2 * (size - 1) - index)
