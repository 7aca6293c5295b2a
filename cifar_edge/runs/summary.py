"""What a finished run says of itself: ``summary.json``, as a value."""

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
_temperature = partial(number, low=1e-3, high=1e3)
"""With the bounds of `cifar_edge.spec.ModelMetadata`."""


def _by(read: Callable[[Any], Any]) -> Mapping[str, Any]:
    """Metadata of a field: what makes its value of JSON's, or raises ValueError or KeyError."""
    return {"read": read}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The figures of a finished run. What the file does not have is None: early versions wrote less.

    Accuracies are in [0, 1]; those without ``folded`` are of the network as trained.

    Attributes:
        model: registered name of the network.
        labels: class names in the order of the logits.
        created: when the training began.
        finished: when it ended.
        epochs: passes over the training images, without those of ``fold_epochs``.
        seed: of the recipe.
        parameters: values in all weights and biases of the network as trained.
        macs: its multiply-accumulates for one image.
        train_accuracy: on the training images, not augmented.
        train_images: their number.
        holdout_accuracy: on the held-out training images; None where none are held out.
        holdout_images: their number.
        test_accuracy: on the test images.
        test_images: their number.
        fold_epochs: epochs of fine-tuning with the norms folded; None where they are not.
        folded_holdout_accuracy: of the folded network, on the held-out training images.
        folded_test_accuracy: of the folded network, on the test images.
        seconds: how long the training took, without interruptions.
        device: ``cpu``, or the name of the GPU.
        threads: threads of torch.
        data: what it was trained on.
        versions: package -> its version.
        temperature: precision -> what the logits of its file are to be divided by before the softmax; of released
            models only.
        notes: what else a card tells; of released models only.
        damage: field -> what is wrong with the value that the file has of it. The field is None then.
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


_READERS: Mapping[str, Callable[[Any], Any]] = {
    each.name: each.metadata["read"] for each in fields(RunSummary) if each.metadata
}
"""Key of the file, in its order -> what reads its value."""


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, DatasetReference):
        return value.to_record()
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
