"""Likely wrong labels: images that a model puts confidently into another class than their label says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cifar_edge.runs.out_of_fold import OutOfFold

SURE = 0.8
"""The least score of a confident answer."""
Bars = npt.NDArray[np.float64]
"""``[classes]``."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An image whose label a model doubts.

    Attributes:
        index: its position.
        label: index of the class that it is labelled as.
        predicted: index of the class that the model takes it for.
        score: the softmax probability of ``predicted``.
    """

    index: int
    label: int
    predicted: int
    score: float


def disagreements(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], temperature: float = 1.0
) -> list[Disagreement]:
    """The images that a model puts confidently into another class; those with the highest score first.

    Of the images that were trained on, a model has learned wrong labels too: see `out_of_fold_disagreements`.

    Args:
        logits: ``[n, classes]``.
        labels: ``[n]``, the indices of the classes.
        temperature: divisor of the logits.
    """
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    scores = np.exp(scaled)
    scores /= scores.sum(axis=1, keepdims=True)
    every = np.arange(len(scores))
    predicted = scores.argmax(axis=1)
    bars = _bars(labels, scores[every, labels], scores.shape[1])
    return _contradicted(every, labels, predicted, scores[every, predicted], bars)


def out_of_fold_disagreements(
    predictions: Sequence[OutOfFold],
    positions: Mapping[str, int],
    labels: npt.NDArray[np.integer],
    names: Sequence[str],
) -> list[Disagreement]:
    """As `disagreements`, by the networks of a cross-validation, none of which had learned the label that it judges.

    Args:
        predictions: of a run, on the training images that it had.
        positions: SHA-256 of the pixels of the images to judge -> their positions in ``labels``.
        labels: of the images as they are now; some may have changed since.
        names: of the classes.

    Raises:
        ValueError: a prediction names none of the classes.
    """
    if not predictions:
        return []
    number = {name: index for index, name in enumerate(names)}
    try:
        then = np.array([number[each.label] for each in predictions])
        predicted = np.array([number[each.predicted] for each in predictions])
    except KeyError as error:
        raise ValueError(f"no class is called {error}") from error
    bars = _bars(then, np.array([each.label_score for each in predictions]), len(names))
    there = [index for index, each in enumerate(predictions) if each.sha256 in positions]
    images = np.array([positions[predictions[index].sha256] for index in there], np.int64)
    scores = np.array([predictions[index].score for index in there])
    return _contradicted(images, labels[images], predicted[there], scores, bars)


def _bars(labels: npt.NDArray[np.integer], label_scores: npt.NDArray[np.floating], classes: int) -> Bars:
    """For each class the score from which on an answer is confident.

    That is the mean score that the class gets on the images that are labelled as it (confident learning, Northcutt et
    al. 2021, arXiv:1911.00068), and at least `SURE`, since the mean of a poor model is no confidence at all.
    """
    means = [label_scores[labels == label].mean() if (labels == label).any() else 1.0 for label in range(classes)]
    return np.maximum(means, SURE)


def _contradicted(
    images: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer],
    predicted: npt.NDArray[np.integer],
    scores: npt.NDArray[np.floating],
    bars: Bars,
) -> list[Disagreement]:
    doubted = np.flatnonzero((predicted != labels) & (scores >= bars[predicted]))
    order = doubted[np.argsort(-scores[doubted], kind="stable")]
    return [Disagreement(int(images[at]), int(labels[at]), int(predicted[at]), float(scores[at])) for at in order]
