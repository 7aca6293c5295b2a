"""What a browser finds at ``/``: the web page that `cifar_edge.web` has written, or how to get it."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_PAGE_HEADERS = {"Cache-Control": "no-cache", "Content-Security-Policy": "frame-ancestors 'none'"}
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


class _Page(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_PAGE_HEADERS)
        return response


def page_route(folder: Path | None) -> BaseRoute:
    """The route of the page in ``folder``, which takes every address that no earlier route takes; None has none."""
    return Route("/", _no_page) if folder is None else Mount("/", _Page(directory=folder, html=True))


async def _no_page(request: Request) -> Response:
    return HTMLResponse(_NO_PAGE)
