"""Limits on the cost of decoding one image, and a file wrapper that stops a decoder which exceeds them."""

import contextlib
import ctypes
from dataclasses import dataclass
from time import thread_time
from typing import Any, BinaryIO

from cifar_edge.errors import ImageError
from cifar_edge.runtime.formats import CONVERT_ONE

_READS, _BYTES_A_READ = 10_000, 64
"""A decoder may read so often, plus once per so many bytes of the file. Honest files consist of larger parts."""

_CHECKED_READS = 16
"""The clock is read once in so many reads, since it takes longer than a read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the cost of decoding one image.

    Attributes:
        memory: bytes, those of the decoder included; estimated from the header (see `cifar_edge.runtime.costs`).
        seconds: processor time; measured while the decoder reads. The decoder of JPEG 2000 reads everything at once, so
            its time is estimated from the header.
    """

    memory: int = 2 << 30
    seconds: float = 60.0


DEFAULT_LIMITS = Limits()


class Metered:
    """A file whose `read` raises once its decoder has read too often, or has taken too long.

    Args:
        file: the file that is read.
        size: its length in bytes.
        seconds: processor time that this thread may take from now on.
    """

    def __init__(self, file: BinaryIO, size: int, seconds: float) -> None:
        self._file, self._read = file, file.read
        self.seek, self.tell = file.seek, file.tell
        self._left = _READS + size // _BYTES_A_READ
        self._seconds = seconds
        self._end = thread_time() + seconds

    def read(self, size: int = -1) -> bytes:
        """Read from the file.

        Raises:
            ImageError: it was read too often, or for too long.
        """
        self._left -= 1
        if self._left < 0:
            raise ImageError("it consists of too many small parts")
        if self._left % _CHECKED_READS == 0 and thread_time() > self._end:
            raise too_slow(self._seconds)
        return self._read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def too_slow(seconds: float) -> ImageError:
    """The error for an image that takes more than ``seconds``."""
    return ImageError(f"decoding takes more than {seconds:g} seconds; {CONVERT_ONE} or make it smaller")


def give_memory_back() -> None:
    """Make glibc return freed memory to the system; does nothing with another C library.

    Decoders of large images free blocks of many megabytes, and glibc keeps these for each thread.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
