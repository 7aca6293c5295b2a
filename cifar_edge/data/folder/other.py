"""Images without labels: those that a training learns from by its teacher's answers, and images of no class.

A model should answer "not sure" to images of no class. They set no weight; a threshold is judged by them. They lie in
``_other/`` beside the classes, or in ``other/`` beside ``train/`` and ``test/``, where it can be no class. Without
``train/`` and ``test/``, a folder called ``other`` is a class like any other.
"""

import os
from pathlib import Path

from cifar_edge.data.dataset import Images, Report
from cifar_edge.data.folder.decoding import decode
from cifar_edge.data.folder.folders import ImageFile
from cifar_edge.data.folder.layout import refused, shown
from cifar_edge.errors import DataError
from cifar_edge.messages import display_name, listed
from cifar_edge.runtime.formats import image_suffixes

_NAMED = 3


def load_other(folder: Path, size: int, report: Report) -> Images:
    """The images of no class in ``folder``: see `load_images`."""
    return load_images(folder, "images that are no class", size, report)


def load_images(folder: Path, what: str, size: int, report: Report) -> Images:
    """The images in ``folder`` and in all folders below it, uint8 ``[n, size, size, 3]``, sorted by name.

    Args:
        folder: with images, or folders of them.
        what: what the folder should hold, for messages.
        size: height and width of the results.
        report: called with lines about the reading.

    Raises:
        DataError: there is no such folder, or no readable image in it.
    """
    names = _names(folder, what)
    decoded = decode(folder, tuple(ImageFile(name, 0, "") for name in names), size, report)
    readable = [index for index, digest in enumerate(decoded.digests) if digest]
    if decoded.unreadable:
        images = "1 image" if len(decoded.unreadable) == 1 else f"{len(decoded.unreadable):,} images"
        report(f"left out: {images} that cannot be read: {listed(decoded.unreadable, _NAMED)}")
    if not readable:
        raise DataError(f"none of the {len(names):,} images in {display_name(str(folder))} can be read")
    return decoded.pixels[readable]


def content_of(folder: Path) -> str:
    """How many images `load_images` reads, and how large their files are: another answer means other images.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    names = _names(folder, "images")
    return f"{len(names)} images, {sum((folder / name).stat().st_size for name in names)} bytes"


def _names(folder: Path, what: str) -> list[str]:
    """The image files below ``folder``, relative to it. Links to folders are not followed, so it ends.

    Raises:
        DataError: there is no such folder, or no image in it; it should hold ``what``.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {shown(folder)} of {what}")
    suffixes = image_suffixes()

    def refuse(error: OSError) -> None:
        raise refused(error) from error

    found = []
    for parent, below, names in os.walk(folder, onerror=refuse):
        below[:] = [name for name in below if not name.startswith(".")]
        inside = Path(parent).relative_to(folder)
        found += [
            (inside / name).as_posix()
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
    if not found:
        raise DataError(f"{shown(folder)} holds no image; it should hold {what}")
    return sorted(found)
