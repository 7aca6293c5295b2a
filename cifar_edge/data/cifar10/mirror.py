"""Download an archive from one address: limited in time, resumed from a partial file, verified at the end."""

import queue
import threading
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from cifar_edge.data.cifar10.dataset_spec import Archive
from cifar_edge.data.cifar10.transfer import Limits, Meter, Progress, SourceFailed, check
from cifar_edge.errors import DataError
from cifar_edge.messages import reason

_BLOCK_BYTES = 1 << 16
_MAX_CONNECTIONS = 50


def download(url: str, archive: Archive, part: Path, limits: Limits, progress: Progress) -> None:
    """Download the archive from ``url`` to ``part``, going on after the bytes that ``part`` has from any mirror.

    A broken connection is resumed as long as that brings more bytes. If a file that another mirror began turns out
    wrong, either mirror may be at fault, so it is downloaded once more from the beginning.

    Raises:
        SourceFailed: the source is dead, slow, wrong or truncated. ``part`` keeps the bytes that may be right.
        DataError: ``part`` cannot be written.
    """
    try:
        part.touch()
        begun_elsewhere = part.stat().st_size > 0
        meter = Meter(archive.size, limits, progress)
        while True:
            _complete(url, archive, part, limits, meter)
            try:
                return check(part, archive)
            except SourceFailed:
                part.unlink()
                if not begun_elsewhere:
                    raise
                part.touch()
                begun_elsewhere = False
    except OSError as error:
        raise DataError(f"cannot write {part}: {error.strerror or error}") from error


def _complete(url: str, archive: Archive, part: Path, limits: Limits, meter: Meter) -> None:
    for _ in range(_MAX_CONNECTIONS):
        size = part.stat().st_size
        if size >= archive.size:
            return
        _append(url, archive, part, limits, meter)
        if part.stat().st_size == size:
            break
    raise SourceFailed(f"ends after {part.stat().st_size:,} of {archive.size:,} bytes")


def _append(url: str, archive: Archive, part: Path, limits: Limits, meter: Meter) -> None:
    """Append the bytes of one response to ``part``."""
    size = part.stat().st_size
    response = _open(url, size, limits)
    with response, part.open("ab") as file:
        # A server that cannot resume sends everything again; bytes that are here already are skipped.
        begin = size if response.status == 206 else 0
        _check_extent(response, begin, archive)
        meter.begin()
        for end, block in _blocks(response, begin, meter, limits):
            fresh = end - size
            if fresh > 0:
                file.write(block[-fresh:])
                size = end
            if size > archive.size:
                raise SourceFailed(f"sends more than the {archive.size:,} bytes of {archive.name}")


def _check_extent(response: HTTPResponse, begin: int, archive: Archive) -> None:
    """Reject a source whose headers say that it has another file, before its bytes come."""
    extent = response.headers.get("Content-Range")  # such as: bytes 100-199/200
    length = response.headers.get("Content-Length")
    if response.status == 206:
        total = (extent or "").rpartition("/")[2]
        right = (extent or "").startswith(f"bytes {begin}-") and total in {str(archive.size), "*"}
    else:
        right = length is None or length == str(archive.size)
    if not right:
        offered = reason(Exception(extent or f"{length} bytes"))
        raise SourceFailed(f"offers another file than {archive.name} ({offered}, not {archive.size:,} bytes)")


def _blocks(response: HTTPResponse, begin: int, meter: Meter, limits: Limits) -> Iterator[tuple[int, bytes]]:
    """Each block of the response, and its end position in the archive."""
    position = begin
    while True:
        try:
            block = response.read1(_BLOCK_BYTES)
        except TimeoutError as error:
            raise SourceFailed(f"nothing came for {limits.window:g} s") from error
        except (OSError, HTTPException):
            return  # a broken connection counts as the end of the response
        if not block:
            return
        position += len(block)
        yield position, block
        meter.update(position, len(block))


def scheme_and_host(url: str) -> tuple[str, str]:
    """The scheme of ``url``, and its host for messages; the scheme is empty if ``url`` is not an address."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or url
    except ValueError:  # such as http://[::1
        return "", url.rpartition("@")[2]  # the part before @ may hold a password


def _open(url: str, begin: int, limits: Limits) -> HTTPResponse:
    """The server's response, within ``limits.answer`` seconds.

    The timeout of urllib bounds each wait for bytes, but not name lookup, several addresses, redirects and slow headers
    together. So a thread opens the address, and is abandoned if it takes too long.
    """
    if scheme_and_host(url)[0] not in {"http", "https"}:
        raise SourceFailed("neither an http:// nor an https:// address")
    request = Request(url, headers={"User-Agent": "cifar-edge", "Accept-Encoding": "identity"})
    if begin:
        request.add_header("Range", f"bytes={begin}-")
    answers: queue.SimpleQueue[HTTPResponse | OSError | HTTPException | ValueError] = queue.SimpleQueue()
    given_up = threading.Event()

    def ask() -> None:
        try:
            response = cast(HTTPResponse, urlopen(request, timeout=limits.window))
        except (OSError, HTTPException, ValueError) as error:
            answers.put(error)
            return
        if given_up.is_set():
            response.close()
        answers.put(response)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=limits.answer)
    except queue.Empty:
        given_up.set()
        raise SourceFailed(f"no answer within {limits.answer:g} s") from None
    if isinstance(answer, HTTPResponse):
        return answer
    raise SourceFailed(_reason(answer, limits)) from answer


def _reason(error: OSError | HTTPException | ValueError, limits: Limits) -> str:
    if isinstance(error, HTTPError):
        error.close()
        return f"answers {error.code} {reason(Exception(error.reason))}"
    cause = getattr(error, "reason", error)  # what a URLError wraps
    if isinstance(cause, TimeoutError):
        return f"no answer within {limits.window:g} s"
    return getattr(cause, "strerror", None) or reason(cause)
