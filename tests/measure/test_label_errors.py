"""Likely wrong labels."""

import numpy as np

from cifar_edge import Classifier
from cifar_edge.data import Dataset
from cifar_edge.measure.label_errors import SURE, disagreements


def test_wrong_labels_are_found_and_hardly_any_right_ones(sample: Dataset) -> None:
    classifier = Classifier("gn-cnn")
    logits = np.array([answer.logits for answer in classifier.predict_batch(sample.test_images)], np.float32)
    labels = sample.test_labels.copy()
    wrong = np.random.default_rng(0).permutation(len(labels))[:25]
    labels[wrong] = (labels[wrong] + 3) % 10
    found = disagreements(logits, labels, classifier.metadata.temperature)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert found[-1].score >= SURE
    assert all(each.label == labels[each.index] != each.predicted for each in found)
    named = {each.index for each in found}
    assert len(named & set(wrong.tolist())) >= 15
    assert len(named - set(wrong.tolist())) <= 15


def test_a_model_that_knows_nothing_contradicts_nothing() -> None:
    logits = np.random.default_rng(0).normal(0, 0.1, (100, 2)).astype(np.float32)
    assert disagreements(logits, np.arange(100) % 2) == []
    assert disagreements(logits, np.zeros(100, np.int64)) == []  # a class without images
