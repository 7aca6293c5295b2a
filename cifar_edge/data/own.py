"""Own pictures as a `Dataset`: any classes, photos of any size, and no test image that was ever trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.data.dataset import Dataset, Labels
from cifar_edge.data.decoding import Decoded, decode
from cifar_edge.data.fetch import Report
from cifar_edge.data.folders import SPLITS, is_split, list_pictures
from cifar_edge.errors import DataError
from cifar_edge.runtime.messages import display_name, listed

Mask = npt.NDArray[np.bool_]
Digests = npt.NDArray[np.str_]
"""SHA-256 in hexadecimal, ``[n]``."""

_NAMED = 3
"""Files that a line names."""
_DIGITS = 13
"""Hexadecimal digits of a SHA-256 that decide: 52 bits, exact as a float."""


def load_own(root: Path, *, holdout: float | None, strict: bool, report: Report) -> Dataset:
    """Load ``train/CLASS/*`` and ``test/CLASS/*``, or one folder of classes of which ``holdout`` are test images.

    In one folder the bytes of each picture decide: see `held_out`. A training picture that is, byte for byte, among the
    test images is left out. Images stand in the order of their SHA-256, so that classes are mixed, whatever the files
    are called.

    Args:
        root: the folder.
        holdout: share in (0, 1), where ``root`` is one folder of classes; None where it has a test folder.
        strict: fail where a picture cannot be read, instead of leaving it out.
        report: told what is read and what is left out.

    Raises:
        DataError: as `cifar_edge.data.folders.list_pictures`; a class has no readable picture for training or for
            testing; a picture cannot be read, and ``strict``; ``holdout`` is missing, or given without need.
    """
    shown = display_name(str(root))
    _check_holdout(root, shown, holdout)
    listing = list_pictures(root)
    if listing.stray:
        report(f"ignoring what is no picture by its name: {listed(listing.stray, _NAMED)}")
    decoded = decode(root, listing.files, report)
    _tell_unreadable(decoded, shown, strict, report)
    labels = np.array([file.label for file in listing.files], np.int64)
    digests = np.array(decoded.digests)
    order = np.lexsort((labels, digests))
    order = order[digests[order] != ""]
    labels, digests = labels[order], digests[order]
    if holdout is None:
        test = np.array([file.split == "test" for file in listing.files])[order]
    else:
        test = held_out(digests, labels, holdout)
    copies = ~test & np.isin(digests, digests[test])
    if copies.any():
        names = [listing.files[index].name for index in order[copies]]
        report(f"left out of the training, because they are test images too: {listed(names, _NAMED)}")
    train = ~test & ~copies
    _check_classes(listing.labels, {"train on": labels[train], "test on": labels[test]}, shown, holdout)
    return Dataset(
        name=display_name(root.resolve().name),
        labels=listing.labels,
        train_images=decoded.pixels[order[train]],
        train_labels=labels[train],
        test_images=decoded.pixels[order[test]],
        test_labels=labels[test],
        source="own pictures" if holdout is None else f"own pictures, holdout {holdout:g}",
        folder=root.resolve(),
        holdout=holdout,
    )


def held_out(digests: Digests, labels: Labels, holdout: float) -> Mask:
    """Which pictures of one folder are test images, ``[n]``: those whose SHA-256, taken as a fraction of 1, is small.

    It must be below ``holdout``. So a picture's own bytes decide: pictures that are added or renamed later move no
    other to the other side, and copies of a picture are on its side. Only a class that would have none on one side
    gives the picture that is nearest to it.

    Args:
        digests: in ascending order.
        labels: int64 ``[n]``, the number of each one's class.
        holdout: in (0, 1).
    """
    limit = holdout * 16.0**_DIGITS
    test: Mask = np.array([int(digest[:_DIGITS], 16) < limit for digest in digests.tolist()], np.bool_)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        if not test[own].any():
            test[own] = digests[own] == digests[own[0]]
        elif test[own].all():
            test[own] = digests[own] != digests[own[-1]]
    return test


def _check_holdout(root: Path, shown: str, holdout: float | None) -> None:
    split = is_split(root)
    if split and holdout is not None:
        there = " and ".join(f"{name}/" for name in SPLITS if (root / name).is_dir())
        raise DataError(f"{shown} has {there}; leave --holdout out, which is for one folder of classes")
    if not split and holdout is None:
        raise DataError(
            f"{shown} is one folder of classes: give --holdout 0.2, to keep a fifth of them as test images, or make "
            "train/CLASS/* and test/CLASS/*"
        )
    if holdout is not None and not 0 < holdout < 1:
        raise DataError(f"--holdout {holdout:g} is no share between 0 and 1, such as 0.2")


def _tell_unreadable(decoded: Decoded, shown: str, strict: bool, report: Report) -> None:
    if not decoded.unreadable:
        return
    told = (
        f"{len(decoded.unreadable):,} of {len(decoded.digests):,} pictures in {shown} cannot be read, such as "
        f"{decoded.unreadable[0]}"
    )
    if strict:
        raise DataError(f"{told}; mend or remove them, or leave --strict out")
    report(f"left out: {told}")


def _check_classes(
    names: tuple[str, ...], sides: Mapping[str, npt.NDArray[Any]], shown: str, holdout: float | None
) -> None:
    """Every class needs a picture on each side."""
    for use, labels in sides.items():
        counts = np.bincount(labels, minlength=len(names))
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        if missing:
            need = "in train/ and in test/" if holdout is None else "on each side of --holdout"
            raise DataError(f"{shown} leaves no picture to {use} of {listed(missing)}; every class needs one {need}")
