"""The dataset reference: what a run records about its dataset, so that a later command finds the same one."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from cifar_edge.json_values import count, mapping, number, text


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """SHA-256, in hexadecimal, of the raw bytes of each array of a dataset (C order, little-endian)."""

    train_images: str
    train_labels: str
    test_images: str
    test_labels: str

    @classmethod
    def of(cls, arrays: Iterable[np.ndarray[Any, Any]]) -> Self:
        """The fingerprints of these four arrays."""
        import hashlib  # loads slowly, and is not needed to read a reference

        return cls(*(hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() for array in arrays))

    @classmethod
    def from_record(cls, record: object) -> Self:
        """From JSON values.

        Raises:
            KeyError, ValueError: they are not fingerprints.
        """
        return cls(*(text(mapping(record)[field.name]) for field in fields(cls)))


@dataclass(frozen=True, slots=True)
class DatasetReference:
    """Which dataset a run was trained on, and where it was.

    Attributes:
        name: name of the dataset.
        source: where its pixels came from.
        folder: absolute path of an image folder; None for CIFAR-10, which is found by its name.
        holdout: share of an image folder that was kept as test images, in (0, 1); None if it has a ``test`` folder.
        sha256: fingerprints of its arrays; None for CIFAR-10, whose checksums are in its dataset spec.
        split_rule: version of the rule that orders and splits an image folder; None for CIFAR-10.
    """

    name: str
    source: str
    folder: str | None = None
    holdout: float | None = None
    sha256: Fingerprints | None = None
    split_rule: int | None = None

    @classmethod
    def from_record(cls, found: object) -> Self:
        """Read what `to_record` wrote. Older records have only a name and a source, or no ``split_rule``: it is 1.

        Raises:
            KeyError, ValueError: it is not such a record.
        """
        record = mapping(found)
        folder, holdout, sha256 = record.get("folder"), record.get("holdout"), record.get("sha256")
        return cls(
            name=text(record["name"]),
            source=text(record["source"]),
            folder=None if folder is None else text(folder),
            holdout=None if holdout is None else number(holdout, high=1.0),
            sha256=None if sha256 is None else Fingerprints.from_record(sha256),
            split_rule=None if sha256 is None else count(record.get("split_rule", 1)),
        )

    def to_record(self) -> dict[str, Any]:
        """As JSON values, without those that are None."""
        return {key: value for key, value in asdict(self).items() if value is not None}
