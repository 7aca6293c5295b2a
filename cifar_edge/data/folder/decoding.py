"""Own pictures decoded in parallel by the runtime's own transform, and kept so that the next command need not.

Every file is read each time, because its bytes alone decide what it is; only what is new is decoded.
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
    """What was read of some files.

    Attributes:
        pixels: uint8 ``[files, S, S, 3]``, RGB; zeros where a file cannot be read.
        digests: SHA-256 of the pixels of each, in hexadecimal; empty where it cannot be read.
        unreadable: one line for each file that cannot be read, with its name below the root and the reason.
    """

    pixels: Images
    digests: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """What one file gave.

    Attributes:
        content: SHA-256 of its bytes; empty where it cannot be read.
        digest: SHA-256 of its pixels, in hexadecimal; empty likewise.
        new: whether it had to be decoded.
        why: what is wrong with it; empty where nothing is.
    """

    content: bytes = b""
    digest: str = ""
    new: bool = False
    why: str = ""


def decode(root: Path, files: Sequence[ImageFile], size: int, report: Report) -> Decoded:
    """Read ``files`` of the folder ``root`` as images of ``size``; those in the cache are not decoded again.

    Where the cache cannot be written, ``report`` is told, and everything is decoded anew the next time.
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
            report(f"{error}; the pictures will be decoded again the next time")
    unreadable = (f"{display_name(file.name)}: {each.why}" for file, each in zip(files, read, strict=True) if each.why)
    return Decoded(pixels, digests, tuple(unreadable))


def _read_all(
    root: Path, files: Sequence[ImageFile], known: KnownPixels, pixels: Images, report: Report
) -> list[_Read]:
    """Fill ``pixels``, by threads: Pillow and the hash function run beside each other.

    Tells what it reads where pictures have to be decoded, and where it takes long.
    """
    heading = f"reading {len(files):,} pictures in {display_name(str(root))}"
    told = time.monotonic()
    read: list[_Read] = []
    pool = ThreadPoolExecutor(cores())
    try:
        for start in range(0, len(files), _BLOCK):
            block = range(start, min(start + _BLOCK, len(files)))
            read += pool.map(lambda index: _read_one(root, files[index], known, pixels[index]), block)
            late = time.monotonic() - told >= _SECONDS_BETWEEN_LINES
            if heading and (late or any(each.new for each in read[start:])):
                report(heading)
                heading = ""
            if late:
                told = time.monotonic()
                report(f"  {len(read):,} of {len(files):,}")
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C only those that are being read are waited for
    return read


def _read_one(root: Path, file: ImageFile, known: KnownPixels, pixels: Images) -> _Read:
    path = root / file.name
    try:
        content = read_bytes(path)
        digest = hashlib.sha256(content).digest()
        found = known.get(digest)
        pixels[:] = read_pixels(content, file.name, size=len(pixels)) if found is None else found
    except ImageError as error:
        return _Read(why=str(error).removeprefix(f"{display_name(file.name)}: "))
    return _Read(digest, hashlib.sha256(pixels.data).hexdigest(), found is None)


def _rule(size: int) -> str:
    """What decided the pixels in a cache, besides the bytes of a file; the number counts changes of the cache's format.

    The modules that decode are in it as they are: who changes a pixel in them need not think of this cache.
    """
    modules = b"".join(Path(str(module.__file__)).read_bytes() for module in (images, levels, ppm, transform))
    return f"2; {resize_rule(size)}; Pillow {PIL.__version__}; {hashlib.sha256(modules).hexdigest()}"
