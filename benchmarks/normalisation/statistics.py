"""Means over seeds, their spread, and intervals for differences between them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance

from scipy import stats


@dataclass(frozen=True, slots=True)
class Sample:
    """What the seeds of a norm and batch size gave, in any unit; at least two, for a spread."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return fmean(self.values)

    @property
    def deviation(self) -> float:
        """Their standard deviation, with n - 1."""
        return stdev(self.values)


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of means with its two-sided 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """The interval leaves out zero."""
        return self.low > 0 or self.high < 0


def difference(terms: Sequence[tuple[float, Sample]]) -> Difference:
    """The sum of ``weight * mean`` over ``terms``, such as (1, a) and (-1, b) for a - b.

    Its interval is Welch's, which lets every sample have a variance of its own, with Satterthwaite's degrees of freedom
    (Welch 1947, Biometrika 34:28). It covers the chance of the seeds, not that of the choice of images.

    Raises:
        ValueError: a sample has fewer than two values.
    """
    value = sum(weight * sample.mean for weight, sample in terms)
    squares = [
        (weight**2 * variance(sample.values) / len(sample.values), len(sample.values)) for weight, sample in terms
    ]
    total = sum(square for square, _ in squares)
    if total == 0:
        return Difference(value, value, value)
    freedom = total**2 / sum(square**2 / (count - 1) for square, count in squares)
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(total)
    return Difference(value, value - half, value + half)
