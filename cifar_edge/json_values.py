"""Checks of JSON values from outside. Each function returns the value, or raises ValueError if it is another kind."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

_MOST = 10**9


def count(value: object, most: int = _MOST) -> int:
    """A whole number from 0 to ``most``."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{brief(value)} is not a whole number from 0 to {most:,}")
    return value


def number(value: object, low: float = 0.0, high: float = sys.float_info.max) -> float:
    """A finite number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{brief(value)} is not a number from {low:g} to {high:g}")
    return float(value)


def text(value: object, among: Sequence[str] = ()) -> str:
    """A string; one of ``among`` unless that is empty."""
    if not isinstance(value, str) or (among and value not in among):
        raise ValueError(f"{brief(value)} is not {' or '.join(among) or 'a string'}")
    return value


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"{brief(value)} is not an object")
    return value


def brief(value: object) -> str:
    """The value in a short form, for messages."""
    return repr(value)[:40] if not isinstance(value, int) else "a number" if abs(value) > _MOST else str(value)
