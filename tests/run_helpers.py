"""Runs that are not finished, as a training leaves them."""

from pathlib import Path

from cifar_edge.data.origin import Origin
from cifar_edge.runs.recipe import FoldRecipe, Recipe
from cifar_edge.training.records import EpochRecord
from cifar_edge.training.state import RunState, save_state


def unfinished(folder: Path, epochs: int, began: str) -> Path:
    """A run of 20 epochs, 5 of folding, of which so many are done."""
    records = [EpochRecord("train", number + 1, 0.1, 2.0, 0.3, 0.4, 1.0) for number in range(epochs)]
    recipe = Recipe(epochs=15, fold=FoldRecipe(epochs=5))
    save_state(folder, RunState("train", None, records, recipe, Origin("cifar10", ""), {}, began, 0.0))
    return folder
