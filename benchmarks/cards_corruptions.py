"""Images that got worse on their way: common corruptions at five strengths, by torchvision's transforms.

The strengths of noise, blur, contrast and JPEG are those of CIFAR-10-C (Hendrycks & Dietterich 2019, arXiv:1903.12261),
whose own transforms differ in details: accuracies are alike, not the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

NOISE_SEED = 0


@dataclass(frozen=True)
class Corruption:
    """One way for images to get worse.

    Attributes:
        name: what to call it.
        transform: the function of ``torchvision.transforms.v2.functional`` that does it.
        parameter: what its strength is.
        strengths: weakest first.
        apply: uint8 ``[n, 3, 32, 32]`` and a strength in; the same shape and type out.
    """

    name: str
    transform: str
    parameter: str
    strengths: tuple[float, ...]
    apply: Callable[[Tensor, float], Tensor]


def _noise(images: Tensor, sigma: float) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(NOISE_SEED)
        noisy: Tensor = functional.gaussian_noise(images, sigma=sigma)
    return noisy


def _blur(images: Tensor, sigma: float) -> Tensor:
    blurred: Tensor = functional.gaussian_blur(images, kernel_size=[9, 9], sigma=[sigma, sigma])  # to 4 sigma at least
    return blurred


def _brightness(images: Tensor, factor: float) -> Tensor:
    changed: Tensor = functional.adjust_brightness(images, factor)
    return changed


def _contrast(images: Tensor, factor: float) -> Tensor:
    changed: Tensor = functional.adjust_contrast(images, factor)
    return changed


def _jpeg(images: Tensor, quality: float) -> Tensor:
    changed: Tensor = functional.jpeg(images, int(quality))
    return changed


CORRUPTIONS = (
    Corruption("Gaussian noise", "gaussian_noise", "sigma, of a white of 1", (0.04, 0.06, 0.08, 0.09, 0.1), _noise),
    Corruption("Gaussian blur", "gaussian_blur", "sigma in pixels", (0.4, 0.6, 0.7, 0.8, 1.0), _blur),
    Corruption("brighter", "adjust_brightness", "factor", (1.2, 1.4, 1.6, 1.8, 2.0), _brightness),
    Corruption("darker", "adjust_brightness", "factor", (0.8, 0.6, 0.4, 0.3, 0.2), _brightness),
    Corruption("less contrast", "adjust_contrast", "factor", (0.75, 0.5, 0.4, 0.3, 0.15), _contrast),
    Corruption("JPEG", "jpeg", "quality", (80, 65, 58, 50, 40), _jpeg),
)


def corrupt(images: npt.NDArray[np.uint8], corruption: Corruption, strength: float) -> npt.NDArray[np.uint8]:
    """``images``, uint8 ``[n, 32, 32, 3]``, made worse; the same ones every time."""
    changed = corruption.apply(torch.tensor(images.transpose(0, 3, 1, 2)).contiguous(), strength)
    return np.ascontiguousarray(changed.numpy().transpose(0, 2, 3, 1))
