"""Reading a picture, from wherever it comes, into the pixels that a model reads; `ImageError` where there is none."""

import contextlib
import io
import math
import os
import re
import stat
import threading
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from cifar_edge.errors import ImageError
from cifar_edge.runtime.messages import display_name, reason
from cifar_edge.runtime.transform import reduced_to_pixels, to_pixels
from cifar_edge.spec import IMAGE_SIZE

MAX_FILE_BYTES = 1 << 30
"""A larger file, or stream, is refused: some decoders read all of it before they look at it."""

NOT_READ = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow knows by name only, or hands to another program: EPS is one itself, and may run for ever."""

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[np.uint8]
"""What can be classified: a path, an encoded picture as bytes or open file, a PIL image, or uint8 ``[H, W, 3]`` RGB."""

_PIECE_BYTES = 1 << 20
"""An open file is read in pieces of so many: to ask for all at once would set as much memory aside as it may have."""

_COMMON = ("BMP", "GIF", "JPEG", "PPM", "PNG")
"""What Pillow loads by itself; the plugins of other formats, which take time, wait for a file that is none of these."""

_DRAFT_SIDE = 8 * IMAGE_SIZE
"""A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that leaves at least so many pixels a side."""

_LARGE_PIXELS = 16_000_000
"""Threads decode pictures of more pixels one after the other, so that their memory does not add up."""

_one_large = threading.Lock()

_MOST_SCANS = 100
"""A JPEG of more is refused: encoders write a dozen, and one of a few bytes may take as long as the whole picture."""

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""In a JPEG, what no data between markers holds, and which begins something else than a restart of them."""

_TEMPORARY, _START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0x01, 0xD8, 0xD9, 0xDA
_BLP_JPEG = 0
"""What a BLP calls its compression."""
_TILE_WIDTH, _TILE_LENGTH = 322, 323
"""Tags of TIFF."""


def _renew_locks() -> None:
    global _one_large
    _one_large = threading.Lock()


# A fork copies a lock that another thread holds, but not the thread: the child would wait for it for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def read_pixels(source: ImageSource, name: str | None = None) -> npt.NDArray[np.uint8]:
    """The pixels that a model reads of ``source``: uint8 ``[32, 32, 3]``, RGB, by `cifar_edge.runtime.transform`.

    Of an animation or a document of many pages, the first frame counts; of a PIL image, the current one. A JPEG of at
    least 512 pixels a side is decoded at a half, a quarter or an eighth of its size, still 8 times as large as the
    result or more: that changes less than the JPEG has changed already (docs/reliability.md), and saves time.

    Args:
        source: see `ImageSource`.
        name: what errors call it; None finds a name.

    Raises:
        ImageError: there is no such file, it holds no picture, or a damaged or too large one (Pillow's limit,
            179 million pixels; `MAX_FILE_BYTES`), or an array is not uint8 ``[H, W, 3]``. The message is one line and
            names the source.
    """
    name = source_name(source) if name is None else display_name(name)
    try:
        return _pixels(source)
    except ImageError as error:
        raise ImageError(f"{name}: {error}", f"{name}: {error.brief}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture in any format that Pillow reads") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(f"{name}: a picture of more than {limit:,} pixels is too large") from error
    except MemoryError as error:
        raise ImageError(f"{name}: there is not enough memory for it") from error
    except Warning as error:  # under `python -W error`
        raise ImageError(f"{name}: Pillow warns of it, and here warnings are errors ({reason(error)})") from error
    except Exception as error:  # a decoder fed with damaged bytes raises whatever its parser stumbles over
        brief = f"{name}: damaged or truncated picture"
        raise ImageError(f"{brief} ({reason(error)})", brief) from error


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file that should be a picture.

    Raises:
        ImageError: there is no such file, it is no regular one, empty or too large (`MAX_FILE_BYTES`), or it cannot be
            read, or was written to meanwhile. The message does not name it.
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
    """What errors call ``source``: a path by its name, anything else by what it is."""
    if isinstance(source, Image.Image):
        source = getattr(source, "filename", None) or "the PIL image"
    if isinstance(source, str | os.PathLike):
        return display_name(os.fsdecode(source))
    return "the array" if isinstance(source, np.ndarray) else f"the given {type(source).__name__}"


def _pixels(source: ImageSource) -> npt.NDArray[np.uint8]:
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise ImageError(f"it is {source.dtype} {list(source.shape)}; a picture is uint8 [height, width, 3], RGB")
        return to_pixels(Image.fromarray(source))
    if isinstance(source, Image.Image):
        return to_pixels(source)
    if isinstance(source, str | os.PathLike):
        with _opened(source) as file:
            before = _state(file)
            pixels = _decoded(file)
            if _state(file) != before:  # the upper half may be of another picture than the lower one
                raise ImageError("it was written to while it was read; read it again")
            return pixels
    if isinstance(source, bytes):
        return _in_memory(source)
    if isinstance(source, bytearray | memoryview):
        return _in_memory(bytes(source))
    if hasattr(source, "read"):
        return _in_memory(contents(source))
    raise ImageError("neither path, bytes, file, PIL image nor uint8 array [height, width, 3]")


def _state(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _decoded(file: BinaryIO) -> npt.NDArray[np.uint8]:
    with _identified(file) as image:
        size = image.size
        _refuse_endless(image, file)
        image.draft(None, (_DRAFT_SIDE, _DRAFT_SIDE))  # does nothing but to a JPEG
        with _one_large if _held_pixels(image, size) > _LARGE_PIXELS else contextlib.nullcontext():
            return to_pixels(image) if image.size == size else reduced_to_pixels(image, size)


def _refuse_endless(image: ImageFile, file: BinaryIO) -> None:
    """Refuse what takes far longer to decode than its bytes and pixels say."""
    if image.format in {"JPEG", "MPO"}:
        position = file.tell()
        file.seek(0)
        scans = _scans(file.read())
        file.seek(position)
        if scans > _MOST_SCANS:
            raise ImageError(f"a JPEG of more than {_MOST_SCANS} scans")
    if image.format == "BLP":
        arguments = image.tile[0][3]
        if isinstance(arguments, tuple) and arguments[0] == _BLP_JPEG:
            raise ImageError("a BLP with a JPEG inside, which is not read")


def _scans(jpeg: bytes) -> int:
    """How many scans a JPEG has, up to one more than `_MOST_SCANS` (ITU-T T.81, annex B)."""
    scans = position = 0
    while scans <= _MOST_SCANS and (found := _MARKER.search(jpeg, position)):
        position = found.end()
        marker = jpeg[position - 1]
        if marker == _END_OF_IMAGE:
            break
        scans += marker == _START_OF_SCAN
        if marker not in {_TEMPORARY, _START_OF_IMAGE}:
            position += int.from_bytes(jpeg[position : position + 2])  # the length of the segment, itself included
    return scans


def _held_pixels(image: Image.Image, size: tuple[int, int]) -> int:
    """How many pixels are held to decode ``image``, which was opened with ``size`` and may be drafted.

    Raises:
        Image.DecompressionBombError: more than Pillow allows for the whole picture.
        ImageError: a side of the tiles is no number.
    """
    # Of a progressive JPEG all coefficients are kept, whatever the scale; of a TIFF a whole tile, whatever its size.
    width, height = size if image.info.get("progressive") else image.size
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
    if not all(isinstance(side, int) for side in sides):  # a text, times a number, would be a long one
        raise ImageError("a TIFF whose tiles have no size")
    tile: int = math.prod(sides)
    if Image.MAX_IMAGE_PIXELS is not None and tile > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    return max(width * height, tile)


def _identified(file: BinaryIO) -> ImageFile:
    try:
        return Image.open(file, formats=_COMMON)
    except UnidentifiedImageError:
        return Image.open(file, formats=readable_formats())


def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read: all that it can decode by itself (not `NOT_READ`).

    Plug-ins may register more at any time, so that the answer must not be kept.
    """
    Image.init()
    return tuple(name for name in Image.ID if name not in NOT_READ)


def picture_suffixes() -> frozenset[str]:
    """The suffixes, in lower case and with their dot, of the files that Pillow takes for one of `readable_formats`."""
    formats = readable_formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def contents(file: Any) -> bytes:
    """All bytes of an open file: from its beginning where it can be rewound, else from where it stands.

    Raises:
        ImageError: they are more than `MAX_FILE_BYTES`, or it was opened as text.
        Exception: whatever the file raises.
    """
    if isinstance(file, io.TextIOBase):
        raise ImageError("it was opened as text; open it in binary mode, 'rb'")
    with contextlib.suppress(AttributeError, OSError):  # a pipe; a member of a tar that is read as a stream
        file.seek(0)
    pieces, size = [], 0
    while piece := file.read(_PIECE_BYTES):  # as often as it brings some: a pipe brings what is there
        size += len(piece)
        if size > MAX_FILE_BYTES:
            raise ImageError(f"it is larger than {MAX_FILE_BYTES >> 30} GiB")
        pieces.append(piece)
    return b"".join(pieces)


def _in_memory(content: bytes) -> npt.NDArray[np.uint8]:
    if not content:
        raise ImageError("no bytes")
    if len(content) > MAX_FILE_BYTES:
        raise ImageError(f"it is larger than {MAX_FILE_BYTES >> 30} GiB")
    return _decoded(io.BytesIO(content))


def _opened(source: str | os.PathLike[str]) -> BinaryIO:
    path = Path(source)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("a folder, not a picture")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("no regular file")  # to read a pipe or a device could last for ever
        if status.st_size == 0:
            raise ImageError("the file is empty")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(f"the file is larger than {MAX_FILE_BYTES >> 30} GiB")
        return path.open("rb")
    except FileNotFoundError as error:
        raise ImageError("a link that leads nowhere" if path.is_symlink() else "no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ImageError(f"cannot be opened ({getattr(error, 'strerror', None) or error})") from error
