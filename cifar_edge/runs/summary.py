"""Reads and writes ``summary.json``: the figures of a finished run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import partial
from typing import Any, Self

from cifar_edge.json_values import brief, count, mapping, number, text
from cifar_edge.runs.dataset import DatasetReference
from cifar_edge.runs.reading import time_of


def _time(value: object) -> datetime:
    if (time := time_of(value)) is None:
        raise ValueError(f"{brief(value)} is not a time")
    return time


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{brief(value)} is not a list")
    return tuple(map(text, value))


def _each(read: Callable[[Any], Any], value: object) -> dict[str, Any]:
    return {name: read(inner) for name, inner in mapping(value).items()}


_accuracy = partial(number, high=1.0)
_large = partial(count, most=2**63)
_temperature = partial(number, low=1e-3, high=1e3)
"""The temperature has the limits of `cifar_edge.spec.ModelMetadata`."""


def _by(read: Callable[[Any], Any]) -> Mapping[str, Any]:
    """Metadata of a field: the function that reads its JSON value, or raises ValueError or KeyError."""
    return {"read": read}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The figures of a finished run. Those missing in the file are None: early versions wrote fewer.

    Accuracies are in [0, 1]; those without ``folded`` are of the network as trained.

    Attributes:
        model: registered name of the network.
        labels: class names in the order of the logits.
        created: when the training began.
        finished: when it ended.
        epochs: epochs of training, without ``fold_epochs``.
        seed: seed of the recipe.
        parameters: number of parameters of the network as trained.
        macs: multiply-accumulates of the network as trained, for one image.
        train_accuracy: accuracy on the training images, not augmented.
        train_images: number of training images.
        holdout_accuracy: accuracy on the validation images; None if none were held out.
        holdout_images: number of validation images.
        test_accuracy: accuracy on the test images.
        test_images: number of test images.
        cross_validated_accuracy: accuracy on the training images, each judged by a network trained without it.
        cross_validated_images: number of these.
        fold_epochs: epochs of fine-tuning after the norms were folded; None if they were not folded.
        folded_holdout_accuracy: accuracy of the folded network on the validation images.
        folded_test_accuracy: accuracy of the folded network on the test images.
        seconds: how long the training took, without interruptions.
        device: ``cpu``, or the name of the GPU.
        threads: threads of torch.
        data: the dataset that it was trained on.
        versions: package -> its version.
        temperature: precision -> divisor of the logits before the softmax; for released models only.
        notes: other lines of the model card; for released models only.
        damage: field -> what is wrong with its value in the file. The field is None then.
    """

    model: str | None = field(default=None, metadata=_by(text))
    labels: tuple[str, ...] | None = field(default=None, metadata=_by(_texts))
    created: datetime | None = field(default=None, metadata=_by(_time))
    finished: datetime | None = field(default=None, metadata=_by(_time))
    epochs: int | None = field(default=None, metadata=_by(count))
    seed: int | None = field(default=None, metadata=_by(_large))
    parameters: int | None = field(default=None, metadata=_by(count))
    macs: int | None = field(default=None, metadata=_by(_large))
    train_accuracy: float | None = field(default=None, metadata=_by(_accuracy))
    train_images: int | None = field(default=None, metadata=_by(count))
    holdout_accuracy: float | None = field(default=None, metadata=_by(_accuracy))
    holdout_images: int | None = field(default=None, metadata=_by(count))
    test_accuracy: float | None = field(default=None, metadata=_by(_accuracy))
    test_images: int | None = field(default=None, metadata=_by(count))
    cross_validated_accuracy: float | None = field(default=None, metadata=_by(_accuracy))
    cross_validated_images: int | None = field(default=None, metadata=_by(count))
    fold_epochs: int | None = field(default=None, metadata=_by(count))
    folded_holdout_accuracy: float | None = field(default=None, metadata=_by(_accuracy))
    folded_test_accuracy: float | None = field(default=None, metadata=_by(_accuracy))
    seconds: float | None = field(default=None, metadata=_by(number))
    device: str | None = field(default=None, metadata=_by(text))
    threads: int | None = field(default=None, metadata=_by(count))
    data: DatasetReference | None = field(default=None, metadata=_by(DatasetReference.from_record))
    versions: Mapping[str, str] | None = field(default=None, metadata=_by(partial(_each, text)))
    temperature: Mapping[str, float] | None = field(default=None, metadata=_by(partial(_each, _temperature)))
    notes: tuple[str, ...] | None = field(default=None, metadata=_by(_texts))
    damage: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_record` wrote, in this version or an early one. Errors go to ``damage``, none is raised."""
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
        """As JSON values, without those that are None."""
        values = {name: getattr(self, name) for name in _READERS}
        return {name: _json(value) for name, value in values.items() if value is not None}

    @property
    def accuracy(self) -> float | None:
        """Test accuracy of the folded network if the norms are folded, else of the network as trained."""
        return self.test_accuracy if self.folded_test_accuracy is None else self.folded_test_accuracy


_READERS: Mapping[str, Callable[[Any], Any]] = {
    each.name: each.metadata["read"] for each in fields(RunSummary) if each.metadata
}
"""Key of the file, in the order of the file -> function that reads its value."""


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, DatasetReference):
        return value.to_record()
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
