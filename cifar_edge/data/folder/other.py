"""Images of no class: what a model should answer "not sure" to. They set no weight; a threshold is judged by them.

They lie in ``_other/`` beside the classes, or in ``other/`` beside ``train/`` and ``test/``, where it can be no class.
Without ``train/`` and ``test/``, a folder called ``other`` is a class like any other.
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
    """The images in ``folder`` and in all folders below it, uint8 ``[n, size, size, 3]``, sorted by name.

    Raises:
        DataError: there is no such folder, or no readable image in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {shown(folder)} of images that are no class")
    files = tuple(ImageFile(name, 0, "") for name in _names(folder))
    if not files:
        raise DataError(f"{shown(folder)} holds no image; it should hold images that are no class")
    decoded = decode(folder, files, size, report)
    readable = [index for index, digest in enumerate(decoded.digests) if digest]
    if decoded.unreadable:
        images = "1 image" if len(decoded.unreadable) == 1 else f"{len(decoded.unreadable):,} images"
        report(f"left out: {images} that cannot be read: {listed(decoded.unreadable, _NAMED)}")
    if not readable:
        raise DataError(f"none of the {len(files):,} images in {display_name(str(folder))} can be read")
    return decoded.pixels[readable]


def _names(folder: Path) -> list[str]:
    """The image files below ``folder``, relative to it. Links to folders are not followed, so it ends."""
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
    return sorted(found)
