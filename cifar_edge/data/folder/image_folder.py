"""`load_image_folder`: an image folder as a `Dataset`, whose training and test images never share pixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.data.dataset import PIXELS_RULE, SPLIT_RULE, Dataset, Images, Labels, Report
from cifar_edge.data.folder.class_balance import class_warnings
from cifar_edge.data.folder.decoding import Decoded, decode
from cifar_edge.data.folder.duplicates import Deduplicated, deduplicate
from cifar_edge.data.folder.folders import ImageFile, list_images
from cifar_edge.data.folder.layout import HIDDEN_OTHER, OTHER, SPLITS, is_split, misplaced_other, other_folder
from cifar_edge.data.folder.table import base_folder, is_table
from cifar_edge.errors import DataError
from cifar_edge.messages import display_name, listed
from cifar_edge.runtime.formats import CONVERT, unread_photographs
from cifar_edge.spec import IMAGE_CHANNELS

Mask = npt.NDArray[np.bool_]

MOST_SOURCE_BYTES = 1_000_000_000
"""36,000 images of 96x96. With more images, crops are taken from them as the network sees them: there, small ones do
not matter."""

_NAMED = 3
"""How many files a line names."""


def load_image_folder(
    root: Path,
    *,
    size: int,
    holdout: float | None,
    strict: bool,
    report: Report,
    remark: Report,
    source_size: int | None = None,
    split_rule: int = SPLIT_RULE,
) -> Dataset:
    """Load ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*`` split by ``holdout``, or what a table names.

    Duplicates count as one image: a test image, if one of them is a test file. In two classes, none is kept. With
    ``holdout`` the bytes of its file decide whether an image is a test image: see `held_out`. Images are ordered by the
    SHA-256 of these, so that classes are mixed, and neither file names nor ``size`` matter.

    Args:
        root: the image folder, or the CSV file (`cifar_edge.data.folder.table`).
        size: height and width of the images of the dataset.
        holdout: share of each class that becomes test images, in (0, 1), for ``CLASS/*``; else None.
        strict: raise where an image cannot be read or lies in two classes, instead of leaving it out.
        source_size: height and width of `Dataset.train_sources`; None for none. They are left out where they would take
            more than `MOST_SOURCE_BYTES`.
        split_rule: `SPLIT_RULE`, or `PIXELS_RULE` for a run of an earlier version: the pixels in place of the bytes.
        report: called with lines on what is being read.
        remark: called with lines on what is left out, and with warnings of small or uneven classes.

    Raises:
        DataError: as `cifar_edge.data.folder.folders.list_images`; a class has no readable training or test image;
            with ``strict``, an image cannot be read or lies in two classes; ``holdout`` is missing, or there are
            ``train/`` and ``test/`` already; a file changes while it is read.
    """
    shown = display_name(str(root))
    split = is_split(root)
    if split and holdout is not None:
        there = " and ".join(f"{name}/" for name in SPLITS if (root / name).is_dir()) or "a column split"
        raise DataError(f"{shown} has {there} already; leave --holdout out")
    listing = list_images(root)
    if not split:
        _check_holdout(shown, holdout)
    if listing.unsearched:
        remark(f"folders inside a class are not searched: {listed(listing.unsearched, _NAMED)}")
    other = other_folder(root, split)
    if other is not None:
        remark(f"{other.name}/ holds images of no class: a threshold is judged by them, nothing is trained on them")
    elif not split and OTHER in listing.labels:
        remark(f"{OTHER}/ counts as a class; images of no class belong into {HIDDEN_OTHER}/")
    if misplaced := misplaced_other(root, split):
        there = f"ignored, since {HIDDEN_OTHER}/ belongs beside train/ and test/"
        remark(f"{listed([f'{name}/' for name in misplaced], _NAMED)}: {there}")
    unread = unread_photographs(listing.stray)
    if unread:
        remark(f"photographs of a format that is not read, {CONVERT}: {listed(unread, _NAMED)}")
    if others := [name for name in listing.stray if name not in set(unread)]:
        remark(f"ignoring what is not an image in a class: {listed(others, _NAMED)}")
    decoded = decode(base_folder(root), listing.files, size, report)
    _report_unreadable(decoded, shown, strict, remark)
    keys = decoded.digests if split_rule == PIXELS_RULE else decoded.contents
    found = deduplicate(listing.files, decoded.digests, keys)
    _report_duplicates(found, listing.files, shown, strict, remark)
    files = [listing.files[index] for index in found.kept]
    labels = np.array([file.label for file in files], np.int64)
    test = (
        np.array([file.split == "test" for file in files], np.bool_) if holdout is None else held_out(labels, holdout)
    )
    _check_classes(listing.labels, {"train on": labels[~test], "test on": labels[test]}, shown, holdout)
    kept = np.array(found.kept)
    _arrange(decoded.pixels, np.concatenate([kept[~test], kept[test]]))
    border = int((~test).sum())
    sources = None
    if source_size is not None and border * source_size**2 * IMAGE_CHANNELS <= MOST_SOURCE_BYTES:
        training = [file for file, held in zip(files, test, strict=True) if not held]
        again = decode(base_folder(root), training, source_size, lambda line: None)
        if again.unreadable:
            raise DataError(f"{shown} changes while it is read: {again.unreadable[0]}; try again when it is complete")
        sources = again.pixels
    dataset = Dataset(
        name=display_name(root.resolve().stem if is_table(root) else root.resolve().name),
        labels=listing.labels,
        train_images=decoded.pixels[:border],
        train_labels=labels[~test],
        test_images=decoded.pixels[border : len(files)],
        test_labels=labels[test],
        source="image folder" if holdout is None else f"image folder, holdout {holdout:g}",
        folder=root.resolve(),
        holdout=holdout,
        other=other,
        split_rule=split_rule,
        names={decoded.digests[index]: listing.files[index].name for index in found.kept},
        contents=_contents(decoded),
        train_sources=sources,
    )
    for line in class_warnings(dataset):
        remark(f"warning: {line}")
    return dataset


def _contents(decoded: Decoded) -> dict[str, tuple[str, ...]]:
    """Digest of pixels -> digests of all files with these. Files that are equal at one size may differ at another."""
    files: dict[str, list[str]] = {}
    for digest, content in zip(decoded.digests, decoded.contents, strict=True):
        if digest:  # it can be read
            files.setdefault(digest, []).append(content)
    return {digest: tuple(each) for digest, each in files.items()}


def held_out(labels: Labels, holdout: float) -> Mask:
    """Which images are test images, bool ``[n]``: in each class, those whose files have the smallest SHA-256.

    Their share is the same in every class, rounded, but at least one image and never all. The files decide, not names,
    the size of the images or a seed, so adding an image moves at most one other image of its class to the other split.

    Args:
        labels: int64 ``[n]``, class indices, in ascending order of the SHA-256.
        holdout: the share, in (0, 1).
    """
    test = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        share = int(holdout * len(members) + 0.5)
        test[members[: min(max(share, 1), len(members) - 1)]] = True
    return test


def _arrange(images: Images, first: npt.NDArray[np.int64]) -> None:
    """Move the images at the positions ``first`` to the front, in that order; in place, to save memory."""
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
            f"{shown} has no test images of its own: give --holdout 0.2, to hold out a fifth as test images, or make "
            "train/CLASS/* and test/CLASS/*"
        )
    if not 0 < holdout < 1:
        raise DataError(f"--holdout {holdout:g} is not a share between 0 and 1, such as 0.2")


def _report_duplicates(
    found: Deduplicated, files: Sequence[ImageFile], shown: str, strict: bool, report: Report
) -> None:
    def names(groups: Sequence[Sequence[int]]) -> str:
        return listed([" = ".join(files[index].name for index in group) for group in groups], _NAMED)

    if found.in_several_classes:
        conflicts = f"images in two classes, {names(found.in_several_classes)}"
        if strict:
            raise DataError(f"{shown} has {conflicts}; remove each from the wrong class, or leave --strict out")
        report(f"left out: {conflicts}")
    if found.in_both_splits:
        report(f"left out of the training images, because they are test images too: {names(found.in_both_splits)}")
    if found.in_one_class:
        report(f"counted once, because their pixels are equal: {names(found.in_one_class)}")


def _report_unreadable(decoded: Decoded, shown: str, strict: bool, report: Report) -> None:
    if not decoded.unreadable:
        return
    problem = (
        f"{len(decoded.unreadable):,} of {len(decoded.digests):,} images in {shown} cannot be read, such as "
        f"{decoded.unreadable[0]}"
    )
    if strict:
        raise DataError(f"{problem}; repair or remove them, or leave --strict out")
    report(f"left out: {problem}")


def _check_classes(
    names: tuple[str, ...], splits: Mapping[str, npt.NDArray[Any]], shown: str, holdout: float | None
) -> None:
    """Every class needs a training image and a test image."""
    for use, labels in splits.items():
        counts = np.bincount(labels, minlength=len(names))
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        if missing:
            need = "one in train/ and in test/" if holdout is None else "two, one on each side of --holdout"
            raise DataError(f"{shown} leaves no image to {use} of {listed(missing)}; every class needs {need}")
