"""Connections that are bounded in time and number: what uvicorn leaves open to clients that are slow on purpose."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from cifar_edge.service.access import SECURITY_HEADERS
from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.log import ACCESS, Rarely
from cifar_edge.service.problems import Problem

MOST_CHUNKS = 4096
"""Of a body. Each is an event of h11, and takes as long as 16 kB that come in one piece."""


class Connections:
    """What the connections of one service share.

    Attributes:
        most: how many there may be.
        waiting: those without a request in progress, the one that has waited longest first.
        stopping: whether the service ends; it takes no more then.
    """

    def __init__(self, limits: ServiceLimits) -> None:
        self.most = limits.connections
        self.waiting: dict[H11Protocol, None] = {}
        self.stopping = False
        self._full = Rarely(f"all {self.most:,} connections are taken: those that wait longest are closed")

    def make_room(self) -> None:
        """Close the one that has waited longest. Where all the others have a request, that is the newest one."""
        self._full.say()
        oldest = next(iter(self.waiting))
        del self.waiting[oldest]
        oldest.transport.abort()


class _Strict(h11.Connection):
    """Refuses what h11 lets pass: bodies of very many chunks, and those that say twice how long they are."""

    _chunks = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:  # proxies may heed the other one
                raise h11.RemoteProtocolError("a length and chunks")
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            if self._chunks > MOST_CHUNKS:
                raise h11.RemoteProtocolError("too many chunks")
        return event


def bounded_protocol(limits: ServiceLimits, shared: Connections) -> type[H11Protocol]:
    """The protocol of uvicorn for HTTP/1.1, with bounds on time and on the number of connections.

    It is the one on h11, which bounds the bytes of a request's head, of trailers and of pipelined requests; the one on
    httptools is faster, and bounds none of them.

    Args:
        limits: the bounds.
        shared: what the connections know of each other.
    """

    class BoundedProtocol(H11Protocol):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.conn = _Strict(h11.SERVER)

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its base class
            super().connection_made(transport)
            self._answering: object = None
            self._timer: asyncio.TimerHandle | None = None
            if shared.stopping:  # it was accepted before, and is not among those that are told to end
                transport.abort()
                return
            self._expire_after(limits.header_seconds)
            shared.waiting[self] = None
            if len(self.connections) > shared.most:
                shared.make_room()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._follow()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._follow()

        def connection_lost(self, exc: Exception | None) -> None:
            shared.waiting.pop(self, None)
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def shutdown(self) -> None:
            super().shutdown()
            if self.cycle is None or self.cycle.response_started:
                self._expire_after(limits.last_seconds)  # for what is still to be sent

        def send_400_response(self, msg: str) -> None:
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                ACCESS.info("%s:%d - not HTTP 400", *(self.client or ("", 0)))
                self._send(Problem(400, "this is no HTTP/1.1, or its head is too large, or its chunks too many"))
            self.transport.close()  # where an answer is on its way already, it is the last one
            if self.cycle is not None:
                self.cycle.disconnected = True  # or else a second answer may be tried

        def _send(self, problem: Problem) -> None:
            """Answer what is no request, and so never reaches the application."""
            response = problem.response()
            headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
            headers += [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
            head = h11.Response(status_code=problem.status, headers=headers, reason=STATUS_PHRASES[problem.status])
            for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")

        def _follow(self) -> None:
            """Start the clock of a new request, or of the wait for the next one."""
            busy_with = self.cycle if self.cycle is not None and not self.cycle.response_complete else None
            if busy_with is not self._answering:
                self._answering = busy_with
                shared.waiting.pop(self, None)
                if busy_with is None:
                    shared.waiting[self] = None
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
