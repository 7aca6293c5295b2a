"""Access control: the Host header, the origin of a request, the token; and the security headers of every response."""

import asyncio
import hmac
import ipaddress
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cifar_edge.service import request_id
from cifar_edge.service.log import ACCESS
from cifar_edge.service.problems import Problem, busy

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{0,5})?")
_LONGEST_TARGET = 200
"""Most characters of a request's target that are logged."""

SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Added to every response that does not set them itself."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the service.

    Attributes:
        token: must be sent as ``Authorization: Bearer TOKEN`` to reach ``/v1/``; None needs no token.
        hosts: allowed names and addresses in the Host header, in lower case; None allows any. They stop DNS rebinding:
            a web page whose name was rebound to this machine's address sends that name.
        any_address: whether the Host header may also be any IP address, which cannot be rebound.
        origins: origins whose pages may send requests from a browser (CORS), such as ``https://example.org``; ``*``
            allows all.
    """

    token: str | None = None
    hosts: frozenset[str] | None = None
    any_address: bool = False
    origins: tuple[str, ...] = ()

    def names_us(self, host: str) -> bool:
        """Whether the Host header ``host`` is allowed."""
        if self.hosts is None:
            return True
        name = _name(host)
        return name in self.hosts or (self.any_address and _is_address(name))

    def lets(self, origin: str) -> bool:
        """Whether `origins` allows ``origin``."""
        return "*" in self.origins or origin in self.origins


class Shield:
    """Outermost middleware: checks Host and Origin, adds `SECURITY_HEADERS` and the id to a response, and logs it."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, headers = False, Headers(scope=scope)
        request = request_id.begin(headers.get(request_id.HEADER))

        async def secured(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                sent = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    sent.setdefault(name, value)
                sent[request_id.HEADER] = request
                _log(scope, message["status"])
            await send(message)

        problem = self._refused(headers)
        try:
            await (self._app if problem is None else problem.response())(scope, receive, secured)
        except asyncio.CancelledError:  # uvicorn cancels what is not done when the service has to stop
            if not started:
                await busy("the service is stopping").response()(scope, receive, secured)

    def _refused(self, headers: Headers) -> Problem | None:
        host = headers.get("host", "")
        if not self._access.names_us(host):
            detail = "the Host header does not name this service; --allow-host allows another name"
            return Problem(HTTPStatus.MISDIRECTED_REQUEST, detail)
        # Browsers send Origin with every cross-origin request of a script or form, except for plain GETs, whose
        # responses they hide from the page.
        if all(_is_of(origin, host) or self._access.lets(origin) for origin in headers.getlist("origin")):
            return None
        return _other_site()


class Authorized:
    """Middleware that requires the token, and refuses pages of other sites, whose requests may come without Origin."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access
        self._token = None if access.token is None else access.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        # Fetch Metadata: browsers send it over https or to this machine, even without Origin.
        elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if elsewhere and not self._access.lets(headers.get("origin", "")):
            raise _other_site()
        if self._token is not None:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            # Starlette decodes headers as Latin-1, so that encoding gives the bytes that were sent.
            if not hmac.compare_digest(given.strip().encode("latin-1"), self._token) or scheme.lower() != "bearer":
                detail = "the header Authorization: Bearer TOKEN is needed, with the token of this service"
                raise Problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})
        await self._app(scope, receive, send)


def _other_site() -> Problem:
    return Problem(
        HTTPStatus.FORBIDDEN, "requests from pages of other sites are refused; --cors-origin allows an origin"
    )


def _log(scope: Scope, status: int) -> None:
    if not ACCESS.isEnabledFor(logging.INFO):
        return
    host, port = scope["client"] or ("", 0)
    target = b"?".join(filter(None, (scope["raw_path"], scope["query_string"]))).decode("latin-1")  # visible ASCII
    if len(target) > _LONGEST_TARGET:
        target = f"{target[:_LONGEST_TARGET]}..."
    ACCESS.info('%s:%d - "%s %s HTTP/%s" %d', host, port, scope["method"], target, scope["http_version"], status)


def _name(host: str) -> str | None:
    """The name in a Host header, in lower case, without port or brackets; None if there is none."""
    match = _HOST.fullmatch(host.lower())
    return match and (match[1] or match[2])


def _is_address(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True


def _is_of(origin: str, host: str) -> bool:
    """Whether ``origin`` is that of ``host``, over http or https: a proxy may add https."""
    scheme, _, given = origin.lower().partition("://")
    usual = {"http": ":80", "https": ":443"}.get(scheme)
    return usual is not None and given.removesuffix(usual) == host.lower().removesuffix(usual)
