"""A look at an image folder before anything is trained: what is unreadable, small, or there twice, by name."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import ExifTags, Image

from cifar_edge.data.dataset import Dataset, Report, image_digests
from cifar_edge.data.folder.decoding import decode
from cifar_edge.data.folder.folders import Listing
from cifar_edge.data.folder.near_duplicates import near_duplicates
from cifar_edge.data.folder.table import base_folder
from cifar_edge.runtime.formats import unread_photographs
from cifar_edge.spec import IMAGE_SIZE

_MANY = 5_000
"""From so many images on a line says that the search takes a while."""


_LONG = 3
"""Times its other side, from which on an image is named as one that is mostly cut away."""

_QUARTER_TURNS = (5, 6, 7, 8)
"""Values of the EXIF tag Orientation by which width and height change places."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Files that show the same.

    Attributes:
        files: their names, relative to the root, sorted.
        across: whether one is a training image and another a test image, so that the accuracy is too high.
        labels: the names of their classes; more than one means that some label is wrong.
    """

    files: tuple[str, ...]
    across: bool
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """What `check_folder` found. Names are relative to the root.

    Attributes:
        files: number of files that should hold an image.
        smallest: width and height of the smallest image, in pixels, by the shorter side; None if none can be read.
        median: of the image in the middle.
        largest: of the largest.
        cut: files that are so long that the centre square, all that the network sees, is less than a third of them.
        small: files that are smaller than the network's image and have to be enlarged.
        unread: photographs of a format that is not read, such as HEIC.
        ignored: other files and folders that are no image of a class.
        unreadable: one line for each file that cannot be read: its name and the reason.
        equal: files of equal pixels.
        near: near duplicates (see `cifar_edge.data.folder.near_duplicates`), but not among the small files: those have
            too few pixels to tell copies from what looks alike.
    """

    files: int
    smallest: tuple[int, int] | None
    median: tuple[int, int] | None
    largest: tuple[int, int] | None
    cut: tuple[str, ...]
    small: tuple[str, ...]
    unread: tuple[str, ...]
    ignored: tuple[str, ...]
    unreadable: tuple[str, ...]
    equal: tuple[Copies, ...]
    near: tuple[Copies, ...]


def check_folder(root: Path, listing: Listing, dataset: Dataset, report: Report) -> Check:
    """Look at every file of an image folder.

    Args:
        root: the folder, or the table.
        listing: its files.
        dataset: it, as loaded at any size; its sides decide what is across.
        report: called with lines while it takes long.
    """
    root = base_folder(root)
    decoded = decode(root, listing.files, dataset.size, report)
    side_of = dict.fromkeys(image_digests(dataset.train_images), "train")
    side_of |= dict.fromkeys(image_digests(dataset.test_images), "test")

    def copies(positions: list[int]) -> Copies:
        members = sorted(positions, key=lambda position: listing.files[position].name)
        sides = {listing.files[at].split or side_of.get(decoded.digests[at], "") for at in members} - {""}
        labels = sorted({listing.labels[listing.files[at].label] for at in members})
        return Copies(tuple(listing.files[at].name for at in members), len(sides) > 1, tuple(labels))

    readable = sorted((at for at, digest in enumerate(decoded.digests) if digest), key=lambda at: decoded.digests[at])
    alike = [list(group) for _, group in groupby(readable, key=lambda at: decoded.digests[at])]
    one_of_each = [min(group) for group in alike]
    sizes = _sizes(root, [listing.files[at].name for at, digest in enumerate(decoded.digests) if digest])
    small = tuple(name for name, size in sizes.items() if min(size) < IMAGE_SIZE)
    smaller = set(small)
    large = sorted(at for at in one_of_each if listing.files[at].name not in smaller)
    if len(large) > _MANY:
        report(f"looking for near duplicates among {len(large):,} images")
    near = near_duplicates(decoded.pixels[at] for at in large)
    unread = unread_photographs(listing.stray)
    by_side = sorted(sizes.values(), key=lambda size: (min(size), max(size)))
    return Check(
        files=len(listing.files),
        smallest=by_side[0] if by_side else None,
        median=by_side[len(by_side) // 2] if by_side else None,
        largest=by_side[-1] if by_side else None,
        cut=tuple(name for name, size in sizes.items() if max(size) > _LONG * min(size)),
        small=small,
        unread=unread,
        ignored=tuple(name for name in listing.stray if name not in set(unread)),
        unreadable=decoded.unreadable,
        equal=_worst_first([copies(group) for group in alike if len(group) > 1]),
        near=_worst_first([copies([large[at] for at in group]) for group in near]),
    )


def _worst_first(found: list[Copies]) -> tuple[Copies, ...]:
    return tuple(sorted(found, key=lambda each: (len(each.labels) == 1, not each.across, each.files)))


def _sizes(root: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """File -> width and height of the upright image, by its header."""
    sizes = {}
    for name in names:
        # A decoder may raise anything on bytes that were changed since the file was read.
        with suppress(Exception), Image.open(root / name) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNS
            sizes[name] = (height, width) if turned else (width, height)
    return sizes
