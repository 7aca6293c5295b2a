"""The id of a request, in its response and in every line of the log that it causes."""

import logging
import re
import secrets
from contextvars import ContextVar

HEADER = "X-Request-ID"

_GOOD = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CURRENT: ContextVar[str] = ContextVar("cifar_edge_request_id", default="-")


def begin(given: str | None) -> str:
    """The id of the request that this task answers from now on.

    Args:
        given: by the client or a proxy. It is taken if it is 1 to 64 letters, digits, ``.``, ``_`` or ``-``; else the
            id is drawn.
    """
    chosen = given if given is not None and _GOOD.fullmatch(given) else secrets.token_hex(8)
    _CURRENT.set(chosen)
    return chosen


class WithRequestId(logging.Filter):
    """Gives each record of the log the attribute ``request_id``, ``-`` where there is no request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _CURRENT.get()
        return True
