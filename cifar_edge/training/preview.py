"""A picture of what the network sees: training images as they are, and augmented."""

import numpy as np
import torch
from PIL import Image

from cifar_edge.data.dataset import Dataset
from cifar_edge.runs.recipe import Recipe
from cifar_edge.training.augmentation import augmented_by, sources_of
from cifar_edge.training.checkpoint import new_generator

_ACROSS, _DOWN = 8, 3
_LEAST_SIDE = 96
_GAP = 4
_GREY = 128


def preview(recipe: Recipe, dataset: Dataset) -> Image.Image:
    """24 training images of all classes in turn, each with an augmented version below it.

    They are drawn at the recipe's size, small ones enlarged by a whole number without smoothing.

    Args:
        recipe: it says how images are augmented.
        dataset: images of the recipe's size.
    """
    order = _in_turn(dataset.train_labels, _ACROSS * _DOWN)
    plain = dataset.train_images[order]
    sources = torch.from_numpy(sources_of(recipe, dataset)[order])
    augmented = augmented_by(recipe, sources, new_generator(recipe.seed)).numpy()
    scale = -(-_LEAST_SIDE // recipe.size)
    side = scale * recipe.size + _GAP
    sheet = np.full((2 * _DOWN * side + _DOWN * _GAP, _ACROSS * side, 3), _GREY, np.uint8)
    for index, pair in enumerate(zip(plain, augmented, strict=True)):
        row, column = divmod(index, _ACROSS)
        for below, image in enumerate(pair):
            enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
            top, left = (2 * row + below) * side + row * _GAP, column * side
            sheet[top : top + len(enlarged), left : left + len(enlarged)] = enlarged
    return Image.fromarray(sheet)


def _in_turn(labels: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most so many images, of one class after the other."""
    places = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        places[members] = np.arange(len(members))
    return np.lexsort((labels, places))[:most]
