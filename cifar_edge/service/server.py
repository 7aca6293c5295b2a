"""The process around the service: its socket, its log, its signals."""

import contextlib
import ipaddress
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn
from PIL import Image

from cifar_edge.errors import CifarEdgeError
from cifar_edge.runtime.quiet import silence_pillow
from cifar_edge.service.app import Service
from cifar_edge.service.connections import CLOSED_BEYOND, bounded_protocol
from cifar_edge.service.limits import Limits

_OTHER_FILES = 64
"""File descriptors for everything but connections."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at ``host``, an address or a name, and ``port``; 0 takes a free port.

    Raises:
        CifarEdgeError: there is no such address here, or the port is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
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


def loopback_names(listener: socket.socket) -> frozenset[str]:
    """The names in a Host header by which this machine calls itself."""
    return frozenset({"localhost", "127.0.0.1", "::1", listener.getsockname()[0]})


def url(listener: socket.socket) -> str:
    """The address of ``listener`` for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(service: Service, limits: Limits, listener: socket.socket, quiet: bool = False) -> int:
    """Answer requests until SIGINT or SIGTERM, then those that are accepted; how many there were.

    It is meant to be all that the process does: it sets signal handlers, the log, Pillow's limit of pixels, and keeps
    Pillow from writing on stderr.

    Args:
        service: what answers.
        limits: its bounds.
        listener: from `listen`.
        quiet: log no requests, only what goes wrong.
    """
    silence_pillow()
    Image.MAX_IMAGE_PIXELS = limits.pixels // 2  # Pillow warns from here on, and refuses twice as many
    _allow_files(CLOSED_BEYOND * limits.connections + _OTHER_FILES)
    server = configured(service, limits, quiet)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn has its own handlers while it runs; afterwards it raises the signal again, which ends nothing here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    server.run(sockets=[listener])
    return server.server_state.total_requests


def configured(service: Service, limits: Limits, quiet: bool = False) -> uvicorn.Server:
    """The server that `run` runs; making it sets the log."""
    return uvicorn.Server(
        uvicorn.Config(
            service.app,
            http=bounded_protocol(limits, service.crowded),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=_log(quiet),
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=limits.shutdown_seconds,
        )
    )


def _allow_files(number: int) -> None:
    """Raise the soft limit of open files, which is often 1,024, to ``number`` or as far as the system lets us."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):  # where not even that is allowed, connections have to wait
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _log(quiet: bool) -> dict[str, Any]:
    """A line a request, as uvicorn words it (client, method, address, status), and errors; all on stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "uvicorn.access": {"level": "WARNING" if quiet else "INFO"},
            "asyncio": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            # It logs what clients send.
            "python_multipart": {"level": "CRITICAL", "propagate": False},
        },
    }
