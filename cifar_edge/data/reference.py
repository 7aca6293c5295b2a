"""Dataset references: made from a dataset, and compared with the dataset that a later command has."""

from collections.abc import Mapping
from dataclasses import asdict

from cifar_edge.data.dataset import PIXELS_RULE, SPLIT_RULE, Dataset
from cifar_edge.errors import DataError
from cifar_edge.messages import display_name
from cifar_edge.runs.dataset import DatasetReference, Fingerprints


def reference_to(dataset: Dataset) -> DatasetReference:
    """The reference that a run records for ``dataset``."""
    if dataset.folder is None:
        return DatasetReference(dataset.name, dataset.source)
    fingerprints = Fingerprints.of(dataset.arrays())
    return DatasetReference(
        dataset.name, dataset.source, str(dataset.folder), dataset.holdout, fingerprints, dataset.split_rule
    )


def check_holdout(reference: DatasetReference, holdout: float | None) -> None:
    """Refuse another ``holdout`` than that of the training, since training images would become test images.

    Raises:
        DataError: the training had another ``holdout``.
    """
    if holdout is not None and reference.holdout is not None and holdout != reference.holdout:
        raise DataError(f"--holdout {holdout:g}, but the training kept {reference.holdout:g}; leave it out")


def split_rule_of(reference: DatasetReference) -> int:
    """The rule by which to load the image folder of a run again: its own, or today's if its own is no longer known."""
    return PIXELS_RULE if reference.split_rule == PIXELS_RULE else SPLIT_RULE


def check_split_rule(reference: DatasetReference) -> None:
    """Refuse to go on with a training whose image folder was ordered and split by a rule that is no longer known.

    Raises:
        DataError: it was.
    """
    if reference.split_rule not in {None, PIXELS_RULE, SPLIT_RULE}:
        raise DataError(
            f"an earlier version split {display_name(reference.name)} by another rule, into other test images and in "
            "another order, so this training cannot go on; train anew"
        )


def change(reference: DatasetReference, dataset: Dataset) -> str | None:
    """How ``dataset`` differs from the dataset that was trained on, for a person; None if it does not.

    The name of an image folder does not matter, nor do the names of its files.
    """
    shown = dataset.name if dataset.folder is None else display_name(str(dataset.folder))
    if reference.sha256 is None:
        same = dataset.folder is None and reference.name == dataset.name
        return None if same else f"{shown} is not what was trained on, {reference.name}"
    if dataset.folder is None:
        return f"{shown} is not what was trained on, {reference.name}"
    if reference.split_rule != dataset.split_rule:
        leak = ", so images that were trained on may now count as test images" if reference.holdout is not None else ""
        return f"{shown} is split by another rule than when it was trained on{leak}"
    then, now = asdict(reference.sha256), asdict(Fingerprints.of(dataset.arrays()))
    changed = [split for split in ("training", "test") if _of(then, split) != _of(now, split)]
    if not changed:
        return None
    return f"{shown} is not what was trained on: other {' and other '.join(f'{split} images' for split in changed)}"


def _of(fingerprints: Mapping[str, str], split: str) -> list[str]:
    return [fingerprints[f"{split.removesuffix('ing')}_{array}"] for array in ("images", "labels")]
