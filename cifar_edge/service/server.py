"""Runs the service in a process of its own: its socket, log and signals."""

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn

from cifar_edge.errors import CifarEdgeError
from cifar_edge.runtime.quiet import silence_pillow
from cifar_edge.service.app import Service
from cifar_edge.service.connections import Connections, bounded_protocol
from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.log import Rarely, log_config

_QUEUE = 2048
"""Connections that the system queues until the service accepts them."""
_UNREAD = 128 << 10
"""Bytes of a response that the system buffers for a client; Linux takes twice as many."""
_AT_ONCE = 16
"""Connections that asyncio accepts before it handles others."""
_OTHER_FILES = 64 + 4 * _AT_ONCE
"""File descriptors for everything but connections, and for connections that are accepted but not yet counted."""
_FEWEST = 16
"""A service with fewer connections is useless."""
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host``, an address or a name, and ``port``; 0 takes a free port.

    Raises:
        CifarEdgeError: this machine does not have the address, or the port is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_QUEUE)
        # Inherited by connections. Otherwise the system buffers megabytes of the page for each client that is slow.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD)
        # A socket made from the descriptor knows that it is TCP; otherwise asyncio sets no TCP_NODELAY: 40 ms more.
        return socket.socket(fileno=listener.detach())
    except socket.gaierror as error:
        reason = error.strerror or "no such name"
    except UnicodeError:
        reason = "not a host name"
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    raise CifarEdgeError(f"cannot listen on {host!r}, port {port}: {reason.lower()}; give another --host or --port")


def is_loopback(listener: socket.socket) -> bool:
    """Whether only programs on this machine can reach ``listener``."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def has_any_address(listener: socket.socket) -> bool:
    """Whether ``listener`` listens on every address of this machine."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_unspecified


def own_names(listener: socket.socket, host: str) -> frozenset[str]:
    """The Host headers of a service that listens on ``host``: that, its address, and if local the loopback names."""
    names = {host.lower(), listener.getsockname()[0]}
    if is_loopback(listener) or has_any_address(listener):
        names |= {"localhost", "127.0.0.1", "::1"}
    return frozenset(names)


def url(listener: socket.socket) -> str:
    """The URL of ``listener``."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(service: Service, limits: ServiceLimits, listener: socket.socket, quiet: bool = False) -> int:
    """Serve requests until SIGINT or SIGTERM, then finish those that were accepted.

    The process should do nothing else: this sets signal handlers and the log, and keeps Pillow from writing to stderr.

    Args:
        service: the application.
        limits: its limits.
        listener: from `listen`.
        quiet: log errors only, not requests.

    Returns:
        The number of requests.
    """
    silence_pillow()
    server = configured(service, limits, quiet)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn has its own handlers while it runs. Afterwards it raises the signal again, which is harmless here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    server.run(sockets=[listener])
    return server.server_state.total_requests


def configured(service: Service, limits: ServiceLimits, quiet: bool = False) -> uvicorn.Server:
    """The server that `run` runs; creating it configures the log."""
    connections = Connections(limits)
    config = uvicorn.Config(
        service.app,
        http=bounded_protocol(limits, connections),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=log_config(quiet),
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_AT_ONCE,
        timeout_graceful_shutdown=limits.shutdown_seconds,
    )
    return _Server(config, connections)


def fitted(limits: ServiceLimits) -> ServiceLimits:
    """``limits`` with only as many connections as this process may open files. Raises the soft limit if necessary.

    Raises:
        CifarEdgeError: too few connections remain.
    """
    files = _allow_files(limits.connections + _OTHER_FILES)
    connections = min(limits.connections, files - _OTHER_FILES)
    if connections < _FEWEST:
        raise CifarEdgeError(
            f"this process may open only {files} files, too few to serve; allow {_FEWEST + _OTHER_FILES} (ulimit -n)"
        )
    return replace(limits, connections=connections, requests=min(limits.requests, connections // 2))


class _Server(uvicorn.Server):
    """A uvicorn server that accepts a few connections at a time, and closes new ones while it stops."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_logged_rarely(self._connections))
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_QUEUE)  # asyncio has made the queue as short as `_AT_ONCE`

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._connections.stopping = True
        stopped = asyncio.create_task(super().shutdown(sockets))
        while not (stopped.done() or self.force_exit):
            await asyncio.wait([stopped], timeout=0.1)
        if self.force_exit:
            # uvicorn still waits for the listeners; from Python 3.12 on they wait for their connections, forced or not.
            for connection in list(self.server_state.connections):
                connection.transport.abort()
        await stopped


def _logged_rarely(connections: Connections) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """An exception handler for asyncio, which logs a traceback except for known errors."""
    out_of_files = Rarely("no more connections can be accepted: the system has no files or memory left")

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT_OF_FILES:
            out_of_files.say()
        elif not (connections.stopping and isinstance(error, ValueError)):
            # A ValueError while stopping: asyncio tries to accept again a second later, on a socket that is closed.
            loop.default_exception_handler(context)

    return handle


def _allow_files(number: int) -> int:
    """Raise the soft limit of open files, often 1,024, to ``number`` or as far as the system allows.

    Returns:
        ``number``, or the limit if that is less.
    """
    if sys.platform == "win32":
        return number
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # otherwise the soft limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return number if soft == resource.RLIM_INFINITY else min(number, soft)
