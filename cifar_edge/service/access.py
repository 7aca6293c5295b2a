"""Who may ask: the Host header, where a request comes from, the token; and the headers every answer carries."""

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cifar_edge.service.problems import Problem, busy

SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Added to every answer that does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask.

    Attributes:
        token: what a client must send as ``Authorization: Bearer TOKEN`` to reach ``/v1/``; None lets everyone.
        hosts: names, in lower case, that the Host header may have; None takes any. A service that only this machine
            reaches takes its own names alone: a page of the web whose name was rebound to 127.0.0.1 has another.
        origins: origins whose pages may ask from a browser (CORS), such as ``https://example.org``.
    """

    token: str | None = None
    hosts: frozenset[str] | None = None
    origins: tuple[str, ...] = ()


class Shield:
    """Outermost: refuses a wrong Host header, adds `SECURITY_HEADERS` to every answer, and answers to the last."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._hosts = app, access.hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def secured(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app = self._app if self._hosts is None or _host(Headers(scope=scope)) in self._hosts else _misdirected
        try:
            await app(scope, receive, secured)
        except asyncio.CancelledError:  # by uvicorn, of what is not done when the service has to stop
            if not started:
                await busy("the service stops").response()(scope, receive, secured)


class Authorized:
    """Lets pass who has the token, and no page of another site, which a browser would send with none."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access
        self._token = None if access.token is None else access.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        # Fetch Metadata: browsers send it, and pages cannot change it. A form needs no CORS to be posted.
        allowed = {"*", headers.get("origin")} & set(self._access.origins)
        if headers.get("sec-fetch-site") == "cross-site" and not allowed:
            raise Problem(HTTPStatus.FORBIDDEN, "a page of another site asks; --cors-origin allows one to")
        if self._token is not None:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            # Headers are decoded as Latin-1, so that this gives the bytes that were sent.
            if not hmac.compare_digest(given.strip().encode("latin-1"), self._token) or scheme.lower() != "bearer":
                detail = "this needs the header Authorization: Bearer TOKEN, with the token of this service"
                raise Problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})
        await self._app(scope, receive, send)


async def _misdirected(scope: Scope, receive: Receive, send: Send) -> None:
    problem = Problem(HTTPStatus.MISDIRECTED_REQUEST, "the Host header names no address of this service")
    await problem.response()(scope, receive, send)


def _host(headers: Headers) -> str | None:
    """The name in the Host header, in lower case, without port or brackets; None if there is none."""
    try:
        return urlsplit("//" + headers.get("host", "")).hostname
    except ValueError:
        return None
