"""The default training on an image folder: from a released network, at a size and for so long as suits the images."""

import math
from contextlib import suppress
from pathlib import Path
from statistics import median_low

from cifar_edge.errors import ModelError
from cifar_edge.files import is_released, released
from cifar_edge.runs.recipe import FoldRecipe, Recipe
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.runs.run import Run

PHOTOGRAPH_SIZE = 64
"""Size for photographs: docs/own-classes.md compares it with others."""
ACCURATE = "gn-cnn-max"
"""Another released network, slower and perhaps more accurate: docs/own-classes.md compares it with the default."""
_LEAST_SIDE = 48
"""Images whose shorter side is smaller are taken for pictures like those of CIFAR-10, not for photographs."""
_EPOCHS = 10
"""Parts of the training, each followed by a line on its accuracy; what counts are the steps."""
_STEPS, _FEW = 750, 300
"""Steps for a folder of 300 images, or of fewer. From there they grow with the square root of the number of images."""


def released_beginning(model: str) -> str:
    """``model`` itself if its released weights include a folded network, to begin a training with; else empty."""
    try:
        return model if Run(released(f"models/{model}")).weights(folded=True).is_file() else ""
    except ModelError:
        return ""


def beginning(init: str) -> Path:
    """The folder of the run or released model ``init``, to begin a training with.

    The name of a released model means that one, even where a run has the same name: a training that is called gn-cnn
    begins with the released gn-cnn, not with itself. Such a run is given by its path.

    Raises:
        ModelError: there is no such run or model.
    """
    if Path(init).name == init:
        with suppress(ModelError):
            return released(f"models/{init}")
    return resolve_run(init).path


def recipe_for_images(init: str, sides: list[int]) -> Recipe:
    """The recipe for an image folder, but for the number of steps: see `with_steps`.

    Args:
        init: the run or released model to begin with.
        sides: the shorter sides of some images, in pixels.

    Raises:
        ModelError: there is no such run or model.
    """
    folder = beginning(init)
    recipe = Recipe(
        model=Run(folder).network().model,
        init=init if is_released(folder) else str(folder),
        epochs=_EPOCHS,
        batch_size=32,
        learning_rate=0.01,
        label_smoothing=0.1,
        ema_decay=0.99,
        brightness=0.3,
        contrast=0.3,
        balance=True,
        fold=FoldRecipe(epochs=0),
    )
    if sides and median_low(sides) < _LEAST_SIDE:
        return recipe
    return recipe.with_values(size=PHOTOGRAPH_SIZE, resized_crop=0.4)


def with_steps(recipe: Recipe, images: int) -> Recipe:
    """``recipe`` with the number of steps for so many training images."""
    steps = _STEPS * math.sqrt(max(images / _FEW, 1))
    return recipe.with_values(steps_per_epoch=max(1, round(steps / recipe.epochs)))
