"""What the cards' figures are made by: calibration against known cases, corruptions against their promise, markdown."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F

from benchmarks.cards.calibration import Logits, expected_calibration_error, fit_temperature, negative_log_likelihood
from benchmarks.cards.corruptions import CORRUPTIONS, Corruption, corrupt
from benchmarks.cards.markdown import WIDTH, paragraph
from cifar_edge.data import Dataset


def drawn(images: int = 20_000) -> tuple[Logits, npt.NDArray[np.int64]]:
    """Logits, and true classes that are drawn with just the probabilities that they say."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (images, 10)).astype(np.float32)
    gumbel = random.gumbel(size=logits.shape)
    return logits, (logits + gumbel).argmax(axis=1)


def test_the_calibration_error_of_a_case_done_by_hand() -> None:
    scores = np.array([0.62, 0.65, 0.9, 0.99, 1.0 - 1e-9])  # bins 10, 10, 14, 15, 15 of 15
    logits = np.log(np.stack([scores, 1 - scores], axis=1)).astype(np.float32)
    classes = np.array([0, 1, 0, 0, 1])
    expected = (abs(1.27 - 1) + abs(0.9 - 1) + abs(1.99 - 1)) / 5
    assert expected_calibration_error(logits, classes) == pytest.approx(expected, abs=1e-6)


def test_a_bin_of_the_calibration_error_holds_its_upper_end() -> None:
    # Scores of 1, the one bin edge that is exact in binary, and of 0.95: both in the last bin, where 1 too much for the
    # wrong answer and 0.05 too little for the right one partly cancel. In bins of their own they would add up.
    logits = np.array([[0, -1000], [np.log(19), 0]], np.float32)
    classes = np.array([1, 0])
    assert expected_calibration_error(logits, classes) == pytest.approx(abs(1.95 - 1) / 2, abs=1e-6)


def test_a_classifier_that_says_what_it_knows_is_calibrated() -> None:
    logits, classes = drawn()
    assert expected_calibration_error(logits, classes) < 0.01
    assert expected_calibration_error(3 * logits, classes) > 0.1
    assert expected_calibration_error(3 * logits, classes, 3.0) < 0.01


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_fitted_temperature_is_the_one_that_was_hidden(temperature: float) -> None:
    logits, classes = drawn()
    assert fit_temperature(temperature * logits, classes) == pytest.approx(temperature, rel=0.03)


def test_the_fitted_temperature_is_the_likeliest() -> None:
    logits, classes = drawn(500)
    best = fit_temperature(logits, classes)
    least = negative_log_likelihood(logits, classes, best)
    assert all(negative_log_likelihood(logits, classes, best * factor) > least for factor in (0.99, 1.01))


def test_the_likelihood_is_that_of_torch() -> None:
    logits, classes = drawn(500)
    expected = F.cross_entropy(torch.tensor(logits) / 1.7, torch.tensor(classes)).item()
    assert negative_log_likelihood(logits, classes, 1.7) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_a_corruption_grows_with_its_strength(corruption: Corruption, sample: Dataset) -> None:
    images = sample.test_images[:50]
    assert len(corruption.strengths) == 5
    distances = []
    for strength in corruption.strengths:
        worse = corrupt(images, corruption, strength)
        assert (worse.shape, worse.dtype) == (images.shape, images.dtype)
        np.testing.assert_array_equal(worse, corrupt(images, corruption, strength))
        distances.append(np.abs(worse.astype(int) - images).mean())
    assert distances[0] > 0
    assert distances == sorted(distances)


def test_the_corruptions_do_what_their_names_say(sample: Dataset) -> None:
    by_name = {each.name: each for each in CORRUPTIONS}
    grey = np.full((20, 32, 32, 3), 128, np.uint8)
    assert corrupt(grey, by_name["Gaussian noise"], 0.1).std() == pytest.approx(25.5, rel=0.03)
    assert (corrupt(grey, by_name["brighter"], 1.5) == 192).all()
    assert (corrupt(grey, by_name["darker"], 0.5) == 64).all()
    images = sample.test_images[:20]
    faint = corrupt(images, by_name["less contrast"], 0.5)
    np.testing.assert_allclose(faint.std(axis=(1, 2, 3)), images.std(axis=(1, 2, 3)) / 2, atol=1)
    point = np.zeros((1, 32, 32, 3), np.uint8)
    point[0, 16, 16] = 255
    blurred = corrupt(point, by_name["Gaussian blur"], 1.0)
    assert blurred[0, 16, 16, 0] == round(255 / (2 * np.pi * 1.0**2))


def test_paragraphs_do_not_break_code() -> None:
    text = paragraph("word " * 22 + "`cifar-edge evaluate gn-cnn` " * 3, "- ")
    assert all(line.count("`") % 2 == 0 and len(line) <= WIDTH for line in text.splitlines())
    assert len(text.splitlines()) > 1
    assert "`cifar-edge evaluate gn-cnn`" in text
    assert {line[:2] for line in text.splitlines()} == {"- ", "  "}
