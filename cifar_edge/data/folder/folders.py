"""The classes and files of an image folder: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*``.

A class is a folder with at least one image file in it. An image file has a suffix that Pillow reads, or none. Hidden
files (their names begin with a dot) are skipped; other files are stray. Folders inside a class are not searched, so a
link to a parent folder cannot make the search endless.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cifar_edge.data.folder.layout import (
    HIDDEN_OTHER,
    OTHER,
    SPLITS,
    entries,
    folders,
    has_images,
    is_folder,
    is_split,
    refused,
    shown,
)
from cifar_edge.data.folder.table import is_table, read_table
from cifar_edge.errors import DataError
from cifar_edge.messages import display_name, listed
from cifar_edge.runtime.formats import image_suffixes
from cifar_edge.spec import MAX_CLASSES, MIN_CLASSES


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file that should hold an image.

    Attributes:
        name: its path relative to the root, with ``/`` between the parts.
        label: index of its class.
        split: ``train`` or ``test``; empty where the root holds the classes directly.
    """

    name: str
    label: int
    split: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The content of an image folder.

    Attributes:
        labels: class names, sorted, in Unicode's composed form (NFC).
        files: sorted by split, class and name.
        stray: other files and folders, which are ignored, relative to the root.
        unsearched: folders inside a class that hold images, relative to the root.
    """

    labels: tuple[str, ...]
    files: tuple[ImageFile, ...]
    stray: tuple[str, ...]
    unsearched: tuple[str, ...]


def list_images(root: Path) -> Listing:
    """Find the classes in ``root``, a folder or a table (`cifar_edge.data.folder.table`), and their files.

    No image is opened.

    Raises:
        DataError: a split is missing; there are fewer than 2 or more than 1,000 classes; names of classes differ by
            case only; a class is in one split only, or has no image; or a folder cannot be read.
    """
    try:
        return _table_listing(root) if is_table(root) else _listing(root)
    except OSError as error:
        raise refused(error) from error


def _table_listing(path: Path) -> Listing:
    rows = read_table(path)
    splits = list(dict.fromkeys(row.split for row in rows))
    for missing in set(SPLITS) - set(splits) if splits != [""] else ():
        raise DataError(f"{shown(path)} has no {missing} images in its column split; add some, or leave it out")
    folder = path.parent
    labels = _labels(path, {split: {row.label: folder for row in rows if row.split == split} for split in splits})
    number = {label: index for index, label in enumerate(labels)}
    files = {ImageFile(row.file, number[row.label], row.split) for row in rows}
    return Listing(labels, tuple(sorted(files, key=lambda file: (file.split, file.label, file.name))), (), ())


def _listing(root: Path) -> Listing:
    splits = SPLITS if is_split(root) else ("",)
    classes = {split: _classes(root / split) for split in splits}
    for split, found in classes.items():
        if split and not found:
            raise DataError(_missing(root, split))
    labels = _labels(root, classes)
    if splits == SPLITS:
        others = [entry for entry in entries(root) if entry.name not in {*SPLITS, OTHER, HIDDEN_OTHER}]
        stray = [entry.name for entry in others]
        for split in SPLITS:
            stray += [f"{split}/{entry.name}" for entry in entries(root / split) if not is_folder(entry)]
    else:
        stray = [entry.name for entry in entries(root) if not is_folder(entry)]
    suffixes = image_suffixes()
    files: list[ImageFile] = []
    unsearched: list[str] = []
    for split, found in classes.items():
        for number, label in enumerate(labels):
            folder = found[label]
            for entry in entries(folder):
                name = f"{split}/{folder.name}/{entry.name}" if split else f"{folder.name}/{entry.name}"
                if is_folder(entry):
                    (unsearched if _has_images(folder / entry.name) else stray).append(name)
                elif _may_be_image(entry.name, suffixes):
                    files.append(ImageFile(name, number, split))
                else:
                    stray.append(name)
    _check_images(root, splits, labels, files, [*unsearched, *stray])
    return Listing(labels, tuple(files), tuple(stray), tuple(unsearched))


def _has_images(folder: Path) -> bool:
    with suppress(OSError):  # a folder inside a class does not count, so it need not be readable
        return has_images(folder)
    return False


def _missing(root: Path, split: str) -> str:
    """The error message where ``root`` lacks this split and has the other one."""
    other = next(name for name in SPLITS if name != split)
    message = (
        f"{shown(root)} has classes in {other}/ but none in {split}/: add {split}/CLASS/*, or give "
        f"{shown(root / other)} alone, with --holdout"
    )
    similar = [name for name in folders(root) if name not in SPLITS and folders(root / name)]
    return f"{message}; or rename {display_name(similar[0])}/ to {split}/, if it is that split" if similar else message


def _classes(parent: Path) -> dict[str, Path]:
    """Class name -> its folder; empty if ``parent`` is missing."""
    if not parent.is_dir():
        return {}
    found: dict[str, Path] = {}
    for name in folders(parent):
        if name == HIDDEN_OTHER:
            continue
        label = unicodedata.normalize("NFC", name)
        if any("\ud800" <= character <= "\udfff" for character in label):
            raise DataError(f"the name of the folder {shown(parent / name)} is not UTF-8; rename it")
        if label in found:
            raise DataError(f"{shown(found[label])} and {name!a} in the same folder are one name in Unicode; join them")
        found[label] = parent / name
    return found


def _labels(root: Path, classes: Mapping[str, Mapping[str, Path]]) -> tuple[str, ...]:
    labels = tuple(sorted({label for found in classes.values() for label in found}))
    by_fold: dict[str, str] = {}
    for label in labels:
        twin = by_fold.setdefault(label.casefold(), label)
        if twin != label:
            raise DataError(
                f"the classes {display_name(twin)} and {display_name(label)} in {shown(root)} differ by case only, "
                "which not every system tells apart; rename or join them"
            )
    lonely = {
        split: [label for label in labels if label in found and any(label not in other for other in classes.values())]
        for split, found in classes.items()
    }
    if any(lonely.values()):
        lone_labels = "; ".join(f"in {split}/ only: {listed(names)}" for split, names in lonely.items() if names)
        raise DataError(f"every class of {shown(root)} must be in train/ and in test/, but {lone_labels}")
    if not labels:
        raise DataError(f"{shown(root)} no longer has folders of classes")
    if not MIN_CLASSES <= len(labels) <= MAX_CLASSES:
        number = f"{len(labels):,} classes" if len(labels) > 1 else f"one class, {display_name(labels[0])}"
        inside = next(iter(classes.values()))[labels[0]]
        hint = f"; its folders may be the classes: give {shown(inside)}" if len(labels) == 1 and folders(inside) else ""
        raise DataError(f"{shown(root)} has {number}; a classifier takes {MIN_CLASSES} to {MAX_CLASSES:,}{hint}")
    return labels


def _check_images(
    root: Path, splits: Sequence[str], labels: Sequence[str], files: Sequence[ImageFile], others: Sequence[str]
) -> None:
    filled = {(file.split, file.label) for file in files}
    empty = [
        f"{split}/{label}" if split else label
        for split in splits
        for number, label in enumerate(labels)
        if (split, number) not in filled
    ]
    if empty:
        there = [
            name for name in others if unicodedata.normalize("NFC", name).startswith(tuple(f"{x}/" for x in empty))
        ]
        misplaced = f", which {listed(there, 1)} is not" if there else ""
        raise DataError(
            f"{shown(root)} has classes without an image: {listed(empty)}; an image is a file directly in the folder "
            f"of its class, CLASS/* or train/CLASS/* and test/CLASS/*, with the suffix of a format that is read"
            f"{misplaced}"
        )


def _may_be_image(name: str, suffixes: frozenset[str]) -> bool:
    stem, _, suffix = name.rpartition(".")
    return not stem or f".{suffix.lower()}" in suffixes
