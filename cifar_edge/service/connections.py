"""Limits connections in time and number, which uvicorn does not: clients may be slow on purpose."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from cifar_edge.service.access import SECURITY_HEADERS
from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.log import ACCESS, Rarely
from cifar_edge.service.problems import Problem

MOST_CHUNKS = 4096
"""Most chunks of a body. Each is an event of h11, and takes as long as 16 kB in one piece."""


class Connections:
    """The shared state of the connections of one service.

    Attributes:
        most: limit on their number.
        waiting: connections without a request in progress, the one that has waited longest first.
        stopping: whether the service is stopping; new connections are closed then.
    """

    def __init__(self, limits: ServiceLimits) -> None:
        self.most = limits.connections
        self.waiting: dict[H11Protocol, None] = {}
        self.stopping = False
        self._full = Rarely(f"all {self.most:,} connections are taken: those that wait longest are closed")

    def make_room(self) -> None:
        """Close the connection that has waited longest; the newest one if all others have a request in progress."""
        self._full.say()
        oldest = next(iter(self.waiting))
        del self.waiting[oldest]
        oldest.transport.abort()


class _Strict(h11.Connection):
    """Refuses bodies that h11 accepts: of very many chunks, or with both a length and chunks."""

    _chunks = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:  # a proxy may have used the other one
                raise h11.RemoteProtocolError("a length and chunks")
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            if self._chunks > MOST_CHUNKS:
                raise h11.RemoteProtocolError("too many chunks")
        return event


def bounded_protocol(limits: ServiceLimits, shared: Connections) -> type[H11Protocol]:
    """The HTTP/1.1 protocol of uvicorn with limits on time and on the number of connections.

    It is based on h11, which limits the bytes of a request's head, of trailers and of pipelined requests. The protocol
    based on httptools is faster, but has none of these limits.

    Args:
        limits: the limits.
        shared: the state that the connections share.
    """

    class BoundedProtocol(H11Protocol):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.conn = _Strict(h11.SERVER)

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its base class
            super().connection_made(transport)
            self._answering: object = None
            self._timer: asyncio.TimerHandle | None = None
            if shared.stopping:  # accepted before the stop, and so not among those that uvicorn shuts down
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
                self._expire_after(limits.last_seconds)  # time to send the rest of the response

        def send_400_response(self, msg: str) -> None:
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                ACCESS.info("%s:%d - not HTTP 400", *(self.client or ("", 0)))
                self._send(Problem(400, "this is not HTTP/1.1, or its head is too large, or it has too many chunks"))
            self.transport.close()  # a response that is being sent is the last one
            if self.cycle is not None:
                self.cycle.disconnected = True  # otherwise the application may try to send a second response

        def _send(self, problem: Problem) -> None:
            """Send a response to a malformed request, which does not reach the application."""
            response = problem.response()
            headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
            headers += [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
            head = h11.Response(status_code=problem.status, headers=headers, reason=STATUS_PHRASES[problem.status])
            for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")

        def _follow(self) -> None:
            """Restart the timer when a request begins or ends."""
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
                self.transport.close()  # data in the buffer is still sent
                self._expire_after(limits.header_seconds)

    return BoundedProtocol
