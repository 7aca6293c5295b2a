"""Own pictures decoded in parallel by the runtime's own transform, and kept so that the next command need not.

The cache of a folder is one ``.npz``: the 32x32 pixels, and as JSON each file's name, size, time of change and SHA-256.
A file of which one of the first three differs is decoded anew; all are, where what decodes them has changed.
"""

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from cifar_edge.data.cache import cache_folder
from cifar_edge.data.dataset import Images
from cifar_edge.data.fetch import Report
from cifar_edge.data.folders import PictureFile
from cifar_edge.errors import CifarEdgeError, ImageError
from cifar_edge.files import replacing
from cifar_edge.runtime import images, levels, transform
from cifar_edge.runtime.cores import cores
from cifar_edge.runtime.images import read_pixels
from cifar_edge.runtime.messages import display_name
from cifar_edge.spec import IMAGE_CHANNELS, IMAGE_SIZE, RESIZE_RULE

_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, IMAGE_CHANNELS)
_BLOCK = 1_024
_SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What was read of some files.

    Attributes:
        pixels: uint8 ``[files, 32, 32, 3]``, RGB; zeros where a file cannot be read.
        digests: SHA-256 of each file's bytes, in hexadecimal; empty where it cannot be read.
        unreadable: one line for each file that cannot be read, with its name below the root and the reason.
    """

    pixels: Images
    digests: tuple[str, ...]
    unreadable: tuple[str, ...]


def decode(root: Path, files: Sequence[PictureFile], report: Report) -> Decoded:
    """Read ``files`` of the folder ``root``, from its cache where they have not changed; the rest goes into it.

    Where the cache cannot be written, ``report`` is told, and everything is decoded anew the next time.
    """
    cache = _cache_file(root)
    known, known_pixels = _read_cache(cache)
    pixels = np.zeros((len(files), *_SHAPE), np.uint8)
    digests = [""] * len(files)
    new: list[int] = []
    for index, file in enumerate(files):
        row, digest = known.get((file.name, file.size, file.modified), (-1, ""))
        if row < 0:
            new.append(index)
        else:
            pixels[index], digests[index] = known_pixels[row], digest
    unreadable: list[str] = []
    for index, found in zip(new, _decode_new(root, [files[index] for index in new], report), strict=True):
        if isinstance(found, str):
            unreadable.append(found)
        else:
            pixels[index], digests[index] = found
    readable = [index for index, digest in enumerate(digests) if digest]
    if len(new) > len(unreadable) or len(readable) < len(known):
        try:
            _write_cache(cache, [(files[index], digests[index]) for index in readable], pixels[readable])
        except CifarEdgeError as error:
            report(f"{error}; the pictures will be decoded again the next time")
    return Decoded(pixels, tuple(digests), tuple(unreadable))


def _decode_new(root: Path, files: Sequence[PictureFile], report: Report) -> list[tuple[Images, str] | str]:
    """For each file its pixels and SHA-256, or why it cannot be read; threads do, because Pillow frees the lock."""
    if not files:
        return []
    report(f"reading {len(files):,} pictures in {display_name(str(root))}")
    told = time.monotonic()
    found: list[tuple[Images, str] | str] = []
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(files), _BLOCK):
            found += pool.map(lambda file: _decode_one(root, file), files[start : start + _BLOCK])
            if time.monotonic() - told >= _SECONDS_BETWEEN_LINES:
                told = time.monotonic()
                report(f"  {len(found):,} of {len(files):,}")
    return found


def _decode_one(root: Path, file: PictureFile) -> tuple[Images, str] | str:
    path = root / file.name
    try:
        pixels = read_pixels(path)
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) == (file.size, file.modified):
            return pixels, digest
        why = "it was changed while it was read"  # so that the two may be of different pictures
    except ImageError as error:
        why = str(error).removeprefix(f"{display_name(str(path))}: ")
    except OSError as error:
        why = error.strerror or str(error)
    return f"{display_name(file.name)}: {why}"


@cache
def _rule() -> str:
    """What decided the pixels in a cache, besides the file; the number counts changes of the cache's own format.

    The modules that decode are in it as they are: who changes a pixel in them need not think of this cache.
    """
    modules = b"".join(Path(str(module.__file__)).read_bytes() for module in (images, levels, transform))
    return f"1; {RESIZE_RULE}; Pillow {PIL.__version__}; {hashlib.sha256(modules).hexdigest()}"


def _cache_file(root: Path) -> Path:
    resolved = root.resolve()
    name = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:16]
    return cache_folder() / "own" / f"{name}.npz"


def _read_cache(path: Path) -> tuple[dict[tuple[str, int, int], tuple[int, str]], Images]:
    """(name, size, time of change) -> (row of the pixels, SHA-256), and the pixels; nothing of a damaged cache."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about: dict[str, Any] = json.loads(file["about"].tobytes())
            pixels = file["pixels"]
        if about["rule"] != _rule() or pixels.shape != (len(about["files"]), *_SHAPE) or pixels.dtype != np.uint8:
            raise ValueError
        known = {
            (str(name), int(size), int(time)): (row, str(digest))
            for row, (name, size, time, digest) in enumerate(about["files"])
        }
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return {}, np.zeros((0, *_SHAPE), np.uint8)
    return known, pixels


def _write_cache(path: Path, files: Sequence[tuple[PictureFile, str]], pixels: Images) -> None:
    rows = [(file.name, file.size, file.modified, digest) for file, digest in files]
    about = json.dumps({"rule": _rule(), "files": rows})
    with replacing(path) as temporary:
        np.savez(temporary, about=np.frombuffer(about.encode(), np.uint8), pixels=pixels)
