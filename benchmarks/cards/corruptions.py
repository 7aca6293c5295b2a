"""Images that got worse on their way: common corruptions at five strengths, by transforms of torchvision and Pillow.

The strengths of noise, blur, contrast and JPEG are those of CIFAR-10-C (Hendrycks & Dietterich 2019, arXiv:1903.12261),
whose own transforms differ in details: accuracies are alike, not the same.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

TRANSFORMS = (
    "Noise, blur, brightness and contrast by `torchvision.transforms.v2.functional` (`gaussian_noise` of seed 0, "
    "`gaussian_blur` with a kernel of 9x9, `adjust_brightness`, `adjust_contrast`), JPEG by Pillow."
)
"""What is done, for people."""


@dataclass(frozen=True)
class Corruption:
    """One way for images to get worse.

    Attributes:
        name: what to call it.
        parameter: what its strength is.
        strengths: weakest first.
        apply: uint8 ``[n, 3, 32, 32]`` and a strength in; the same shape and type out.
    """

    name: str
    parameter: str
    strengths: tuple[float, ...]
    apply: Callable[[Tensor, float], Tensor]


def _noise(images: Tensor, sigma: float) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
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
    pictures = []
    for image in images.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=int(quality))
        pictures.append(np.array(Image.open(file)))
    return torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2)


CORRUPTIONS = (
    Corruption("Gaussian noise", "sigma, of a white of 1", (0.04, 0.06, 0.08, 0.09, 0.1), _noise),
    Corruption("Gaussian blur", "sigma in pixels", (0.4, 0.6, 0.7, 0.8, 1.0), _blur),
    Corruption("brighter", "factor", (1.2, 1.4, 1.6, 1.8, 2.0), _brightness),
    Corruption("darker", "factor", (0.8, 0.6, 0.4, 0.3, 0.2), _brightness),
    Corruption("less contrast", "factor", (0.75, 0.5, 0.4, 0.3, 0.15), _contrast),
    Corruption("JPEG", "quality", (80, 65, 58, 50, 40), _jpeg),
)


def corrupt(images: npt.NDArray[np.uint8], corruption: Corruption, strength: float) -> npt.NDArray[np.uint8]:
    """``images``, uint8 ``[n, 32, 32, 3]``, made worse; the same ones every time."""
    changed = corruption.apply(torch.tensor(images.transpose(0, 3, 1, 2)).contiguous(), strength)
    return np.ascontiguousarray(changed.numpy().transpose(0, 2, 3, 1))
