"""How large the images of a folder are, from the headers of some of its files."""

from contextlib import suppress
from pathlib import Path

from PIL import Image

from cifar_edge.data.folder.folders import list_images
from cifar_edge.data.folder.table import base_folder

_MOST = 200
"""Files that are opened; their pixels are not decoded."""


def shorter_sides(root: Path) -> list[int]:
    """The shorter sides, in pixels, of at most 200 images of all classes; files that cannot be read are skipped.

    Raises:
        DataError: as `list_images`.
    """
    files = list_images(root).files
    sides: list[int] = []
    for file in files[:: max(1, len(files) // _MOST)]:
        # A decoder may raise anything on damaged bytes; the error is reported where the image is decoded.
        with suppress(Exception), Image.open(base_folder(root) / file.name) as image:
            sides.append(min(image.size))
    return sides
