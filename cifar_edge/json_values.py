"""Values of JSON that others wrote, checked one by one. Each function raises ValueError for another kind of value."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

_MOST = 10**9


def count(value: object, most: int = _MOST) -> int:
    """A whole number, 0 to ``most``, a thousand million if nothing else is said."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{brief(value)} counts nothing")
    return value


def number(value: object, low: float = 0.0, high: float = sys.float_info.max) -> float:
    """A number, at least ``low`` and at most ``high``; so it is finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{brief(value)} is no number from {low:g} to {high:g}")
    return float(value)


def text(value: object, among: Sequence[str] = ()) -> str:
    """A text; one of ``among`` unless that is empty."""
    if not isinstance(value, str) or (among and value not in among):
        raise ValueError(f"{brief(value)} is no {' or '.join(among) or 'text'}")
    return value


def mapping(value: object) -> Mapping[str, Any]:
    """An object of JSON."""
    if not isinstance(value, dict):
        raise ValueError(f"{brief(value)} is no object")
    return value


def brief(value: object) -> str:
    """The value as a message shows it."""
    return repr(value)[:40] if not isinstance(value, int) else "a number" if abs(value) > _MOST else str(value)
