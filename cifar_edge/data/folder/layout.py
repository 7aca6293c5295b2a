"""Which layout an image folder has: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*``.

A class may be called ``train`` or ``test``: the content of a folder decides whether it is a split or a class. If it
could be both, an error says so. Images of no class lie in ``_other/``, or in ``other/`` beside ``train/`` and
``test/``; without these two, a folder ``other`` is a class.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from cifar_edge.data.folder.table import has_splits, is_table
from cifar_edge.errors import DataError
from cifar_edge.messages import display_name, listed
from cifar_edge.runtime.formats import image_suffixes

SPLITS = ("train", "test")
OTHER = "other"
HIDDEN_OTHER = "_other"
"""Never a class."""


def has_classes(root: Path) -> bool:
    """Whether ``root`` is a folder with folders in it, which may be classes, or a table of images.

    Raises:
        DataError: a folder cannot be read.
    """
    try:
        return is_table(root) or (root.is_dir() and bool(folders(root)))
    except OSError as error:
        raise refused(error) from error


def is_split(root: Path) -> bool:
    """Whether ``root`` holds ``train/CLASS`` or ``test/CLASS``, and these are not classes of those names.

    Or whether it is a table that says which images are test images.

    Raises:
        DataError: it could be both, or a folder or the table cannot be read.
    """
    try:
        return has_splits(root) if is_table(root) else _is_split(root)
    except OSError as error:
        raise refused(error) from error


def other_folder(root: Path, split: bool) -> Path | None:
    """The folder of images of no class in ``root``, if there is one.

    Args:
        root: an image folder.
        split: whether it holds ``train/`` and ``test/``.
    """
    if is_table(root):
        return None
    names = (HIDDEN_OTHER, OTHER) if split else (HIDDEN_OTHER,)
    return next((root / name for name in names if (root / name).is_dir()), None)


def misplaced_other(root: Path, split: bool) -> list[str]:
    """Folders ``_other`` inside ``train/`` and ``test/``, relative to ``root``: they are no classes, and not used."""
    if not split or is_table(root):
        return []
    return [f"{name}/{HIDDEN_OTHER}" for name in SPLITS if (root / name / HIDDEN_OTHER).is_dir()]


def _is_split(root: Path) -> bool:
    names = [name for name in folders(root) if name != HIDDEN_OTHER]
    parts = {name: _Contents.of(root / name) for name in names if name.casefold() in SPLITS}
    with_classes = [name for name, contents in parts.items() if contents.folders and not contents.images]
    if odd := [name for name in with_classes if name not in SPLITS]:
        raise DataError(
            f"{shown(root / odd[0])} holds folders, as {odd[0].casefold()}/CLASS/* does; if these are classes, "
            f"rename it to {odd[0].casefold()}"
        )
    parts = {name: contents for name, contents in parts.items() if name in SPLITS}
    other_classes = [name for name in names if parts and name not in parts and has_images(root / name)]
    if other_classes and not (with_classes and other_classes == [OTHER]):
        if with_classes:
            raise DataError(
                f"{shown(root)} is neither train/CLASS/* and test/CLASS/* nor CLASS/*: {_each(with_classes)} folders "
                f"of classes, {_each(other_classes)} images; move one or the other elsewhere"
            )
        return False
    mixed = [name for name, contents in parts.items() if contents.images and contents.folders_of_images]
    if len(mixed) == len(SPLITS):
        raise DataError(
            f"{shown(root)} could be train/CLASS/* and test/CLASS/* or two classes of these names: train/ and test/ "
            "hold both images and folders of images; move one or the other elsewhere"
        )
    return bool(with_classes) or (bool(mixed) and len(parts) == 1)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a folder contains.

    Attributes:
        images: whether it has images directly in it.
        folders: whether it has folders.
        folders_of_images: whether it has folders with images directly in them.
    """

    images: bool
    folders: bool
    folders_of_images: bool

    @classmethod
    def of(cls, folder: Path) -> "_Contents":
        names = folders(folder)
        return cls(has_images(folder), bool(names), any(has_images(folder / name) for name in names))


def entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What is in ``folder`` and not hidden, sorted by name."""
    with os.scandir(folder) as found:
        return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether ``entry`` is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def folders(root: Path) -> list[str]:
    """The names of the folders in ``root`` that are not hidden."""
    return [entry.name for entry in entries(root) if is_folder(entry)]


def has_images(folder: Path) -> bool:
    """Whether a file directly in ``folder`` has the suffix of an image format."""
    suffixes = image_suffixes()
    with os.scandir(folder) as found:
        return any(
            Path(entry.name).suffix.lower() in suffixes and not is_folder(entry)
            for entry in found
            if not entry.name.startswith(".")
        )


def refused(error: OSError) -> DataError:
    """The error where the operating system refuses to list a folder."""
    return DataError(f"cannot look into {display_name(str(error.filename))}: {error.strerror}")


def shown(path: Path) -> str:
    """A path as messages show it."""
    return display_name(str(path))


def _each(names: list[str]) -> str:
    return f"{listed([f'{name}/' for name in names], 3)} {'holds' if len(names) == 1 else 'hold'}"
