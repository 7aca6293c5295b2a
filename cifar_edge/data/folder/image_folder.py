"""Own pictures as a `Dataset`: any classes, photos of any size, and no test image that was ever trained on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.data.dataset import Dataset, Images, Labels, Report
from cifar_edge.data.folder.class_balance import class_warnings
from cifar_edge.data.folder.decoding import Decoded, decode
from cifar_edge.data.folder.duplicates import Deduplicated, deduplicate
from cifar_edge.data.folder.folders import ImageFile, list_images
from cifar_edge.data.folder.layout import SPLITS, is_split
from cifar_edge.errors import DataError
from cifar_edge.messages import display_name, listed

Mask = npt.NDArray[np.bool_]

_NAMED = 3
"""Files that a line names."""


def load_image_folder(root: Path, *, size: int, holdout: float | None, strict: bool, report: Report) -> Dataset:
    """Load ``train/CLASS/*`` and ``test/CLASS/*``, or one folder of classes of which ``holdout`` are test images.

    Files of equal pixels are one picture. It counts once: as a test picture, if one of them is a test file; not at all,
    if they lie in two classes. In one folder the pixels of each picture decide on its side: see `held_out`. Images
    stand in the order of the SHA-256 of their pixels, so that classes are mixed, whatever the files are called.

    Args:
        root: the folder.
        size: height and width of the images that are made of them.
        holdout: share in (0, 1), where ``root`` is one folder of classes; None where it has a test folder.
        strict: fail where a picture cannot be read or lies in two classes, instead of leaving it out.
        report: told what is read, what is left out, and what is to be known of small or uneven classes.

    Raises:
        DataError: as `cifar_edge.data.folder.folders.list_images`; a class has no readable picture for training or
            for testing; a picture cannot be read or lies in two classes, and ``strict``; ``holdout`` is missing, or
            given without need.
    """
    shown = display_name(str(root))
    split = is_split(root)
    if split and holdout is not None:
        there = " and ".join(f"{name}/" for name in SPLITS if (root / name).is_dir())
        raise DataError(f"{shown} has {there}; leave --holdout out, which is for one folder of classes")
    listing = list_images(root)
    if not split:
        _check_holdout(shown, holdout)
    if listing.unsearched:
        report(f"folders inside a class are not searched: {listed(listing.unsearched, _NAMED)}")
    if listing.stray:
        report(f"ignoring what is no picture of a class: {listed(listing.stray, _NAMED)}")
    decoded = decode(root, listing.files, size, report)
    _report_unreadable(decoded, shown, strict, report)
    found = deduplicate(listing.files, decoded.digests)
    _report_duplicates(found, listing.files, shown, strict, report)
    files = [listing.files[index] for index in found.kept]
    labels = np.array([file.label for file in files], np.int64)
    test = (
        np.array([file.split == "test" for file in files], np.bool_) if holdout is None else held_out(labels, holdout)
    )
    _check_classes(listing.labels, {"train on": labels[~test], "test on": labels[test]}, shown, holdout)
    kept = np.array(found.kept)
    _arrange(decoded.pixels, np.concatenate([kept[~test], kept[test]]))
    border = int((~test).sum())
    dataset = Dataset(
        name=display_name(root.resolve().name),
        labels=listing.labels,
        train_images=decoded.pixels[:border],
        train_labels=labels[~test],
        test_images=decoded.pixels[border : len(files)],
        test_labels=labels[test],
        source="own pictures" if holdout is None else f"own pictures, holdout {holdout:g}",
        folder=root.resolve(),
        holdout=holdout,
    )
    for line in class_warnings(dataset):
        report(f"warning: {line}")
    return dataset


def held_out(labels: Labels, holdout: float) -> Mask:
    """Which pictures of one folder are test images, ``[n]``: of each class those with the smallest SHA-256 of pixels.

    They are the same share of every class, rounded, but at least one, and never all. So the pixels decide, not names or
    a seed, and one picture more moves at most one other of its class to the other side.

    Args:
        labels: int64 ``[n]``, the number of each one's class, in ascending order of the SHA-256.
        holdout: in (0, 1).
    """
    test = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        share = int(holdout * len(own) + 0.5)
        test[own[: min(max(share, 1), len(own) - 1)]] = True
    return test


def _arrange(images: Images, first: npt.NDArray[np.int64]) -> None:
    """Move the images at the positions ``first`` to the front, in this order; in place, since there may be many."""
    others = np.ones(len(images), np.bool_)
    others[first] = False
    source = np.concatenate([first, np.flatnonzero(others)]).tolist()
    for start in range(len(source)):
        if source[start] < 0:
            continue
        held, place = images[start].copy(), start
        while source[place] != start:  # along a cycle of the permutation
            following = source[place]
            images[place], source[place] = images[following], -1
            place = following
        images[place], source[place] = held, -1


def _check_holdout(shown: str, holdout: float | None) -> None:
    if holdout is None:
        raise DataError(
            f"{shown} is one folder of classes: give --holdout 0.2, to keep a fifth of them as test images, or make "
            "train/CLASS/* and test/CLASS/*"
        )
    if not 0 < holdout < 1:
        raise DataError(f"--holdout {holdout:g} is no share between 0 and 1, such as 0.2")


def _report_duplicates(
    found: Deduplicated, files: Sequence[ImageFile], shown: str, strict: bool, report: Report
) -> None:
    def names(groups: Sequence[Sequence[int]]) -> str:
        return listed([" = ".join(files[index].name for index in group) for group in groups], _NAMED)

    if found.in_several_classes:
        told = f"pictures in two classes, {names(found.in_several_classes)}"
        if strict:
            raise DataError(f"{shown} has {told}; remove each from the wrong class, or leave --strict out")
        report(f"left out: {told}")
    if found.in_both_splits:
        report(f"left out of the training, because they are test images too: {names(found.in_both_splits)}")
    if found.in_one_class:
        report(f"counted once, because their pixels are equal: {names(found.in_one_class)}")


def _report_unreadable(decoded: Decoded, shown: str, strict: bool, report: Report) -> None:
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
