"""How figures are written in a report: the same way everywhere."""

from cifar_edge.measure.metrics import Estimate

NONE = "\N{EN DASH}"
"""Stands where there is no figure."""
_MINUS = "\N{MINUS SIGN}"


def percent(share: float | None, digits: int = 2) -> str:
    """A share of 1 as ``89.71%``."""
    return NONE if share is None else f"{100 * share:.{digits}f}%"


def interval(estimate: Estimate, digits: int = 2) -> str:
    """The 95 % interval of an accuracy, as ``89.09 to 90.29%``."""
    return f"{100 * estimate.low:.{digits}f} to {100 * estimate.high:.{digits}f}%"


def points(share: float, digits: int = 2) -> str:
    """A difference of two shares in percentage points, with its sign."""
    shown = f"{100 * share:+.{digits}f}"
    return shown.lstrip("+-") if float(shown) == 0 else shown.replace("-", _MINUS)


def difference(estimate: Estimate, digits: int = 2) -> str:
    """A difference in percentage points with its 95 % interval, as ``+0.30 (-0.10 to +0.70)``."""
    low, high = points(estimate.low, digits), points(estimate.high, digits)
    return f"{points(estimate.value, digits)} ({low} to {high})"


def count(number: int | None) -> str:
    """A whole number with commas."""
    return NONE if number is None else f"{number:,}"


def images(number: int) -> str:
    """A number of images in words."""
    return f"{number:,} image{'' if number == 1 else 's'}"


def millions(number: int | None) -> str:
    """Millions, as ``6.92``."""
    return NONE if number is None else f"{number / 1e6:.2f}"


def kilobytes(number: float | None) -> str:
    """Bytes as kB of 1,000 bytes."""
    return NONE if number is None else f"{number / 1000:.1f} kB"


def latency(seconds: float | None) -> str:
    """A latency in microseconds, or from 10 ms on in milliseconds."""
    if seconds is None:
        return NONE
    return f"{seconds * 1e6:,.1f} µs" if seconds < 0.01 else f"{seconds * 1e3:,.1f} ms"


def rate(images: float | None) -> str:
    """Images a second."""
    return NONE if images is None else f"{images:,.0f}/s"


def duration(seconds: float | None) -> str:
    """How long a training took: ``48 s``, ``12 min``, ``2 h 32 min``."""
    if seconds is None:
        return NONE
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
