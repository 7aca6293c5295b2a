"""Unlabelled images that the teachers label, for a training that has few labelled ones.

The teachers choose, too: of each class the images that they are surest of, at most as many as are labelled, so that
what resembles no class does not count (Xie et al. 2020, "Self-training with Noisy Student", arXiv:1911.04252).
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cifar_edge.data.dataset import Dataset, image_digests
from cifar_edge.data.folder.other import load_images
from cifar_edge.errors import TrainingError
from cifar_edge.messages import display_name
from cifar_edge.runs.recipe import Recipe
from cifar_edge.training.teacher import Teacher


class PseudoLabelled(NamedTuple):
    """Images and the classes that the teachers gave them.

    Attributes:
        images: what is augmented, uint8 ``[n, L, L, 3]``, L being the recipe's source size or size.
        labels: int64 ``[n]``.
    """

    images: Tensor
    labels: Tensor


def pseudo_labelled(
    recipe: Recipe, dataset: Dataset, labels: Tensor, teacher: Teacher, report: Callable[[str], None]
) -> PseudoLabelled:
    """The images of the recipe's unlabelled folder that are learned from, on the device of ``labels``.

    Args:
        recipe: with a folder of unlabelled images.
        dataset: whose images are left out, since they have labels, or test what comes of the training.
        labels: of the training images, int64 ``[n]``.
        teacher: of the recipe.
        report: called with lines about what was read and chosen.

    Raises:
        DataError: there is no such folder, or no readable image in it.
        TrainingError: all of its images are in ``dataset``, too.
    """
    read = load_images(Path(recipe.unlabelled), "unlabelled images", recipe.source_size or recipe.size, report)
    sources = torch.from_numpy(read).to(labels.device)
    images = _resized(sources, recipe.size)
    known = {*image_digests(dataset.train_images), *image_digests(dataset.test_images)}
    new = np.array([digest not in known for digest in image_digests(images.cpu().numpy())])
    if not new.any():
        raise TrainingError(
            f"all images in {display_name(recipe.unlabelled)} are training or test images: none is left to learn from"
        )
    if count := int((~new).sum()):
        report(f"left out: {count:,} unlabelled images that are training or test images")
    sources, images = sources[new], images[new]
    probabilities = (teacher.logits(images).float() / recipe.temperature).softmax(1)
    chosen = _surest(probabilities, torch.bincount(labels, minlength=probabilities.shape[1]).tolist())
    report(f"{len(chosen):,} of {len(images):,} unlabelled images: of each class those that the teacher is surest of")
    return PseudoLabelled(sources[chosen], probabilities[chosen].argmax(1))


def _surest(probabilities: Tensor, most: list[int]) -> Tensor:
    """Positions of the images with the largest of ``probabilities``, at most ``most[c]`` of each class c.

    Args:
        probabilities: float ``[n, classes]``.
        most: one number a class.
    """
    sureness, labels = probabilities.max(1)
    order = sureness.argsort(descending=True, stable=True)
    of_classes = [order[labels[order] == label][:count] for label, count in enumerate(most)]
    return torch.cat(of_classes).sort().values


def _resized(images: Tensor, size: int) -> Tensor:
    if images.shape[1] == size:
        return images
    pixels = images.permute(0, 3, 1, 2)
    return F.interpolate(pixels, [size, size], mode="bilinear", antialias=True).permute(0, 2, 3, 1).contiguous()
