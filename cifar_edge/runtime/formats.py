"""The formats that are read. Pillow knows four times as many, most of which no photograph comes in."""

from PIL import Image

COMMON = ("BMP", "GIF", "JPEG", "PPM", "PNG")
"""What Pillow loads by itself; the plugins of other formats, which take time, wait for a file that is none of these."""

READ = frozenset({*COMMON, "AVIF", "DIB", "ICO", "JPEG2000", "MPO", "TIFF", "WEBP"})
"""Pillow's names of its formats that are read. `cifar_edge.runtime.costs` knows what each may cost.

Of the others some are programs (EPS), some are known to it by name only (BUFR, GRIB, HDF5, MPEG, WMF), and many are
decoded in Python, slowly, by readers that were written for honest files.
"""


def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read: `READ`, and what plug-ins of other packages have registered."""
    Image.init()
    return tuple(name for name in Image.ID if name in READ or not _is_of_pillow(name))


def image_suffixes() -> frozenset[str]:
    """The suffixes, in lower case and with their dot, of the files that Pillow takes for one of `readable_formats`."""
    formats = {*readable_formats(), "MPO"}  # which is opened as JPEG, and so is not in Image.ID
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def _is_of_pillow(name: str) -> bool:
    factory, _ = Image.OPEN[name]
    return str(getattr(factory, "__module__", "")).partition(".")[0] == "PIL"
