"""Own classes on disk: ``train/CLASS/*`` and ``test/CLASS/*``, or one folder with ``CLASS/*``.

A class is a folder with at least one picture in it, a picture a file whose suffix is one that Pillow reads, or that has
none. What is hidden (its name begins with a dot) is passed over; other files are stray. Folders inside a class are not
searched, so that a link that leads back cannot make the search endless.
"""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cifar_edge.errors import DataError
from cifar_edge.runtime.images import picture_suffixes
from cifar_edge.runtime.messages import display_name, listed

SPLITS = ("train", "test")
MIN_CLASSES = 2
MAX_CLASSES = 1_000


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file that should be a picture.

    Attributes:
        name: its path below the root, with ``/`` between the parts.
        label: number of its class.
        split: ``train`` or ``test``; empty where the root is one folder of classes.
        size: bytes.
        modified: time of its last change, ns since 1970.
    """

    name: str
    label: int
    split: str
    size: int
    modified: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a folder of classes.

    Attributes:
        labels: class names, sorted, in Unicode's composed form (NFC).
        files: class by class, by name.
        stray: names below the root of other files and folders, which are left alone.
    """

    labels: tuple[str, ...]
    files: tuple[PictureFile, ...]
    stray: tuple[str, ...]


def has_classes(root: Path) -> bool:
    """Whether ``root`` is a folder with folders in it, so that these may be classes.

    Raises:
        DataError: the operating system refuses to look.
    """
    try:
        return root.is_dir() and any(_folders(root))
    except OSError as error:
        raise _refused(error) from error


def is_split(root: Path) -> bool:
    """Whether ``root`` holds ``train/CLASS`` and ``test/CLASS``, or one of them, with no pictures beside the classes.

    A folder ``train`` of pictures is a class like any, whatever folders there are in it.

    Raises:
        DataError: the operating system refuses to look.
    """
    there = [root / split for split in SPLITS if has_classes(root / split)]
    return len(there) == len(SPLITS) or any(not _has_pictures(folder) for folder in there)


def _has_pictures(folder: Path) -> bool:
    suffixes = picture_suffixes()
    return any(Path(entry.name).suffix.lower() in suffixes for entry in _entries(folder))


def list_pictures(root: Path) -> Listing:
    """Find the classes below ``root`` and their files; no file is opened.

    Raises:
        DataError: a split is missing, there are fewer than 2 or more than 1,000 classes, names that differ by case
            only, a class in one split only or without a picture, or the operating system refuses to look.
    """
    try:
        return _listing(root)
    except OSError as error:
        raise _refused(error) from error


def _refused(error: OSError) -> DataError:
    return DataError(f"cannot look into {display_name(str(error.filename))}: {error.strerror}")


def _listing(root: Path) -> Listing:
    splits = SPLITS if is_split(root) else ("",)
    classes = {split: _classes(root / split) for split in splits}
    for split, found in classes.items():
        if split and not found:
            other = next(name for name in SPLITS if name != split)
            raise DataError(
                f"{_shown(root)} has classes in {other}/ but none in {split}/: add {split}/CLASS/*, or give "
                f"{_shown(root / other)} alone, with --holdout"
            )
    labels = _labels(root, classes)
    files: list[PictureFile] = []
    stray = [
        entry.name for entry in _entries(root) if entry.name not in splits and (splits[0] or not _is_folder(entry))
    ]
    for split, found in classes.items():
        if split:
            stray += [f"{split}/{entry.name}" for entry in _entries(root / split) if not _is_folder(entry)]
        for number, label in enumerate(labels):
            _list_class(found[label], f"{split}/" if split else "", number, split, files, stray)
    _check_pictures(root, splits, labels, files)
    return Listing(labels, tuple(files), tuple(stray))


def _list_class(folder: Path, parent: str, label: int, split: str, files: list[PictureFile], stray: list[str]) -> None:
    suffixes = picture_suffixes()
    for entry in _entries(folder):
        name = f"{parent}{folder.name}/{entry.name}"
        if _is_folder(entry) or not _may_be_picture(entry.name, suffixes):
            stray.append(name)
            continue
        try:
            status = entry.stat()
            files.append(PictureFile(name, label, split, status.st_size, status.st_mtime_ns))
        except OSError:  # a link to nowhere, or to itself: whoever reads it says so
            files.append(PictureFile(name, label, split, 0, 0))


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _folders(root: Path) -> list[str]:
    return [entry.name for entry in _entries(root) if _is_folder(entry)]


def _classes(parent: Path) -> dict[str, Path]:
    """Class name -> its folder; empty where there is no such parent."""
    if not parent.is_dir():
        return {}
    found: dict[str, Path] = {}
    for name in _folders(parent):
        label = unicodedata.normalize("NFC", name)
        if any("\ud800" <= character <= "\udfff" for character in label):
            raise DataError(f"the name of the folder {_shown(parent / name)} is not UTF-8; rename it")
        if label in found:
            raise DataError(f"{_shown(found[label])} and {name!a} beside it are the same name in Unicode; join them")
        found[label] = parent / name
    return found


def _labels(root: Path, classes: Mapping[str, Mapping[str, Path]]) -> tuple[str, ...]:
    labels = tuple(sorted({label for found in classes.values() for label in found}))
    by_fold: dict[str, str] = {}
    for label in labels:
        twin = by_fold.setdefault(label.casefold(), label)
        if twin != label:
            raise DataError(
                f"the classes {display_name(twin)} and {display_name(label)} in {_shown(root)} differ by case only, "
                "which not every system tells apart; rename or join them"
            )
    lonely = {
        split: [label for label in labels if label in found and any(label not in other for other in classes.values())]
        for split, found in classes.items()
    }
    if any(lonely.values()):
        told = "; ".join(f"in {split}/ only: {listed(names)}" for split, names in lonely.items() if names)
        raise DataError(f"every class of {_shown(root)} must be in train/ and in test/, but {told}")
    if not MIN_CLASSES <= len(labels) <= MAX_CLASSES:
        told = f"{len(labels):,} classes" if len(labels) > 1 else f"one class, {display_name(labels[0])}"
        raise DataError(f"{_shown(root)} has {told}; a classifier tells {MIN_CLASSES} to {MAX_CLASSES:,} apart")
    return labels


def _check_pictures(root: Path, splits: Sequence[str], labels: Sequence[str], files: Sequence[PictureFile]) -> None:
    filled = {(file.split, file.label) for file in files}
    empty = [
        f"{split}/{label}" if split else label
        for split in splits
        for number, label in enumerate(labels)
        if (split, number) not in filled
    ]
    if empty:
        raise DataError(
            f"{_shown(root)} has classes without a picture: {listed(empty)}; pictures lie directly in the folder of "
            "their class, CLASS/* or train/CLASS/* and test/CLASS/*"
        )


def _may_be_picture(name: str, suffixes: frozenset[str]) -> bool:
    stem, _, suffix = name.rpartition(".")
    return not stem or f".{suffix.lower()}" in suffixes


def _shown(path: Path) -> str:
    return display_name(str(path))
