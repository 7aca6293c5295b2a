"""The cache of decoded images: the pixels of each, found by the SHA-256 of the file that they were decoded from.

There is one file for each image folder and size S. It is checked on reading: a row whose pixels do not have their
SHA-256 is ignored, and so is a whole file of the wrong length or of another rule. All files may be removed at any time.

    32 bytes              SHA-256 of the rule of decoding
    64 bytes an image     SHA-256 of its file, and of its pixels
    3 S S bytes an image  its pixels, uint8 [S, S, 3]
"""

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cifar_edge.data.cache import IMAGE_FOLDERS, cache_folder
from cifar_edge.data.dataset import Images
from cifar_edge.files import replacing
from cifar_edge.spec import IMAGE_CHANNELS, IMAGE_SIZE

MOST_BYTES = 1_000_000_000
"""Upper bound of all cache files together, 320,000 images of 32x32; the files used last are kept."""

_DIGEST = hashlib.sha256().digest_size
_BLOCK = 1_024


class KnownPixels:
    """The images in a cache file, each read when it is asked for. Threads may share it."""

    def __init__(self, size: int, file: BinaryIO | None = None, digests: bytes = b"") -> None:
        self._size, self._file = size, file
        self._digests = digests
        self._rows = {digests[at : at + _DIGEST]: at // (2 * _DIGEST) for at in range(0, len(digests), 2 * _DIGEST)}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """The number of images in the cache file."""
        return len(self._rows)

    def get(self, content: bytes) -> Images | None:
        """The pixels of the image file with this SHA-256, ``[S, S, 3]``; None if they are missing or damaged."""
        row = self._rows.get(content)
        if row is None or self._file is None:
            return None
        with self._lock:
            try:
                length = _pixel_bytes(self._size)
                self._file.seek(_DIGEST + len(self._digests) + row * length)
                pixels = self._file.read(length)
            except OSError:
                return None
        at = row * 2 * _DIGEST + _DIGEST
        if hashlib.sha256(pixels).digest() != self._digests[at : at + _DIGEST]:
            return None
        return np.frombuffer(pixels, np.uint8).reshape(self._size, self._size, IMAGE_CHANNELS)


def pixel_cache_folder() -> Path:
    """The folder of the cache files."""
    return cache_folder() / IMAGE_FOLDERS


def cache_file(root: Path, size: int) -> Path:
    """The cache file of the image folder ``root`` at ``size``."""
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return pixel_cache_folder() / (f"{name}.pixels" if size == IMAGE_SIZE else f"{name}-{size}.pixels")


@contextmanager
def known_pixels(path: Path, rule: str, size: int) -> Iterator[KnownPixels]:
    """The images of ``size`` in the cache file ``path``; empty if it is missing, damaged, or of another ``rule``."""
    with suppress(OSError):
        if path.is_file():
            os.utime(path)  # the files that were used last are kept
    try:
        file = path.open("rb") if path.is_file() else None
    except OSError:
        file = None
    if file is None:
        yield KnownPixels(size)
        return
    with file:
        yield _opened(file, rule, size)


def _opened(file: BinaryIO, rule: str, size: int) -> KnownPixels:
    try:
        images, rest = divmod(os.fstat(file.fileno()).st_size - _DIGEST, _image_bytes(size))
        if rest or images < 0 or file.read(_DIGEST) != _rule_digest(rule):
            return KnownPixels(size)
        digests = file.read(images * 2 * _DIGEST)
    except OSError:
        return KnownPixels(size)
    return KnownPixels(size, file, digests)


def keep(path: Path, rule: str, contents: Sequence[bytes], digests: Sequence[str], pixels: Images) -> None:
    """Write as many images as fit to the cache file ``path``; then remove the least recently used files.

    Args:
        path: from `cache_file`.
        rule: the rule of decoding.
        contents: SHA-256 of each image's file; empty for an image that is not to be kept.
        digests: SHA-256 of each image's pixels, in hexadecimal.
        pixels: uint8 ``[n, S, S, 3]``.

    Raises:
        CifarEdgeError: the operating system refuses the write.
    """
    most = (MOST_BYTES - _DIGEST) // _image_bytes(pixels.shape[1])
    rows = [row for row, content in enumerate(contents) if content][:most]
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_rule_digest(rule))
        for row in rows:
            file.write(contents[row] + bytes.fromhex(digests[row]))
        for start in range(0, len(rows), _BLOCK):
            file.write(pixels[rows[start : start + _BLOCK]].data)
    _remove_oldest(path)


def _pixel_bytes(size: int) -> int:
    return size * size * IMAGE_CHANNELS


def _image_bytes(size: int) -> int:
    """Bytes of an image and its two digests."""
    return 2 * _DIGEST + _pixel_bytes(size)


def _rule_digest(rule: str) -> bytes:
    return hashlib.sha256(rule.encode()).digest()


def _remove_oldest(written: Path) -> None:
    """Keep the bound. A file that another process removes or reads at the same time is skipped."""
    files: list[tuple[float, int, Path]] = []
    with suppress(OSError):
        for path in written.parent.glob("[!.]*"):
            with suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if path != written and total > MOST_BYTES:
            with suppress(OSError):
                path.unlink()
                total -= size
