"""The result of a classification, and its fields in JSON, CSV, Parquet and OpenAPI."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

UNKNOWN = "unknown"
"""The label in a record if the answer is not sure."""

CLASS_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "label": {"type": "string"},
    "index": {"type": "integer", "minimum": 0},
    "score": {"type": "number", "minimum": 0, "maximum": 1, "description": "Probability, calibrated."},
}
"""The fields of one class, each with its JSON schema: attributes of `ClassScore` and of `Prediction`."""

ANSWER_FIELDS: Mapping[str, Mapping[str, Any]] = {**CLASS_FIELDS}
"""The fields of an answer besides ``top``, its best classes. Each is an attribute of `Prediction`.

Whatever prints answers takes its fields from here: `cifar-edge predict`, the service with its OpenAPI document, and
the Parquet files of Ray.
"""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of a prediction.

    Attributes:
        label: name of the class.
        index: its index in the model's labels.
        score: softmax probability at the model's temperature, in [0, 1].
    """

    label: str
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        label: name of the most probable class.
        index: its index in the model's labels.
        score: its softmax probability, in [0, 1].
        logits: the model's outputs, one a class.
        labels: the model's class names, in the order of ``logits``.
        temperature: what the logits are divided by before the softmax.
        sure: whether the largest logit reaches the model's threshold; True if the model has none.
    """

    label: str
    index: int
    score: float
    logits: tuple[float, ...] = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    temperature: float = field(default=1.0, repr=False)
    sure: bool = field(default=True, repr=False)

    def top(self, k: int) -> tuple[ClassScore, ...]:
        """The ``k`` most probable classes, best first; all of them if there are fewer than ``k``.

        Raises:
            ValueError: ``k`` is less than 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        best = self.logits[self.index]
        weights = [math.exp((logit - best) / self.temperature) for logit in self.logits]
        total = sum(weights)
        order = sorted(range(len(self.logits)), key=lambda index: -self.logits[index])[:k]
        return tuple(ClassScore(self.labels[index], index, weights[index] / total) for index in order)

    def is_unknown(self, threshold: float | None = None) -> bool:
        """Whether the score is below ``threshold``; with None, whether the answer is not `sure` by the model's own."""
        return not self.sure if threshold is None else self.score < threshold

    def to_record(self, top: int = 1, threshold: float | None = None) -> dict[str, Any]:
        """The answer as JSON values: `ANSWER_FIELDS`, and the ``top`` best classes.

        If it `is_unknown`, the label is `UNKNOWN` and the index None; ``top`` still has the best guesses.

        Args:
            top: how many classes.
            threshold: a score; None for the model's own threshold, 0 for none.
        """
        record: dict[str, Any] = {name: getattr(self, name) for name in ANSWER_FIELDS}
        if self.is_unknown(threshold):
            record |= {"label": UNKNOWN, "index": None}
        return record | {"top": [asdict(candidate) for candidate in self.top(top)]}


def prediction(
    logits: list[float], labels: tuple[str, ...], temperature: float = 1.0, threshold: float | None = None
) -> Prediction:
    """The prediction for ``logits``. In plain Python, which is faster than numpy for ten classes.

    It is not sure if its largest logit is below ``threshold``.

    Raises:
        ValueError: a logit is not a finite number.
    """
    if not math.isfinite(sum(logits)):
        raise ValueError("the model's output is not finite")
    best = max(logits)
    index = logits.index(best)
    score = 1.0 / sum([math.exp((logit - best) / temperature) for logit in logits])
    return Prediction(
        labels[index], index, score, tuple(logits), labels, temperature, threshold is None or best >= threshold
    )
