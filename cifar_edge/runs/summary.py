"""What a finished run says of itself: ``summary.json``, as a value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Self

from cifar_edge.json_values import brief, count, mapping, number, text
from cifar_edge.runs.dataset import DatasetReference
from cifar_edge.runs.reading import time_of

_LARGEST_TEMPERATURE = 1e3
"""The bounds are those of `cifar_edge.spec.ModelMetadata`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The figures of a finished run. What the file does not have is None: early versions wrote less.

    Accuracies are in [0, 1].
    """

    model: str | None = None
    """Registered name of the network."""

    labels: tuple[str, ...] | None = None
    """Class names in the order of the logits."""

    created: datetime | None = None
    """When the training began."""

    finished: datetime | None = None
    """When it ended."""

    epochs: int | None = None
    """Passes over the training images, without those of ``fold_epochs``."""

    seed: int | None = None
    """That of the recipe."""

    parameters: int | None = None
    """Values in all weights and biases of the network as trained."""

    macs: int | None = None
    """Its multiply-accumulates for one image."""

    train_accuracy: float | None = None
    """Of the network as trained, on the training images, not augmented."""

    train_images: int | None = None
    """Their number."""

    holdout_accuracy: float | None = None
    """Of the network as trained, on the held-out training images; None where none are held out."""

    holdout_images: int | None = None
    """Their number."""

    test_accuracy: float | None = None
    """Of the network as trained, on the test images."""

    test_images: int | None = None
    """Their number."""

    fold_epochs: int | None = None
    """Epochs of fine-tuning with the norms folded; None where they are not."""

    folded_holdout_accuracy: float | None = None
    """Of the folded network, on the held-out training images."""

    folded_test_accuracy: float | None = None
    """Of the folded network, on the test images."""

    seconds: float | None = None
    """How long the training took, in seconds, without those in which it was interrupted."""

    device: str | None = None
    """``cpu``, or the name of the GPU."""

    threads: int | None = None
    """Threads of torch."""

    data: DatasetReference | None = None
    """What it was trained on."""

    versions: Mapping[str, str] | None = None
    """Package -> its version."""

    temperature: Mapping[str, float] | None = None
    """Precision -> what the logits of its file are to be divided by before the softmax; of released models only."""

    notes: tuple[str, ...] | None = None
    """What else a card tells; of released models only."""

    damage: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Field -> what is wrong with the value that the file has of it. The field is None then."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """What `to_record` wrote, in this version or an early one. It raises nothing: see ``damage``."""
        values, damage = {}, {}
        for name in [name for name in _READERS if name in record]:
            try:
                values[name] = _READERS[name](record[name])
            except KeyError as error:
                damage[name] = f"it lacks {error}"
            except ValueError as error:
                damage[name] = str(error)
        return cls(**values, damage=damage)

    def to_record(self) -> dict[str, Any]:
        """As JSON values; what is None is left out."""
        values = {name: getattr(self, name) for name in _READERS}
        return {name: _json(value) for name, value in values.items() if value is not None}

    @property
    def accuracy(self) -> float | None:
        """On the test images: of the folded network if the norms are folded, else as trained."""
        return self.test_accuracy if self.folded_test_accuracy is None else self.folded_test_accuracy


def _time(value: object) -> datetime:
    if (time := time_of(value)) is None:
        raise ValueError(f"{brief(value)} is no time")
    return time


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{brief(value)} is no list")
    return tuple(map(text, value))


def _each(read: Callable[[Any], Any], value: object) -> dict[str, Any]:
    return {name: read(inner) for name, inner in mapping(value).items()}


_accuracy = partial(number, high=1.0)
_large = partial(count, most=2**63)

_READERS: Mapping[str, Callable[[Any], Any]] = {
    "model": text,
    "labels": _texts,
    "created": _time,
    "finished": _time,
    "epochs": count,
    "seed": _large,
    "parameters": count,
    "macs": _large,
    "train_accuracy": _accuracy,
    "train_images": count,
    "holdout_accuracy": _accuracy,
    "holdout_images": count,
    "test_accuracy": _accuracy,
    "test_images": count,
    "fold_epochs": count,
    "folded_holdout_accuracy": _accuracy,
    "folded_test_accuracy": _accuracy,
    "seconds": number,
    "device": text,
    "threads": count,
    "data": DatasetReference.from_record,
    "versions": partial(_each, text),
    "temperature": partial(_each, partial(number, low=1 / _LARGEST_TEMPERATURE, high=_LARGEST_TEMPERATURE)),
    "notes": _texts,
}
"""Key of the file, in its order -> what reads its value."""


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, DatasetReference):
        return value.to_record()
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
