"""What a browser finds at ``/``: the web page that `cifar_edge.web` makes, or how to get it.

The page is sent from memory: a client that reads it slowly, or not at all, keeps no file open.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

MODEL_FILES = frozenset({"model.json", "model.onnx"})
"""The files of the page that say what ``/v1/model`` says, and more: whoever may not ask there may not have them."""

_START = "index.html"
_PART = 1 << 16
"""Bytes that are handed on at once. What a client does not read waits here, in the one copy that all clients share."""

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
"""Not from `mimetypes`, which reads files of the system that may say otherwise."""

_HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": "frame-ancestors 'none'"}
"""The page says itself what it may load; only who may frame it must be said in a header (CSP 3, section 3.3)."""

_NO_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cifar-edge</title>
<h1>cifar-edge</h1>
<p>This service classifies images: <code>POST /v1/predict</code>. <a href="openapi.json">openapi.json</a> describes it,
<a href="v1/model">v1/model</a> its model, <a href="healthz">healthz</a> says whether it works.</p>
<pre>curl -F image=@cat.png ADDRESS/v1/predict</pre>
<p>A page that classifies images in the browser may be here: run <code>cifar-edge web --out DIR</code> once, which
builds it, and start the service again.</p>
</html>
"""


def page_routes(files: Mapping[str, bytes] | None, guards: Sequence[Middleware]) -> list[BaseRoute]:
    """The routes of the page.

    Args:
        files: name -> content; None has no page.
        guards: stand before `MODEL_FILES`.
    """
    if files is None:
        return [Route("/", _no_page)]
    routes = [_route(name, name, content, guards) for name, content in files.items()]
    return [*routes, _route("", _START, files[_START], guards)]


def _route(address: str, name: str, content: bytes, guards: Sequence[Middleware]) -> BaseRoute:
    kind = _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "Content-Type": kind, "ETag": tag}

    async def send(request: Request) -> Response:
        known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
        return Response(status_code=304, headers=headers) if tag in known else _InParts(content, headers=headers)

    return Route(f"/{address}", send, middleware=guards if name in MODEL_FILES else [])


class _InParts(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        content = memoryview(self.body)  # whose parts are no copies
        for start in range(0, 0 if scope["method"] == "HEAD" else len(content), _PART):
            # It waits where the client is slow, and does nothing where that is gone.
            await send({"type": "http.response.body", "body": content[start : start + _PART], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _no_page(request: Request) -> Response:
    return HTMLResponse(_NO_PAGE)
