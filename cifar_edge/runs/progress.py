"""How far an unfinished run is: what its ``state.safetensors`` says of itself, beside the tensors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from cifar_edge.json_values import number, text
from cifar_edge.runs.dataset import DatasetReference
from cifar_edge.runs.epochs import STAGES, EpochRecord
from cifar_edge.runs.reading import time_of
from cifar_edge.runs.recipe import Recipe


@dataclass(frozen=True)
class Progress:
    """Where an unfinished run stands.

    Attributes:
        stage: ``train`` or ``fold``; of the latter the trained weights are in the run already.
        records: of the epochs that are done.
        recipe: resolved.
        data: which dataset it is trained on.
        environment: what else the weights depend on, bit for bit: see `cifar_edge.training.state.environment`.
        created: when the run began.
        seconds: how long it has been trained.
    """

    stage: str
    records: list[EpochRecord]
    recipe: Recipe
    data: DatasetReference
    environment: dict[str, Any]
    created: datetime
    seconds: float

    def to_record(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "stage": self.stage,
            "records": [asdict(line) for line in self.records],
            "recipe": self.recipe.to_mapping(),
            "data": self.data.to_record(),
            "environment": self.environment,
            "created": self.created.isoformat(),
            "seconds": self.seconds,
        }


def progress_of(record: Mapping[str, Any]) -> Progress:
    """What `Progress.to_record` wrote.

    Raises:
        RecipeError, LookupError, TypeError, ValueError, AttributeError: it is no such record.
    """
    if (created := time_of(record["created"])) is None:
        raise ValueError("it does not say when it began")
    return Progress(
        stage=text(record["stage"], STAGES),
        records=[EpochRecord.from_record(line) for line in record["records"]],
        recipe=Recipe.from_mapping(record["recipe"]),
        data=DatasetReference.from_record(record["data"]),
        environment=dict(record["environment"]),
        created=created,
        seconds=number(record["seconds"]),
    )
