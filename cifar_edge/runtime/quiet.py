"""What keeps Pillow from writing on stderr: for programs of our own, since it changes the whole process."""

import contextlib
import ctypes
import logging
import warnings

from PIL import _imaging


def silence_pillow() -> None:
    """Let damaged pictures be told by the errors they raise, and by nothing else.

    Commands call it. A library must not: its host may want Pillow's warnings, and may have filters of its own.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    # libtiff, inside Pillow, prints its errors besides reporting them. Where it cannot be reached so, that is harmless.
    with contextlib.suppress(AttributeError, OSError):
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)
