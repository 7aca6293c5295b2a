"""Likely wrong labels: images that a model puts confidently into another class than their label says."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SURE = 0.8
"""The least score of a confident answer."""


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

    Confidently is relative to the class: the score must reach the mean score that the class gets on the images that are
    labelled as it (confident learning, Northcutt et al. 2021, arXiv:1911.00068), and `SURE`, since the mean of a poor
    model is no confidence at all. Of the images that were trained on, a model has learned wrong labels too.

    Args:
        logits: ``[n, classes]``.
        labels: ``[n]``, the indices of the classes.
        temperature: divisor of the logits.
    """
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    scores = np.exp(scaled)
    scores /= scores.sum(axis=1, keepdims=True)
    bars = np.array(
        [scores[labels == label, label].mean() if (labels == label).any() else 1.0 for label in range(scores.shape[1])]
    )
    predicted = scores.argmax(axis=1)
    score = scores[np.arange(len(scores)), predicted]
    doubted = np.flatnonzero((predicted != labels) & (score >= np.maximum(bars[predicted], SURE)))
    order = doubted[np.argsort(-score[doubted], kind="stable")]
    return [Disagreement(int(at), int(labels[at]), int(predicted[at]), float(score[at])) for at in order]
