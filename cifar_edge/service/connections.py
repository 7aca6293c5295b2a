"""Connections that end in time: what uvicorn leaves open to clients that are slow on purpose."""

import asyncio

import h11
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cifar_edge.service.limits import Limits

CLOSED_BEYOND = 4
"""Connections beyond this many times the limit are closed without an answer."""


def bounded_protocol(limits: Limits, crowded: ASGIApp) -> type[H11Protocol]:
    """The protocol of uvicorn for HTTP/1.1, with bounds on time and on the number of connections.

    It is the one on h11, which bounds the bytes of a request's head, of trailers and of pipelined requests; the one on
    httptools is faster, and bounds none of them.

    Args:
        limits: the bounds.
        crowded: what answers on connections beyond ``limits.connections``.
    """

    class BoundedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its base class
            super().connection_made(transport)
            self._answering: object = None
            self._timer: asyncio.TimerHandle | None = None
            self._expire_after(limits.header_seconds)
            if len(self.connections) > CLOSED_BEYOND * limits.connections:
                transport.abort()
            elif len(self.connections) > limits.connections:
                self.app = crowded

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._follow()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._follow()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                super().send_400_response(msg)
            else:
                self.transport.close()  # the answer is on its way already
            if self.cycle is not None:
                self.cycle.disconnected = True  # or else a second answer may be tried

        def _follow(self) -> None:
            """Start the clock of a new request, or of the wait for the next one."""
            busy_with = self.cycle if self.cycle is not None and not self.cycle.response_complete else None
            if busy_with is not self._answering:
                self._answering = busy_with
                self._expire_after(limits.header_seconds if busy_with is None else limits.exchange_seconds)

        def _expire_after(self, seconds: float) -> None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(seconds, self._expire)

        def _expire(self) -> None:
            if self.transport.is_closing() or self._answering is not None:
                self.transport.abort()
            else:
                self.transport.close()  # what is written may still be sent
                self._expire_after(limits.header_seconds)

    return BoundedProtocol
