"""Runs that are not finished, as a training leaves them."""

from datetime import UTC, datetime
from pathlib import Path

from cifar_edge.runs.dataset import DatasetReference
from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.runs.recipe import FoldRecipe, Recipe
from cifar_edge.training.state import RunState, save_state


def unfinished(folder: Path, epochs: int, began: str) -> Path:
    """A run of 20 epochs, 5 of folding, of which so many are done."""
    records = [EpochRecord("train", number + 1, 0.1, 2.0, 0.3, 0.4, 1.0) for number in range(epochs)]
    recipe = Recipe(epochs=15, fold=FoldRecipe(epochs=5))
    created = datetime.fromisoformat(began).replace(tzinfo=UTC)
    save_state(folder, RunState("train", records, recipe, DatasetReference("cifar10", ""), {}, created, 0.0))
    return folder
