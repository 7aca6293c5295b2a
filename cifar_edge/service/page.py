"""Serves the web page of `cifar_edge.web` at ``/``, or explains how to get it.

The page is sent from memory, so that a client that reads slowly keeps no file open.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

_START = "index.html"
_PART = 1 << 16
"""Bytes that are sent at a time. The rest waits in the one copy that all clients share."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
"""Not from `mimetypes`, which depends on files of the system."""

_HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": "frame-ancestors 'none'"}
"""The page has its own policy; only frame-ancestors must be in a header (CSP 3, section 3.3)."""

_NO_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cifar-edge</title>
<h1>cifar-edge</h1>
<p>This service classifies images: <code>POST /v1/predict</code>. <a href="openapi.json">openapi.json</a> describes it,
<a href="v1/model">v1/model</a> its model, <a href="healthz">healthz</a> says whether it is up.</p>
<pre>curl -F image=@cat.png ADDRESS/v1/predict</pre>
<p>A page that classifies images in the browser may be here: run <code>cifar-edge web --out DIR</code> once, which
builds it, and start the service again.</p>
</html>
"""


def page_routes(files: Mapping[str, bytes] | None, guards: Sequence[Middleware]) -> list[BaseRoute]:
    """The routes of the page.

    Args:
        files: name -> content; None if there is no page.
        guards: middleware for the files that `reveals_models`.
    """
    if files is None:
        return [Route("/", _no_page)]
    routes = [_route(name, name, content, guards) for name, content in files.items()]
    return [*routes, _route("", _START, files[_START], guards)]


def reveals_models(name: str) -> bool:
    """Whether the file of the page tells as much as ``/v1/models``, and so needs the same token."""
    return name == "model.json" or name.endswith(".onnx")


def _route(address: str, name: str, content: bytes, guards: Sequence[Middleware]) -> BaseRoute:
    kind = _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "Content-Type": kind, "ETag": tag}

    async def send(request: Request) -> Response:
        known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
        return Response(status_code=304, headers=headers) if known & {tag, "*"} else _InParts(content, headers=headers)

    return Route(f"/{address}", send, middleware=guards if reveals_models(name) else [])


class _InParts(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        content = memoryview(self.body)  # slices of it are not copies
        for start in range(0, 0 if scope["method"] == "HEAD" else len(content), _PART):
            # This waits for a slow client, and does nothing if the client is gone.
            await send({"type": "http.response.body", "body": content[start : start + _PART], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _no_page(request: Request) -> Response:
    return HTMLResponse(_NO_PAGE)
