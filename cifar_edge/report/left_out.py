"""The section of the files in an image folder that the network never saw: unreadable, contradictory, no images."""

from collections.abc import Sequence
from pathlib import Path

from cifar_edge.data.dataset import Dataset
from cifar_edge.data.folder.folders import Listing, list_images
from cifar_edge.data.folder.table import base_folder
from cifar_edge.errors import DataError, ImageError
from cifar_edge.messages import display_name, shell_word
from cifar_edge.report.html import Html, code, element, join
from cifar_edge.runtime.formats import CONVERT, unread_photographs
from cifar_edge.runtime.images import read_bytes, read_pixels

_NAMED = 20
"""How many files of a kind are named."""


def left_out(dataset: Dataset) -> Html | None:
    """The files that lie in the image folder of ``dataset`` now and are not in it; None if there are none.

    Copies of an image are not among them: they count once.
    """
    if dataset.folder is None:
        return None
    try:
        listing = list_images(dataset.folder)
    except DataError:  # the folder has changed or is gone since the images were loaded
        return None
    unread = unread_photographs(listing.stray)
    unreadable, contradictory = _looked_at(dataset, listing, base_folder(dataset.folder))
    kinds = {
        "Cannot be read": unreadable,
        "The same image in two classes": contradictory,
        f"Photographs of a format that is not read; {CONVERT}": list(unread),
        "Not an image in a class": [name for name in listing.stray if name not in set(unread)],
        "Folders inside a class, which are not searched": list(listing.unsearched),
    }
    parts = [part for title, lines in kinds.items() if lines for part in _kind(title, lines)]
    if not parts:
        return None
    command = code(f"cifar-edge data --data {shell_word(str(dataset.folder))}{_holdout(dataset)}")
    about = element("p", "Neither trained on nor tested on. ", command, " looks for copies and small images, too.")
    return join([about, *parts])


def _looked_at(dataset: Dataset, listing: Listing, root: Path) -> tuple[list[str], list[str]]:
    """A line for each file that cannot be read, and for each whose image lies in two classes.

    Only files that are not in ``dataset`` are opened. The others among them are copies, whose image is in it.
    """
    known = set(dataset.names.values())
    unreadable, contradictory = [], []
    for file in listing.files:
        if file.name in known:
            continue
        shown = display_name(file.name)
        try:
            pixels = read_pixels(read_bytes(root / file.name), file.name, size=dataset.size)
        except ImageError as error:
            unreadable.append(f"{shown}: {str(error).removeprefix(f'{shown}: ')}")
            continue
        if dataset.names_of(pixels[None]) == [None]:
            contradictory.append(shown)
    return unreadable, contradictory


def _kind(title: str, lines: Sequence[str]) -> list[Html]:
    shown = [element("li", line) for line in lines[:_NAMED]]
    if len(lines) > _NAMED:
        shown.append(element("li", f"{len(lines) - _NAMED:,} more"))
    return [element("h3", f"{title}: {len(lines):,}"), element("ul", *shown)]


def _holdout(dataset: Dataset) -> str:
    return "" if dataset.holdout is None else f" --holdout {dataset.holdout:g}"
