"""Reads request bodies into memory, within `ServiceLimits`, and extracts the images from them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header
from starlette.requests import Request

from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.problems import Problem, busy

FIELD = "image"
"""Name of the form field, which may be repeated, that holds an image."""

FORM = "multipart/form-data"
RAW = "application/octet-stream"


class Bodies:
    """Reads request bodies; all that are in use at a time are at most ``limits.held_bytes``."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body of ``request``, which counts as in use until the context ends.

        Raises:
            Problem: it is missing (400), too large (413) or too slow (408), or too many bytes are in use already (503).
            ClientDisconnect: the connection was cut.
        """
        if int(request.headers.get("content-length", 0)) > self._limits.body_bytes:
            raise self._too_large()
        chunks: list[bytes] = []
        taken = 0
        try:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    async for chunk in request.stream():
                        taken += len(chunk)
                        self._held += len(chunk)
                        if taken > self._limits.body_bytes:
                            raise self._too_large()
                        if self._held > self._limits.held_bytes:
                            raise busy("too many bytes of other requests are being read; try again")
                        chunks.append(chunk)
            except TimeoutError:
                detail = f"the body did not arrive within {self._limits.body_seconds:g} seconds"
                raise Problem(HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"}) from None
            if not taken:
                raise Problem(HTTPStatus.BAD_REQUEST, "the request has no body; an image was expected")
            body = b"".join(chunks)
            chunks.clear()  # so that no second copy is in memory
            yield body
        finally:
            self._held -= taken

    def _too_large(self) -> Problem:
        detail = f"the body is larger than {self._limits.body_bytes:,} bytes; send fewer or smaller images"
        return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def boundary_of(content_type: str | None) -> bytes | None:
    """The boundary of a multipart form, or None if the body is one image.

    Raises:
        Problem: the body is neither a form nor an image (415), or a form without a boundary (400).
    """
    kind, options = parse_options_header(content_type or RAW)
    kind = kind.lower()
    if kind == FORM.encode():
        if boundary := options.get(b"boundary"):
            return boundary
        raise Problem(HTTPStatus.BAD_REQUEST, f"the Content-Type {FORM} has no boundary")
    if kind.startswith(b"image/") or kind == RAW.encode():
        return None
    raise Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"the Content-Type must be image/*, {RAW} or {FORM}; with curl: -F {FIELD}=@FILE",
        {"Accept-Post": f"image/*, {RAW}, {FORM}"},
    )


def images_of(body: bytes, boundary: bytes, most: int) -> list[bytes]:
    """The files in the field `FIELD` of a form, in order; they stay in memory, whatever their size.

    Raises:
        Problem: the body is not such a form, or has no file, more than ``most``, or other parts (400).
    """
    images: list[bytes] = []
    ended = False  # a form without its last boundary is truncated

    def add(file: File) -> None:
        if file.field_name != FIELD.encode():
            raise _bad_form(f"the form has a file in another field than {FIELD!r}")
        if len(images) == most:
            raise _bad_form(f"the form has more than {most} files; send several requests")
        file.file_object.seek(0)
        images.append(file.file_object.read())

    def refuse(field: Field) -> None:
        raise _bad_form(f"the form has a part that is not a file; each must be one, in the field {FIELD!r}")

    def end() -> None:
        nonlocal ended
        ended = True

    config = {"MAX_MEMORY_FILE_SIZE": len(body)}
    try:
        parser = FormParser(FORM, refuse, add, end, boundary=boundary, config=config)
        parser.write(body)
    except FormParserError:
        raise _bad_form(f"the body is not {FORM}") from None
    if not ended:
        raise _bad_form(f"the body is not {FORM}, or is truncated")
    if not images:
        raise _bad_form(f"the form has no file in the field {FIELD!r}")
    return images


def _bad_form(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail)
