"""Augmentation of many images at once, as uint8 tensors, without data loader processes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cifar_edge.data.dataset import Dataset, Images
from cifar_edge.runs.recipe import Recipe, Strength
from cifar_edge.spec import IMAGE_CHANNELS, PIXEL_ZERO_POINT

_CHUNK = 5_000
"""Images augmented at a time, so that index tensors stay small."""

_FLOAT_CHUNK = 500
"""Images converted to float at a time, so that they fit into a processor's cache."""


_STRETCH = 1.2
"""Largest ratio of the sides of a resized crop."""


def augmented_by(recipe: Recipe, images: Tensor, generator: torch.Generator) -> Tensor:
    """Randomly changed versions of ``images``, uint8 ``[n, S, S, 3]``, as ``recipe`` says.

    If it has resized crops, ``images`` may be larger than its size S.
    """
    if recipe.resized_crop:
        cropped = resized_crops(images, generator, least_area=recipe.resized_crop, size=recipe.size)
        moved = augment(cropped, generator, crop=0, flip=recipe.flip, cutout=recipe.cutout)
    else:
        moved = augment(images, generator, crop=recipe.crop, flip=recipe.flip, cutout=recipe.cutout)
    return relight(moved, generator, brightness=recipe.brightness, contrast=recipe.contrast)


def sources_of(recipe: Recipe, dataset: Dataset) -> Images:
    """What `augmented_by` takes: the training images at a larger size, if ``recipe`` has crops and they are there."""
    if recipe.resized_crop and dataset.train_sources is not None:
        return dataset.train_sources
    return dataset.train_images


def resized_crops(images: Tensor, generator: torch.Generator, *, least_area: float, size: int) -> Tensor:
    """A random part of each image, anywhere in it, resized to ``size`` with bilinear interpolation.

    As in torchvision's RandomResizedCrop, area and ratio of sides are drawn for each image.

    Args:
        images: uint8 ``[n, height, width, 3]`` on any device.
        generator: a CPU generator.
        least_area: least share of the area of an image; the largest is 1.
        size: height and width of the results.

    Returns:
        uint8 ``[n, size, size, 3]``, on the device of ``images``.
    """
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    area, ratio = uniform(least_area, 1), uniform(-math.log(_STRETCH), math.log(_STRETCH)).exp()
    across, down = (area * ratio).sqrt().clamp_max(1), (area / ratio).sqrt().clamp_max(1)
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0], maps[:, 0, 2] = across, uniform(-1, 1) * (1 - across)
    maps[:, 1, 1], maps[:, 1, 2] = down, uniform(-1, 1) * (1 - down)
    result = images.new_empty(count, size, size, IMAGE_CHANNELS)
    for start in range(0, count, _FLOAT_CHUNK):
        part = slice(start, start + _FLOAT_CHUNK)
        pixels = images[part].permute(0, 3, 1, 2).float()
        grid = F.affine_grid(maps[part].to(images.device), [len(pixels), 1, size, size], align_corners=False)
        crops = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        result[part] = crops.round_().permute(0, 2, 3, 1)
    return result


def mixtures_of(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mixed with another one: half of them are blended with it, half have a square of it.

    The first is the mixing of mixup (Zhang et al. 2018, arXiv:1710.09412), the second that of CutMix (Yun et al. 2019,
    arXiv:1905.04899), both with ratios drawn evenly from 0 to 1. A mixture has no label: a teacher has to classify it.

    Args:
        images: uint8 ``[n, S, S, 3]`` on any device.
        generator: a CPU generator.

    Returns:
        uint8, the shape and device of ``images``.
    """
    count, side = len(images), images.shape[1]

    def drawn(numbers: Tensor) -> Tensor:
        return numbers.to(images.device)

    others, ratios = drawn(torch.randperm(count, generator=generator)), drawn(torch.rand(count, generator=generator))
    blended = drawn(torch.rand(count, generator=generator) < 0.5)
    centres = drawn(torch.randint(0, side, (2, count, 1), generator=generator))
    squares = (side * (1 - ratios).sqrt()).round_()[:, None]  # the sides of squares with that share of the area
    distances = (torch.arange(side, device=images.device) - centres).abs() * 2
    in_rows, in_columns = distances < squares
    result = torch.empty_like(images)
    for start in range(0, count, _FLOAT_CHUNK):
        part = slice(start, start + _FLOAT_CHUNK)
        own, other, ratio = images[part], images[others[part]], ratios[part, None, None, None]
        cut = torch.where((in_rows[part, :, None] & in_columns[part, None, :])[..., None], other, own)
        blend = torch.lerp(other.float(), own.float(), ratio).round_().to(torch.uint8)
        result[part] = torch.where(blended[part, None, None, None], blend, cut)
    return result


def augment(images: Tensor, generator: torch.Generator, *, crop: int, flip: bool, cutout: int) -> Tensor:
    """Randomly shifted, flipped and cut-out versions of ``images``.

    Args:
        images: uint8 ``[n, height, width, 3]`` on any device.
        generator: a CPU generator; the same state gives the same result on every device.
        crop: largest shift in each direction, in pixels; the image is padded by reflection.
        flip: flip half of the images left to right.
        cutout: side of the square set to grey (pixel 128, the contract's zero), centred anywhere; 0 for none.

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
    """``images`` with random brightness, then random contrast, drawn for each image.

    Brightness multiplies pixels by a factor. Contrast multiplies their distance from the mean of the image, over all
    channels, by another. Both clip to 0..255; the end is rounded. As in torchvision's ColorJitter, a strength s draws
    factors from [1 - s, 1 + s]; two numbers are the least and the largest factor.

    Args:
        images: uint8 ``[n, height, width, 3]`` on any device.
        generator: a CPU generator, not used if both strengths are 0.
        brightness: strength from 0 for none to 1, or two factors.
        contrast: strength from 0 for none to 1, or two factors.

    Returns:
        uint8, the shape and device of ``images``; ``images`` itself if both strengths are 0.
    """
    if not brightness and not contrast:
        return images

    def factors(strength: Strength) -> Tensor:
        low, high = strength if isinstance(strength, tuple) else (1 - strength, 1 + strength)
        uniform = torch.rand(len(images), 1, 1, 1, generator=generator)
        return ((low + high) / 2 + (high - low) / 2 * (2 * uniform - 1)).to(images.device)

    brightness_factors, contrast_factors = factors(brightness), factors(contrast)
    result = torch.empty_like(images)
    for start in range(0, len(images), _FLOAT_CHUNK):
        part = slice(start, start + _FLOAT_CHUNK)
        pixels = images[part].float().mul_(brightness_factors[part]).clamp_(0, 255)
        means = pixels.mean(dim=(1, 2, 3), keepdim=True)
        result[part] = pixels.sub_(means).mul_(contrast_factors[part]).add_(means).clamp_(0, 255).round_()
    return result


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices outside ``[0, size)`` reflected back into it, without repeating the border."""
    index = index.abs()
    return torch.where(index < size, index, 2 * (size - 1) - index)
