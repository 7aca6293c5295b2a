"""The errors of the service as problem details, RFC 9457: ``application/problem+json``."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
"""The value of ``Retry-After``; a full queue of small images is empty sooner."""


class Problem(Exception):
    """An error response.

    Args:
        status: HTTP status.
        detail: what is wrong and how to mend it, on one line, without anything that the client sent.
        headers: further headers of the response.
        members: further members of the JSON object ("extension members").
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.members = status, detail, headers, members

    def response(self) -> Response:
        """The response. Its ``type`` is the default, ``about:blank``: the status says enough."""
        title = HTTPStatus(self.status).phrase
        content = {"title": title, "status": self.status, "detail": self.detail, **self.members}
        return JSONResponse(content, self.status, self.headers, MEDIA_TYPE)


def busy(detail: str) -> Problem:
    """503: a limit is reached, and the same request may succeed a moment later."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": str(RETRY_SECONDS)})


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return _wrong_method(request.url.path, dict(error.headers or {})["Allow"]).response()
    missing = error.status_code == HTTPStatus.NOT_FOUND
    detail = "there is nothing at this path; /openapi.json lists all paths" if missing else error.detail
    return Problem(error.status_code, detail, error.headers).response()


def _wrong_method(path: str, allowed: str) -> Problem:
    """405. The path may be told: it is one of the service's own, or it would not be known what it allows."""
    methods = sorted(allowed.split(", "))  # Starlette has a set of them
    detail = f"{path} takes only {' and '.join(methods)}; send the request with {methods[0]}"
    return Problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, {"Allow": ", ".join(methods)})


def _disconnect(request: Request, error: Exception) -> Response:
    return Problem(HTTPStatus.BAD_REQUEST, "the client disconnected").response()  # which nobody reads


def _failure(request: Request, error: Exception) -> Response:
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; see the log of the service").response()


HANDLERS: Mapping[Any, Any] = {
    Problem: _problem,
    HTTPException: _http_exception,
    ClientDisconnect: _disconnect,
    Exception: _failure,
}
"""Exception -> handler, for `starlette.applications.Starlette`."""
