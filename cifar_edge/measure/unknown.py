"""How well a network's largest logit tells images of its classes from images of anything else.

The largest logit is compared with a threshold, and an answer below it is "not sure" (Hendrycks et al. 2022,
arXiv:1911.11132). The energy of Liu et al. 2020 (arXiv:2010.03759), the log of the sum of exponentials, was measured
beside it and is no better here (docs/unknown.md); it would need an exponential on devices that compute integers alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Values = npt.NDArray[np.floating[Any]]

KEPT = 0.95
"""Share of the images of the classes that an export's threshold keeps."""
KEPT_SHARES = (0.99, KEPT, 0.9, 0.8)
"""The shares in the table of `cifar-edge evaluate --other`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a threshold does to images of the classes and to others.

    Attributes:
        threshold: on the largest logit.
        kept: share of the images of the classes whose largest logit reaches it.
        refused: share of the other images whose largest logit does not.
    """

    threshold: float
    kept: float
    refused: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """How well images of the classes and other images are told apart.

    Attributes:
        auroc: the chance that an image of the classes has a larger largest logit than another image, in [0, 1]; 0.5 is
            that of a coin.
        known: number of images of the classes.
        other: number of other images.
        table: one for each of `KEPT_SHARES`.
        own: of the model's own threshold; None if it has none.
    """

    auroc: float
    known: int
    other: int
    table: tuple[Refusal, ...]
    own: Refusal | None

    @property
    def at_kept(self) -> Refusal:
        """The line of the table at `KEPT`."""
        return self.table[KEPT_SHARES.index(KEPT)]


def measure_unknown(known: Logits, other: Logits, threshold: float | None = None) -> Unknown:
    """Compare the largest logits of images of the classes, ``[n, classes]``, with those of others, ``[m, classes]``.

    Args:
        known: logits of test images.
        other: logits of images of no class.
        threshold: the model's own.

    Raises:
        ValueError: there are no images on one side.
    """
    inside, outside = known.max(axis=1), other.max(axis=1)
    table = tuple(_refusal(inside, outside, threshold_keeping(known, share)) for share in KEPT_SHARES)
    own = None if threshold is None else _refusal(inside, outside, threshold)
    return Unknown(auroc(inside, outside), len(inside), len(outside), table, own)


def threshold_keeping(logits: Logits, kept: float) -> float:
    """A threshold that at least a share ``kept`` of the images reach; as few more as possible.

    It lies in the middle between two largest logits that occur, so that no rounding decides.

    Args:
        logits: ``[images, classes]``.
        kept: in (0, 1].

    Raises:
        ValueError: there are no images, or ``kept`` is not such a share.
    """
    if len(logits) == 0 or not 0 < kept <= 1:
        raise ValueError(f"no threshold keeps {kept} of {len(logits)} images")
    largest = np.sort(logits.max(axis=1).astype(np.float64))
    refused = int(len(largest) * (1 - kept) + 1e-9)
    least_kept = largest[refused]
    below = largest[largest < least_kept]
    return float((below[-1] + least_kept) / 2 if len(below) else least_kept - abs(least_kept) * 1e-3 - 1e-3)


def auroc(known: Values, other: Values) -> float:
    """The area under the ROC curve: the Mann-Whitney statistic of ``known``, ``[n]``, over ``other``, ``[m]``.

    Raises:
        ValueError: there are no values on one side.
    """
    if not len(known) or not len(other):
        raise ValueError(f"{len(known)} and {len(other)} images cannot be compared")
    ordered = np.sort(other)
    below, not_above = np.searchsorted(ordered, known, "left"), np.searchsorted(ordered, known, "right")
    return float((below + not_above).mean() / (2 * len(other)))


def _refusal(known: Values, other: Values, threshold: float) -> Refusal:
    return Refusal(threshold, float((known >= threshold).mean()), float((other < threshold).mean()))
