"""The log of the service on stderr: a line for each request, and errors; clients cannot fill a disk with it cheaply.

Each line has the id of the request that caused it.
"""

import logging
from time import monotonic
from typing import Any

from cifar_edge.service.request_id import WithRequestId

ACCESS = logging.getLogger("cifar_edge.service.access")
"""Logs a line for each response."""

_TROUBLE = logging.getLogger("cifar_edge.service")


class Rarely:
    """A warning that clients can cause as often as they like, logged at most once in ``seconds``."""

    def __init__(self, text: str, seconds: float = 60.0) -> None:
        self._text, self._seconds = text, seconds
        self._silent_until = 0.0

    def say(self) -> None:
        """Log the warning, unless it was logged recently."""
        now = monotonic()
        if now >= self._silent_until:
            self._silent_until = now + self._seconds
            _TROUBLE.warning(self._text)


def log_config(quiet: bool) -> dict[str, Any]:
    """The argument of `logging.config.dictConfig`; ``quiet`` leaves out `ACCESS`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request": {"()": WithRequestId}},
        "formatters": {"line": {"format": "%(asctime)s %(request_id)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request"]}},
        "loggers": {
            "cifar_edge.service": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "cifar_edge.service.access": {"level": "WARNING" if quiet else "INFO"},
            # It warns about malformed requests and WebSockets.
            "uvicorn": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
            "asyncio": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            # It logs what clients send.
            "python_multipart": {"level": "CRITICAL", "propagate": False},
        },
    }
