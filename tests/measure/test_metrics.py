"""Intervals against published ones and against their own promise; the confusion matrix against counting."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar_edge.measure.accuracy import evaluate
from cifar_edge.measure.metrics import accuracy, accuracy_difference, confusion_matrix, recall


@pytest.mark.parametrize(
    ("correct", "images", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_wilson_interval_of_newcombes_table(correct: int, images: int, low: float, high: float) -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    estimate = accuracy(correct, images)
    assert estimate.value == correct / images
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)
    assert estimate.images == images


@given(st.integers(1, 20_000), st.data())
def test_an_accuracy_lies_in_its_interval(images: int, data: st.DataObject) -> None:
    estimate = accuracy(data.draw(st.integers(0, images)), images)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
    assert estimate.low < estimate.high


@pytest.mark.parametrize(("correct", "images"), [(0, 0), (3, 2), (-1, 5)])
def test_no_accuracy_of_no_images(correct: int, images: int) -> None:
    with pytest.raises(ValueError, match=f"{correct} correct of {images} images"):
        accuracy(correct, images)


def pairs(both: int, only_reference: int, only_other: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, only_reference, only_other, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_the_paired_interval_of_a_published_example() -> None:
    # 21 children, 1 positive twice, 1 before only, 7 after only: Fagerland, Lydersen & Laake 2014, Bonett-Price.
    estimate = accuracy_difference(*pairs(1, 1, 7, 12))
    assert estimate.value == pytest.approx(6 / 21)
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (0.013, 0.508)


def test_the_paired_interval_is_narrow_where_the_two_agree() -> None:
    agreeing = accuracy_difference(*pairs(8600, 20, 10, 1370))
    assert agreeing.value == pytest.approx(-0.001)
    assert -0.0022 < agreeing.low < agreeing.value < agreeing.high < 0.0002
    same = accuracy_difference(*pairs(8600, 0, 0, 1400))
    assert (same.value, same.low) == (0.0, -same.high)
    assert 0 < same.high < 0.0004


@pytest.mark.parametrize(("only_reference", "only_other"), [(0.02, 0.01), (0.1, 0.1), (0.03, 0.005)])
@pytest.mark.parametrize("images", [300, 5000])
def test_the_paired_interval_holds_the_truth_95_times_in_100(
    images: int, only_reference: float, only_other: float
) -> None:
    random = np.random.default_rng(0)
    shares = [0.6, only_reference, only_other, 0.4 - only_reference - only_other]
    estimates = [accuracy_difference(*pairs(*draw)) for draw in random.multinomial(images, shares, size=2000)]
    truth = only_other - only_reference
    held = sum(estimate.low <= truth <= estimate.high for estimate in estimates)
    assert 0.93 <= held / len(estimates) <= 0.995


def test_pairs_must_be_pairs() -> None:
    for reference, other in ((3, 4), (0, 0)):
        with pytest.raises(ValueError, match="no pairs"):
            accuracy_difference(np.ones(reference, bool), np.ones(other, bool))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=60))
def test_the_confusion_matrix_counts(answers: list[tuple[int, int]]) -> None:
    labels = np.array([true for true, _ in answers], np.int64)
    predicted = np.array([guess for _, guess in answers], np.int64)
    confusion = confusion_matrix(labels, predicted, 5)
    assert all(confusion[cell] == answers.count(cell) for cell in np.ndindex(5, 5))
    for index, share in enumerate(recall(confusion).tolist()):
        of_class = [guess for true, guess in answers if true == index]
        assert share == of_class.count(index) / len(of_class) if of_class else math.isnan(share)


def test_the_confusion_matrix_refuses_unknown_classes() -> None:
    for labels, predicted in (([0, 5], [0, 1]), ([0, 1], [0, -1])):
        with pytest.raises(ValueError, match="of 5 classes"):
            confusion_matrix(np.array(labels), np.array(predicted), 5)
    with pytest.raises(ValueError, match="labels have shape"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 5)


def test_evaluate_sums_it_up() -> None:
    logits = np.array([[2, 1, 0], [0, 3, 1], [5, 0, 1], [0, 0, 1]], np.float32)
    evaluation = evaluate(logits, np.array([0, 1, 1, 1]), ("a", "b", "c"))
    assert evaluation.accuracy == accuracy(2, 4)
    assert evaluation.confusion.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    np.testing.assert_array_equal(evaluation.recall, [1.0, 1 / 3, np.nan])
    assert evaluation.labels == ("a", "b", "c")
