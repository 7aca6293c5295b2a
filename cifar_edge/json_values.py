"""Values of JSON that others wrote, checked one by one. Each function raises ValueError for another kind of value."""

import sys
from collections.abc import Sequence

_MOST = 10**9


def count(value: object) -> int:
    """A whole number, 0 to a thousand million."""
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError(f"{_brief(value)} counts nothing")
    return value


def number(value: object, low: float = 0.0, high: float = sys.float_info.max) -> float:
    """A number, at least ``low`` and at most ``high``; so it is finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{_brief(value)} is no number from {low:g} to {high:g}")
    return float(value)


def text(value: object, among: Sequence[str] = ()) -> str:
    """A text; one of ``among`` unless that is empty."""
    if not isinstance(value, str) or (among and value not in among):
        raise ValueError(f"{_brief(value)} is no {' or '.join(among) or 'text'}")
    return value


def _brief(value: object) -> str:
    return repr(value)[:40] if not isinstance(value, int) else "a number" if abs(value) > _MOST else str(value)
