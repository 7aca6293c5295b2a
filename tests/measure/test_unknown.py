"""Telling images of the classes from others by their largest logit."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from cifar_edge import Classifier
from cifar_edge.data import Dataset
from cifar_edge.measure.unknown import KEPT_SHARES, auroc, measure_unknown, threshold_keeping


@pytest.fixture(scope="module")
def logits(sample: Dataset) -> np.ndarray:
    """Of the released network, on the sample's test images."""
    return np.array([answer.logits for answer in Classifier("gn-cnn").predict_batch(sample.test_images)], np.float32)


def test_auroc_is_the_statistic_of_mann_and_whitney(logits: np.ndarray) -> None:
    values = np.round(logits.max(axis=1), 1)  # with ties
    known, other = values[:150], values[150:]
    assert auroc(known, other) == pytest.approx(mannwhitneyu(known, other).statistic / (len(known) * len(other)))
    with pytest.raises(ValueError, match="0 images"):
        auroc(known, known[:0])


@pytest.mark.parametrize("kept", [0.5, 0.8, 0.95, 1.0])
def test_a_threshold_keeps_at_least_its_share_and_hardly_more(logits: np.ndarray, kept: float) -> None:
    threshold = threshold_keeping(logits, kept)
    largest = logits.max(axis=1)
    assert kept <= (largest >= threshold).mean() <= kept + 1 / len(logits)
    assert threshold not in largest  # between two of them, so that rounding decides nothing


def test_a_threshold_where_all_logits_are_equal_keeps_all() -> None:
    for value in (-3.0, 0.0, 5.0):
        assert threshold_keeping(np.full((20, 3), value, np.float32), 0.5) < value
    with pytest.raises(ValueError, match="keeps"):
        threshold_keeping(np.zeros((0, 3), np.float32), 0.5)


def test_the_released_network_refuses_noise(logits: np.ndarray, sample: Dataset) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8)
    other = np.array([answer.logits for answer in Classifier("gn-cnn").predict_batch(noise)], np.float32)
    unknown = measure_unknown(logits, other, threshold=-1e6)
    assert unknown.auroc > 0.6
    assert [each.kept >= share for each, share in zip(unknown.table, KEPT_SHARES, strict=True)] == [True] * 4
    assert unknown.at_kept is unknown.table[1]
    assert unknown.own is not None
    assert (unknown.own.kept, unknown.own.refused) == (1, 0)
