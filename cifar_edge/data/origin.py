"""What a run remembers of its data set, so that export, fold and evaluate find the same one again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from cifar_edge.data.cifar10.corpus import Fingerprints
from cifar_edge.data.dataset import Dataset
from cifar_edge.errors import DataError, ModelError
from cifar_edge.json_values import number, text
from cifar_edge.messages import display_name
from cifar_edge.runs.status import SUMMARY, record_in

SPLIT_RULE = 2
"""The number of the rule by which own pictures are ordered and held out; 1: by the bytes of their files, copies too."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Which data set it was, and where it lay.

    Attributes:
        name: of the `Dataset`.
        source: of the `Dataset`.
        folder: of own pictures, absolute; None for CIFAR-10, which is found by its name.
        holdout: of the `Dataset`.
        sha256: fingerprints of its arrays; None for CIFAR-10, which is known by its own.
        split_rule: of own pictures, see `SPLIT_RULE`; None for CIFAR-10.
    """

    name: str
    source: str
    folder: str | None = None
    holdout: float | None = None
    sha256: Fingerprints | None = None
    split_rule: int | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """The origin of ``dataset``."""
        if dataset.folder is None:
            return cls(dataset.name, dataset.source)
        fingerprints = Fingerprints.of(dataset.arrays())
        return cls(dataset.name, dataset.source, str(dataset.folder), dataset.holdout, fingerprints, SPLIT_RULE)

    @classmethod
    def of_run(cls, folder: Path) -> Self:
        """What the ``summary.json`` of a run, or of a released model, holds.

        Raises:
            ModelError: there is no such file, or it is damaged.
        """
        try:
            return cls.from_record(record_in(folder / SUMMARY)["data"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{folder / SUMMARY} is missing or damaged; was the training interrupted?") from error

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """What `to_record` wrote; older records have a name and a source only, or no rule, which was the first then.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is no such record.
        """
        folder, holdout, sha256 = record.get("folder"), record.get("holdout"), record.get("sha256")
        return cls(
            name=text(record["name"]),
            source=text(record["source"]),
            folder=None if folder is None else text(folder),
            holdout=None if holdout is None else number(holdout, high=1.0),
            sha256=None if sha256 is None else Fingerprints(**sha256),
            split_rule=None if sha256 is None else int(record.get("split_rule", 1)),
        )

    def to_record(self) -> dict[str, Any]:
        """As JSON values; what is None is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def check_holdout(self, holdout: float | None) -> None:
        """Refuse another ``holdout`` than that of the training: it would test on what was trained on, or the reverse.

        Raises:
            DataError: there was one, and it was another.
        """
        if holdout is not None and self.holdout is not None and holdout != self.holdout:
            raise DataError(f"--holdout {holdout:g}, but the training kept {self.holdout:g}; leave it out")

    def check_rule(self) -> None:
        """Refuse own pictures that were ordered and held out by another rule: no training can go on with them.

        Raises:
            DataError: they were.
        """
        if self.split_rule not in {None, SPLIT_RULE}:
            raise DataError(
                f"{display_name(self.name)} was read by the rule of an earlier version, with other test images and in "
                "another order, so what was begun with it cannot go on; train anew"
            )

    def change(self, dataset: Dataset) -> str | None:
        """How ``dataset`` differs from what was trained on, for a person; None if it does not.

        The name of a folder of own pictures does not matter, nor those of the files in it.
        """
        shown = dataset.name if dataset.folder is None else display_name(str(dataset.folder))
        if (self.sha256 is None) != (dataset.folder is None) or (self.sha256 is None and self.name != dataset.name):
            return f"{shown} is not what was trained on, {self.name}"
        if self.sha256 is None:
            return None
        if self.split_rule != SPLIT_RULE:
            leak = ", so images that were trained on may now count as test images" if self.holdout is not None else ""
            return f"{shown} is read by another rule than when it was trained on{leak}"
        then, now = asdict(self.sha256), asdict(Fingerprints.of(dataset.arrays()))
        changed = [split for split in ("training", "test") if _of(then, split) != _of(now, split)]
        if not changed:
            return None
        return f"{shown} is not what was trained on: other {' and other '.join(f'{split} images' for split in changed)}"


def _of(fingerprints: Mapping[str, str], split: str) -> list[str]:
    return [fingerprints[f"{split.removesuffix('ing')}_{array}"] for array in ("images", "labels")]
