"""How far a classifier's scores can be believed: calibration error, likelihood, and the temperature that mends them."""

import math

import numpy as np
import numpy.typing as npt

BINS = 15

_COLDEST, _HOTTEST = 1e-2, 1e2
_HALVINGS = 60

Logits = npt.NDArray[np.float32]
"""float32 ``[images, classes]``."""
Classes = npt.NDArray[np.int64]
"""int64 ``[images]``, the true classes."""


def expected_calibration_error(logits: Logits, classes: Classes, temperature: float = 1.0) -> float:
    """ECE: how far, on average, the score of an answer is from how often answers of that score are right, in [0, 1].

    Images are sorted by their score, the largest softmax probability, into `BINS` bins of equal width. The error is the
    distance between accuracy and mean score in a bin, averaged over the bins with the images in them as weights (Guo et
    al. 2017, arXiv:1706.04599, equation 3; Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602).
    """
    scores = np.exp(_log_probabilities(logits, temperature)).max(axis=1)
    right = logits.argmax(axis=1) == classes
    bins = np.ceil(scores * BINS).astype(np.int64) - 1  # a bin holds its upper end, as in the paper
    surplus = np.bincount(bins, scores - right, minlength=BINS)
    return float(np.abs(surplus).sum() / len(classes))


def negative_log_likelihood(logits: Logits, classes: Classes, temperature: float = 1.0) -> float:
    """Mean over the images of -ln(score of the true class): 0 for a classifier that is right and sure of it."""
    return float(-_log_probabilities(logits, temperature)[np.arange(len(classes)), classes].mean())


def fit_temperature(logits: Logits, classes: Classes) -> float:
    """The temperature, from 0.01 to 100, of the least negative log likelihood (Guo et al. 2017, section 4.2).

    The likelihood is convex in 1 / temperature, so that its slope changes sign once: halving finds where.
    """
    exact = logits.astype(np.float64)
    true = exact[np.arange(len(classes)), classes]

    def too_cold(temperature: float) -> bool:
        expected = (np.exp(_log_probabilities(logits, temperature)) * exact).sum(axis=1)
        return float((expected - true).mean()) > 0

    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_cold(math.exp(middle)) else (low, middle)
    return math.exp((low + high) / 2)


def _log_probabilities(logits: Logits, temperature: float) -> npt.NDArray[np.float64]:
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    shifted: npt.NDArray[np.float64] = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return shifted
