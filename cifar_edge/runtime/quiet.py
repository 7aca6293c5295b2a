"""Keeps Pillow and LiteRT from writing to stderr. For our commands alone, since it changes the whole process."""

import contextlib
import ctypes
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from typing import IO

from PIL import _imaging

from cifar_edge.runtime import litert

_XNNPACK = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def silence_pillow() -> None:
    """Suppress Pillow's warnings and log messages about damaged images; the errors it raises are enough.

    Commands call this. A library must not: its host may want the warnings, and may have its own filters.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    # libtiff, inside Pillow, also prints its errors. If its handler cannot be reached, that is harmless.
    with contextlib.suppress(AttributeError, OSError):
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


def silence_litert() -> None:
    """Leave out the line by which LiteRT says, once in a process, that it computes with XNNPACK."""
    litert.allocating = _without_notice


@contextlib.contextmanager
def _without_notice() -> Iterator[None]:
    """Print what is printed on stderr only at the end, and without that line, which no setting of LiteRT's stops."""
    with contextlib.ExitStack() as ends:
        with contextlib.suppress(OSError):  # stderr is closed, or there is no place for a file
            said, stderr = ends.enter_context(tempfile.TemporaryFile()), os.dup(2)
            ends.callback(_print_rest, said, stderr)
            os.dup2(said.fileno(), 2)
        yield


def _print_rest(said: IO[bytes], stderr: int) -> None:
    os.dup2(stderr, 2)
    os.close(stderr)
    said.seek(0)
    text = said.read()
    if _XNNPACK in text:
        litert.allocating = contextlib.nullcontext
    with contextlib.suppress(OSError):
        os.write(2, text.replace(_XNNPACK, b""))
