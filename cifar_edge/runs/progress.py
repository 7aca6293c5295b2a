"""Reads and writes the progress of an unfinished run, which is in the header of its ``state.safetensors``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from cifar_edge.json_values import count, mapping, number, text
from cifar_edge.runs.dataset import DatasetReference
from cifar_edge.runs.epochs import PHASES, EpochRecord
from cifar_edge.runs.out_of_fold import OutOfFold
from cifar_edge.runs.reading import time_of
from cifar_edge.runs.recipe import Recipe


class CrossValidated(NamedTuple):
    """Accuracy, in [0, 1], on so many training images, each judged by a network that was trained without it."""

    accuracy: float
    images: int

    @classmethod
    def of(cls, predictions: Sequence[OutOfFold]) -> Self | None:
        """The accuracy of ``predictions``; None if there are none."""
        right = sum(each.predicted == each.label for each in predictions)
        return cls(right / len(predictions), len(predictions)) if predictions else None


@dataclass(frozen=True)
class Progress:
    """The progress of an unfinished run.

    Attributes:
        phase: ``train`` or ``fold``; in ``fold`` the trained weights are in the run already.
        records: one for each finished epoch.
        recipe: the resolved recipe.
        data: the dataset that it is trained on.
        environment: what else the weights depend on, bit for bit: see `cifar_edge.training.state.environment`.
        created: when the run began.
        seconds: how long it has been trained.
        cross_validated: what was measured before the training began; None if nothing was.
    """

    phase: str
    records: list[EpochRecord]
    recipe: Recipe
    data: DatasetReference
    environment: dict[str, Any]
    created: datetime
    seconds: float
    cross_validated: CrossValidated | None = None

    def to_record(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "phase": self.phase,
            "records": [asdict(line) for line in self.records],
            "recipe": self.recipe.to_mapping(),
            "data": self.data.to_record(),
            "environment": self.environment,
            "created": self.created.isoformat(),
            "seconds": self.seconds,
            "cross_validated": self.cross_validated and self.cross_validated._asdict(),
        }


def progress_of(record: Mapping[str, Any]) -> Progress:
    """Read what `Progress.to_record` wrote.

    Raises:
        RecipeError, LookupError, TypeError, ValueError, AttributeError: it is not such a record.
    """
    if (created := time_of(record["created"])) is None:
        raise ValueError("it does not say when it began")
    return Progress(
        phase=text(record.get("phase", record.get("stage")), PHASES),
        records=[EpochRecord.from_record(line) for line in record["records"]],
        recipe=Recipe.from_mapping(record["recipe"]),
        data=DatasetReference.from_record(record["data"]),
        environment=dict(record["environment"]),
        created=created,
        seconds=number(record["seconds"]),
        cross_validated=_cross_validated(record.get("cross_validated")),
    )


def _cross_validated(value: object) -> CrossValidated | None:
    if value is None:
        return None
    record = mapping(value)
    return CrossValidated(number(record["accuracy"], high=1.0), count(record["images"]))
