"""Reads an image from any source into the pixels that a model takes, or raises `ImageError`."""

import contextlib
import io
import os
import stat
import threading
import traceback
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from cifar_edge.errors import ImageError
from cifar_edge.messages import display_name, reason
from cifar_edge.runtime import ppm
from cifar_edge.runtime.costs import headers, memory
from cifar_edge.runtime.formats import COMMON, CONVERT_ONE, readable_formats
from cifar_edge.runtime.limits import DEFAULT_LIMITS, Limits, Metered, give_memory_back, too_slow
from cifar_edge.runtime.transform import reduced_to_pixels, to_pixels
from cifar_edge.spec import IMAGE_SIZE

MAX_FILE_BYTES = 1 << 30
"""A larger file or stream is refused, since some decoders read all of it before they check anything."""

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[np.uint8]
"""What can be classified: a path, an encoded image as bytes or open file, a PIL image, or uint8 ``[H, W, 3]`` RGB."""

_PIECE_BYTES = 1 << 20
"""An open file is read in pieces of this size: one read of `MAX_FILE_BYTES` would allocate all of them."""

_DRAFT_SCALE = 8
"""A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if at least so many pixels a side remain for each of the result."""

_UNMETERED_BYTES = 16_384
"""A smaller file cannot keep a decoder reading for long, and is not metered."""

_LARGE_BYTES = 100_000_000
"""Images that take more memory are decoded by one thread at a time, and their memory is returned to the system."""

_one_large = threading.Lock()


def _renew_locks() -> None:
    global _one_large
    _one_large = threading.Lock()


# A fork copies a lock that another thread holds, but not that thread: the child would wait for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def read_pixels(
    source: ImageSource, name: str | None = None, limits: Limits = DEFAULT_LIMITS, size: int = IMAGE_SIZE
) -> npt.NDArray[np.uint8]:
    """The input pixels of a model of ``size``: uint8 ``[size, size, 3]``, RGB, by `cifar_edge.runtime.transform`.

    An animation or a document of many pages is read at its first frame, a PIL image at its current one. A JPEG of at
    least 16 times the size is decoded at a half, a quarter or an eighth, at least 8 times as large as the result. That
    saves time, and changes less than the JPEG compression did (docs/reliability.md).

    Args:
        source: see `ImageSource`.
        name: its name in errors; None derives one from ``source``.
        limits: limits on the cost of decoding a file. PIL images and arrays are not limited.
        size: height and width of the result.

    Raises:
        ImageError: the file is missing, not an image, damaged or too costly (``limits``; Pillow's limit of 179 million
            pixels; `MAX_FILE_BYTES`), or an array is not uint8 ``[H, W, 3]``. The message is one line and names the
            source.
    """
    name = source_name(source) if name is None else display_name(name)
    try:
        return _pixels(source, limits, size)
    except ImageError as error:
        raise ImageError(f"{name}: {error}", f"{name}: {error.brief}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image in a supported format; {CONVERT_ONE}") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(f"{name}: an image of more than {limit:,} pixels is too large") from error
    except MemoryError as error:
        raise ImageError(f"{name}: there is not enough memory for it") from error
    except Warning as error:  # under `python -W error`
        raise ImageError(f"{name}: Pillow warns about it, and warnings are errors here ({reason(error)})") from error
    except Exception as error:  # a decoder may raise anything on damaged bytes
        brief = f"{name}: damaged or truncated image"
        raise ImageError(f"{brief} ({reason(error)})", brief) from error


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an image file, undecoded.

    Raises:
        ImageError: the file is missing, not a regular file, empty, larger than `MAX_FILE_BYTES`, or unreadable, or it
            was written to during the read. The message does not name it.
    """
    try:
        with _opened(path) as file:
            before = _state(file)
            content = file.read()
            if _state(file) != before:
                raise ImageError("it was written to while it was read; read it again")
            return content
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise ImageError("there is not enough memory for it") from error


def source_name(source: object) -> str:
    """The name of ``source`` in errors: a path as it is, anything else by its type."""
    if isinstance(source, Image.Image):
        source = getattr(source, "filename", None) or "the PIL image"
    if isinstance(source, str | os.PathLike):
        return display_name(os.fsdecode(source))
    return "the array" if isinstance(source, np.ndarray) else f"the given {type(source).__name__}"


def _pixels(source: ImageSource, limits: Limits, size: int) -> npt.NDArray[np.uint8]:
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise ImageError(f"it is {source.dtype} {list(source.shape)}; an image is uint8 [height, width, 3], RGB")
        return to_pixels(Image.fromarray(source), size)
    if isinstance(source, Image.Image):
        return to_pixels(source, size)
    if isinstance(source, str | os.PathLike):
        with _opened(source) as file:
            before = _state(file)
            pixels = _decoded(file, limits, size)
            if _state(file) != before:  # the upper half may be from another image than the lower one
                raise ImageError("it was written to while it was read; read it again")
            return pixels
    if isinstance(source, bytes):
        return _in_memory(source, limits, size)
    if isinstance(source, bytearray | memoryview):
        return _in_memory(bytes(source), limits, size)
    if hasattr(source, "read"):
        return _in_memory(contents(source), limits, size)
    raise ImageError("neither path, bytes, file, PIL image nor uint8 array [height, width, 3]")


def _state(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _decoded(file: BinaryIO, limits: Limits, size: int) -> npt.NDArray[np.uint8]:
    length = file.seek(0, os.SEEK_END)
    if length > MAX_FILE_BYTES:
        raise _too_long()
    found = headers(file, length)
    if found.work is not None and found.work.seconds > limits.seconds:
        raise too_slow(limits.seconds)
    image = _identified(file if length <= _UNMETERED_BYTES else cast(BinaryIO, Metered(file, length, limits.seconds)))
    full_size = image.size
    image.draft(None, (_DRAFT_SCALE * size, _DRAFT_SCALE * size))  # affects JPEG only
    held = memory(image, full_size, found)
    if held > limits.memory:
        raise ImageError(
            f"decoding would take {held / 1e6:,.0f} MB of memory, more than the limit of {limits.memory / 1e6:,.0f} MB"
        )
    if held <= _LARGE_BYTES:
        return _pixels_of(image, full_size, size, file)
    with _one_large:
        try:
            return _pixels_of(image, full_size, size, file)
        except Exception as error:
            _clear_frames(error)
            raise
        finally:
            del image
            give_memory_back()


def _clear_frames(error: BaseException | None) -> None:
    """Clear the frames that ``error`` passed through: otherwise a caller who keeps the error keeps the image."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _pixels_of(image: ImageFile, full_size: tuple[int, int], size: int, file: BinaryIO) -> npt.NDArray[np.uint8]:
    if image.tile and image.tile[0][0] == ppm.CODEC:
        return to_pixels(ppm.scaled(image, file), size)
    return to_pixels(image, size) if image.size == full_size else reduced_to_pixels(image, full_size, size)


def _identified(file: BinaryIO) -> ImageFile:
    try:
        return Image.open(file, formats=COMMON)
    except UnidentifiedImageError:
        return Image.open(file, formats=readable_formats())


def contents(file: Any) -> bytes:
    """All bytes of an open file, from its beginning if it can be rewound, else from its current position.

    Raises:
        ImageError: there are more than `MAX_FILE_BYTES`, or the file was opened as text.
        Exception: whatever the file raises.
    """
    if isinstance(file, io.TextIOBase):
        raise ImageError("it was opened as text; open it in binary mode, 'rb'")
    with contextlib.suppress(AttributeError, OSError):  # pipes, and members of a tar that is read as a stream
        file.seek(0)
    pieces, size = [], 0
    while piece := file.read(_PIECE_BYTES):  # a pipe returns fewer bytes than asked for
        size += len(piece)
        if size > MAX_FILE_BYTES:
            raise _too_long()
        pieces.append(piece)
    return b"".join(pieces)


def _in_memory(content: bytes, limits: Limits, size: int) -> npt.NDArray[np.uint8]:
    if not content:
        raise ImageError("no bytes")
    return _decoded(io.BytesIO(content), limits, size)


def _too_long() -> ImageError:
    return ImageError(f"it is larger than {MAX_FILE_BYTES >> 30} GiB")


def _opened(source: str | os.PathLike[str]) -> BinaryIO:
    path = Path(source)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("a folder, not an image")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file")  # reading a pipe or a device could last for ever
        if status.st_size == 0:
            raise ImageError("the file is empty")
        if status.st_size > MAX_FILE_BYTES:
            raise _too_long()
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError("a broken link" if path.is_symlink() else "no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error
