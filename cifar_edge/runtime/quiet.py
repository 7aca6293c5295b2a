"""Keeps Pillow from writing to stderr. For our commands alone, since it changes the whole process."""

import contextlib
import ctypes
import logging
import warnings

from PIL import _imaging


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
