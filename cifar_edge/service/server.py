"""The process around the service: its socket, its log, its signals."""

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
"""Connections that the system keeps until the service accepts them."""
_UNREAD = 128 << 10
"""Bytes of an answer that the system keeps for a client that does not read them; Linux takes twice as many."""
_AT_ONCE = 16
"""Connections that asyncio accepts before it looks after those it has."""
_OTHER_FILES = 64 + 4 * _AT_ONCE
"""File descriptors for everything but connections, and for those that are accepted and not yet counted."""
_FEWEST = 16
"""With fewer connections a service is of no use."""
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at ``host``, an address or a name, and ``port``; 0 takes a free port.

    Raises:
        CifarEdgeError: there is no such address here, or the port is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_QUEUE)
        # For each connection: or else the system takes megabytes of the page for everyone who does not read them.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD)
        # Made anew of its number it knows that it is TCP, without which asyncio sets no TCP_NODELAY: 40 ms an answer.
        return socket.socket(fileno=listener.detach())
    except socket.gaierror as error:
        reason = error.strerror or "no such name"
    except UnicodeError:
        reason = "no name of a host"
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    raise CifarEdgeError(f"cannot listen at {host!r}, port {port}: {reason.lower()}; give another")


def is_loopback(listener: socket.socket) -> bool:
    """Whether only programs of this machine can reach ``listener``."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def has_any_address(listener: socket.socket) -> bool:
    """Whether ``listener`` listens at every address of this machine."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_unspecified


def own_names(listener: socket.socket, host: str) -> frozenset[str]:
    """What the Host header may be where ``host`` was given to listen at: that, and what every machine calls itself."""
    names = {host.lower(), listener.getsockname()[0]}
    if is_loopback(listener) or has_any_address(listener):
        names |= {"localhost", "127.0.0.1", "::1"}
    return frozenset(names)


def url(listener: socket.socket) -> str:
    """The address of ``listener`` for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(service: Service, limits: ServiceLimits, listener: socket.socket, quiet: bool = False) -> int:
    """Answer requests until SIGINT or SIGTERM, then those that are accepted; how many there were.

    It is meant to be all that the process does: it sets signal handlers, the log, and keeps Pillow from writing on
    stderr.

    Args:
        service: what answers.
        limits: its bounds.
        listener: from `listen`.
        quiet: log no requests, only what goes wrong.
    """
    silence_pillow()
    server = configured(service, limits, quiet)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn has its own handlers while it runs; afterwards it raises the signal again, which ends nothing here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    server.run(sockets=[listener])
    return server.server_state.total_requests


def configured(service: Service, limits: ServiceLimits, quiet: bool = False) -> uvicorn.Server:
    """The server that `run` runs; making it sets the log."""
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
    """``limits`` with no more connections than this process may open files; the soft limit is raised as far as needed.

    Raises:
        CifarEdgeError: that leaves too few.
    """
    files = _allow_files(limits.connections + _OTHER_FILES)
    connections = min(limits.connections, files - _OTHER_FILES)
    if connections < _FEWEST:
        raise CifarEdgeError(
            f"a process may open only {files} files here, too few to serve; allow {_FEWEST + _OTHER_FILES} (ulimit -n)"
        )
    return replace(limits, connections=connections, requests=min(limits.requests, connections // 2))


class _Server(uvicorn.Server):
    """uvicorn's, which accepts a few connections at a time, and none that begins while it stops."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_told_rarely(self._connections))
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_QUEUE)  # asyncio has made the queue as short as what it accepts at once

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._connections.stopping = True
        await super().shutdown(sockets)


def _told_rarely(connections: Connections) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """What asyncio calls with an error that nobody else sees: a traceback, unless all there is to say is known."""
    out_of_files = Rarely("no more connections can be accepted: the system has no files or memory left for them")

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT_OF_FILES:
            out_of_files.say()
        elif not (connections.stopping and isinstance(error, ValueError)):
            # That is asyncio, which tries to accept again a second later, at a socket that is closed by now.
            loop.default_exception_handler(context)

    return handle


def _allow_files(number: int) -> int:
    """Raise the soft limit of open files, which is often 1,024, to ``number`` or as far as the system lets us.

    Returns:
        ``number``, or the limit where that is less.
    """
    if sys.platform == "win32":
        return number
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # where not even that is allowed, the soft limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return number if soft == resource.RLIM_INFINITY else min(number, soft)
