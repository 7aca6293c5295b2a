"""The log of the service, on stderr: a line a request, and what goes wrong; nobody can fill a disk with it for free."""

import logging
from time import monotonic
from typing import Any

ACCESS = logging.getLogger("cifar_edge.service.access")
"""A line an answer."""

_TROUBLE = logging.getLogger("cifar_edge.service")


class Rarely:
    """Something to say that clients can bring about as often as they like: it is said at most once in ``seconds``."""

    def __init__(self, text: str, seconds: float = 60.0) -> None:
        self._text, self._seconds = text, seconds
        self._silent_until = 0.0

    def say(self) -> None:
        """Log it as a warning, unless that was done just now."""
        now = monotonic()
        if now >= self._silent_until:
            self._silent_until = now + self._seconds
            _TROUBLE.warning(self._text)


def log_config(quiet: bool) -> dict[str, Any]:
    """For `logging.config.dictConfig`; ``quiet`` leaves out `ACCESS`."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "cifar_edge.service": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            "cifar_edge.service.access": {"level": "WARNING" if quiet else "INFO"},
            # Its warnings are of requests that are no HTTP, or ask for WebSockets.
            "uvicorn": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
            "asyncio": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
            # It logs what clients send.
            "python_multipart": {"level": "CRITICAL", "propagate": False},
        },
    }
