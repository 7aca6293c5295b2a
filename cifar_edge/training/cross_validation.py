"""Cross-validation: how well a recipe does on images that it was not trained on, measured on the training images."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from cifar_edge.data.dataset import Dataset, image_digests
from cifar_edge.errors import TrainingError
from cifar_edge.folding.fold import can_fold
from cifar_edge.measure.metrics import Estimate, accuracy
from cifar_edge.runs.out_of_fold import OutOfFold
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.summary import RunSummary
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.loop import logits_of
from cifar_edge.training.machine import choose_device, memory_for, resolve_precision
from cifar_edge.training.origins import check_cross_validation
from cifar_edge.training.phases import Phases


def cross_validate(
    recipe: Recipe,
    dataset: Dataset,
    folds: int,
    *,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[int, Estimate], None] = lambda fold, right: None,
) -> list[OutOfFold]:
    """Train once for each fold on the other folds' training images; how they judge the training images, in their order.

    Each training image is judged once, by the network that it was held out from. Test images are not used.

    Args:
        recipe: its precision may be ``auto``.
        dataset: its training images are divided, each class evenly.
        folds: number of parts, from 2 on.
        device: one of `cifar_edge.training.machine.DEVICES`.
        stop: called after each step; True ends it.
        report: called after each fold with its number, from 1, and its accuracy.

    Raises:
        TrainingError: a class has fewer training images than there are folds; the recipe learns from a run that was
            trained on these images; or as `cifar_edge.training.run.train`.
        Interrupted: ``stop`` was true.
    """
    sizes = np.bincount(dataset.train_labels, minlength=len(dataset.labels))
    if sizes.min() < folds:
        name = dataset.labels[int(sizes.argmin())]
        if sizes.min() < 2:
            raise TrainingError(f"{folds} folds need {folds} training images of each class, but {name} has one")
        raise TrainingError(f"{folds} folds, but {name} has only {sizes.min()} training images; give fewer folds")
    check_cross_validation(recipe, dataset)
    where = choose_device(device)
    recipe = resolve_precision(recipe, where)
    fold_of = _folds(dataset.train_labels, folds)
    scores = np.zeros((len(fold_of), len(dataset.labels)))
    for fold in range(folds):
        part = _without(dataset, fold_of == fold)
        with tempfile.TemporaryDirectory() as folder, memory_for(recipe):
            phases = Phases(recipe, part, Path(folder), where, Callbacks(stop=stop))
            network = phases.train()
            logits = logits_of(network, phases.test[0])
            if recipe.fold.epochs and can_fold(network):
                _, logits = phases.fold(network, RunSummary())
        scores[fold_of == fold] = logits.double().softmax(1).cpu().numpy()
        hits = int((logits.argmax(1) == phases.test[1]).sum())
        report(fold + 1, accuracy(hits, len(part.test_labels)))
    return _predictions(dataset, scores)


def _predictions(dataset: Dataset, scores: np.ndarray) -> list[OutOfFold]:
    """What ``scores``, ``[N, classes]``, say of the training images."""
    rows = zip(image_digests(dataset.train_images), dataset.train_labels.tolist(), scores, strict=True)
    return [
        OutOfFold(
            image=dataset.names.get(digest, str(index)),
            sha256=digest,
            label=dataset.labels[label],
            predicted=dataset.labels[int(row.argmax())],
            score=float(row.max()),
            label_score=float(row[label]),
        )
        for index, (digest, label, row) in enumerate(rows)
    ]


def _folds(labels: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each image: those of a class are dealt out in turn, which the order of a dataset has mixed."""
    dealt = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        dealt[members] = (np.arange(len(members)) + label) % folds
    return dealt


def _without(dataset: Dataset, held: np.ndarray) -> Dataset:
    """``dataset`` with the training images ``held`` as its test images."""
    sources = dataset.train_sources
    return replace(
        dataset,
        train_images=dataset.train_images[~held],
        train_labels=dataset.train_labels[~held],
        train_sources=None if sources is None else sources[~held],
        test_images=dataset.train_images[held],
        test_labels=dataset.train_labels[held],
    )
