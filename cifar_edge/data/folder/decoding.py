"""Decoding of image files, in parallel and by the transform of the runtime; the pixels are cached.

Every file is read every time, since the cache knows a file by its bytes; only new files are decoded.
"""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from cifar_edge.data.dataset import Images, Report
from cifar_edge.data.folder.folders import ImageFile
from cifar_edge.data.folder.pixel_cache import KnownPixels, cache_file, keep, known_pixels
from cifar_edge.errors import CifarEdgeError, ImageError
from cifar_edge.messages import display_name
from cifar_edge.runtime import images, levels, ppm, transform
from cifar_edge.runtime.cores import cores
from cifar_edge.runtime.images import read_bytes, read_pixels
from cifar_edge.spec import IMAGE_CHANNELS, resize_rule

_BLOCK = 256
_SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The pixels of files.

    Attributes:
        pixels: uint8 ``[files, S, S, 3]``, RGB; zeros where a file cannot be read.
        digests: SHA-256 of each file's pixels, in hexadecimal; empty where the file cannot be read.
        contents: SHA-256 of each file's bytes, likewise.
        unreadable: one line for each file that cannot be read: its name relative to the root, and the reason.
    """

    pixels: Images
    digests: tuple[str, ...]
    contents: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """The outcome of reading one file.

    Attributes:
        content: SHA-256 of its bytes; empty if it cannot be read.
        digest: SHA-256 of its pixels, in hexadecimal; empty if it cannot be read.
        new: whether it was decoded, instead of found in the cache.
        error: why it cannot be read; empty if it can.
    """

    content: bytes = b""
    digest: str = ""
    new: bool = False
    error: str = ""


def decode(root: Path, files: Sequence[ImageFile], size: int, report: Report) -> Decoded:
    """Read ``files`` of the folder ``root`` as images of ``size``; those in the cache are not decoded again.

    If the cache cannot be written, ``report`` gets a line, and the files are decoded again the next time.
    """
    path, rule = cache_file(root, size), _rule(size)
    pixels = np.zeros((len(files), size, size, IMAGE_CHANNELS), np.uint8)
    with known_pixels(path, rule, size) as known:
        read = _read_all(root, files, known, pixels, report)
        known_before = len(known)
    digests = tuple(each.digest for each in read)
    contents = [each.content for each in read]
    if any(each.new for each in read) or len({*contents} - {b""}) < known_before:
        try:
            keep(path, rule, contents, digests, pixels)
        except CifarEdgeError as error:
            report(f"{error}; the images will be decoded again the next time")
    unreadable = (
        f"{display_name(file.name)}: {each.error}" for file, each in zip(files, read, strict=True) if each.error
    )
    return Decoded(pixels, digests, tuple(content.hex() for content in contents), tuple(unreadable))


def _read_all(
    root: Path, files: Sequence[ImageFile], known: KnownPixels, pixels: Images, report: Report
) -> list[_Read]:
    """Fill ``pixels`` with threads: Pillow and hashlib release the GIL.

    ``report`` is called if files have to be decoded, or if reading takes long.
    """
    heading = f"reading {len(files):,} images in {display_name(str(root))}"
    reported = time.monotonic()
    read: list[_Read] = []
    pool = ThreadPoolExecutor(cores())
    try:
        for start in range(0, len(files), _BLOCK):
            block = range(start, min(start + _BLOCK, len(files)))
            read += pool.map(lambda index: _read_one(root, files[index], known, pixels[index]), block)
            late = time.monotonic() - reported >= _SECONDS_BETWEEN_LINES
            if heading and (late or any(each.new for each in read[start:])):
                report(heading)
                heading = ""
            if late:
                reported = time.monotonic()
                report(f"  {len(read):,} of {len(files):,}")
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, wait only for the files being read
    return read


def _read_one(root: Path, file: ImageFile, known: KnownPixels, pixels: Images) -> _Read:
    path = root / file.name
    try:
        content = read_bytes(path)
        digest = hashlib.sha256(content).digest()
        found = known.get(digest)
        pixels[:] = read_pixels(content, file.name, size=len(pixels)) if found is None else found
    except ImageError as error:
        return _Read(error=str(error).removeprefix(f"{display_name(file.name)}: "))
    return _Read(digest, hashlib.sha256(pixels.data).hexdigest(), found is None)


def _rule(size: int) -> str:
    """All that decides the pixels in the cache, except for the bytes of a file; the number is the format's version.

    It has a hash of the modules that decode, so that any change of their code invalidates the cache.
    """
    modules = b"".join(Path(str(module.__file__)).read_bytes() for module in (images, levels, ppm, transform))
    return f"2; {resize_rule(size)}; Pillow {PIL.__version__}; {hashlib.sha256(modules).hexdigest()}"
