"""What one picture may cost to decode, and a file that ends a decoder which costs more."""

import contextlib
import ctypes
from dataclasses import dataclass
from time import thread_time
from typing import Any, BinaryIO

from cifar_edge.errors import ImageError

_READS, _BYTES_A_READ = 10_000, 64
"""A decoder may read so often, and once more for so many bytes of the file. Honest files have parts of kilobytes."""

_CHECKED_READS = 16
"""The time is looked at once in so many reads: to look takes longer than to read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one picture may cost.

    Attributes:
        memory: bytes that are held to decode it, those of the decoder included, as estimated from its header (see
            `cifar_edge.runtime.costs`).
        seconds: processor time to decode it: of decoders that read piece by piece as measured, and of JPEG 2000, whose
            decoder does not, as estimated from its header.
    """

    memory: int = 2 << 30
    seconds: float = 60.0


class Metered:
    """A file that can be read until its decoder has read too often, or has taken too long.

    Args:
        file: what is read; everything but `read` is its own.
        size: its bytes.
        seconds: processor time of this thread from now on.
    """

    def __init__(self, file: BinaryIO, size: int, seconds: float) -> None:
        self._file, self._read = file, file.read
        self.seek, self.tell = file.seek, file.tell
        self._left = _READS + size // _BYTES_A_READ
        self._seconds = seconds
        self._end = thread_time() + seconds

    def read(self, size: int = -1) -> bytes:
        """What the file reads.

        Raises:
            ImageError: it is read too often, or for too long.
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
    """The error of a picture that takes more than ``seconds``."""
    return ImageError(f"to decode it takes more than {seconds:g} seconds; convert it to a PNG or JPEG file")


def give_memory_back() -> None:
    """Return to the system what the C library keeps of freed memory, where it is glibc, which keeps much of it.

    Decoders of large pictures free blocks of many megabytes, and glibc keeps them for each thread that had any.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
