"""The image formats that are read: a quarter of those that Pillow knows, and all that photographs come in."""

from collections.abc import Iterable
from pathlib import PurePath

from PIL import Image

COMMON = ("BMP", "GIF", "JPEG", "PPM", "PNG")
"""Formats that Pillow loads first. The plugins of others are imported, slowly, only for a file of none of these."""

READ = frozenset({*COMMON, "AVIF", "DIB", "ICO", "JPEG2000", "MPO", "TIFF", "WEBP"})
"""Pillow's names of the formats that are read. `cifar_edge.runtime.costs` estimates the cost of each.

Pillow's other formats are left out: EPS files are programs, Pillow cannot decode BUFR, GRIB, HDF5, MPEG and WMF, and
many more are decoded in Python, slowly, by readers that were written for honest files.
"""


_PHOTOGRAPHS = frozenset({".avif", ".heic", ".heif", ".hif"})
"""Suffixes of what telephones and cameras write and Pillow may not read: AVIF from 11.3 on, HEIC by a plugin only."""

CONVERT_ONE, CONVERT = "convert it to JPEG", "convert them to JPEG"
"""What to do about one file that is not read, and about `unread_photographs`: the format of photographs."""


def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read: `READ`, and those that plugins of other packages have registered."""
    Image.init()
    return tuple(name for name in Image.ID if name in READ or not _is_of_pillow(name))


def image_suffixes() -> frozenset[str]:
    """The file suffixes of `readable_formats`, in lower case and with their dot."""
    formats = {*readable_formats(), "MPO"}  # MPO is opened as JPEG, and so is not in Image.ID
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def unread_photographs(names: Iterable[str]) -> tuple[str, ...]:
    """Those of ``names`` that are photographs by their suffix, of a format that is not read here, such as HEIC."""
    unread = _PHOTOGRAPHS - image_suffixes()
    return tuple(name for name in names if PurePath(name).suffix.lower() in unread)


def _is_of_pillow(name: str) -> bool:
    factory, _ = Image.OPEN[name]
    return str(getattr(factory, "__module__", "")).partition(".")[0] == "PIL"
