"""Line charts in SVG, which stay sharp at every size and follow the colours of the page."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cifar_edge.report.html import Html, element, join

WIDTH, HEIGHT = 440, 268
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 14, 42
"""Margins with room for words in the largest size of the style sheet, that of narrow screens."""
_SMOOTH = 12
"""With more epochs, single points get no dots."""
SERIES = 6
"""Number of colours and dashes in the style sheet, which are used in turn."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart.

    Attributes:
        name: in the legend.
        parts: its pieces, each a list of points ``(x, y)``; between two pieces nothing is drawn.
        color: number of its colour, from 0.
    """

    name: str
    parts: Sequence[Sequence[tuple[float, float]]]
    color: int


def chart(
    title: str,
    about: str,
    lines: Sequence[Line],
    write: Callable[[float, float], str],
    marks: Sequence[tuple[float, str]] = (),
    *,
    falls: bool = False,
) -> Html:
    """A chart with its title and legend above it, so that no curve is covered.

    Args:
        title: what is drawn.
        about: the same in words, for those who do not see it.
        lines: over epochs, from 1.
        write: how a value is written at the axis, where the second number is the step between two of them.
        marks: epochs with a dotted line, and what it says.
        falls: whether the lines go down, so that there is room for words above them, not below.
    """
    points = [point for line in lines for part in line.parts for point in part]
    ticks = nice_ticks(min(y for _, y in points), max(y for _, y in points))
    low, high = ticks[0], ticks[-1]
    last = max(2.0, max(x for x, _ in points))

    def across(x: float) -> float:
        return _LEFT + (x - 1) / (last - 1) * (WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return HEIGHT - _BOTTOM - (y - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    grid = [_tick(tick, down(tick), write(tick, ticks[1] - ticks[0])) for tick in ticks]
    epochs = [_epoch(epoch, across(epoch)) for epoch in _epoch_ticks(int(last))]
    curves = [_curve(line, across, down) for line in lines]
    height = _TOP + 10 if falls else HEIGHT - _BOTTOM - 6
    notes = [_mark(across(x), height, text) for x, text in marks]
    axis = element("text", "epoch", x=(WIDTH + _LEFT - _RIGHT) / 2, y=HEIGHT - 4, class_="tick middle")
    drawing = element(
        "svg", *grid, *epochs, axis, *notes, *curves, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=about
    )
    return element("figure", element("figcaption", title), legend([(line.name, line.color) for line in lines]), drawing)


def legend(names: Sequence[tuple[str, int]]) -> Html:
    """The names of lines beside a piece of each; nothing for a single line."""
    if len(names) < 2:
        return Html("")
    items = [element("li", _swatch(color), name) for name, color in names]
    return element("ul", *items, class_="legend")


def _swatch(color: int) -> Html:
    piece = element("path", d="M1 6H27", class_=f"curve c{color % SERIES}")
    return element("svg", piece, viewBox="0 0 28 12", width=28, height=12, aria_hidden="true")


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values that span ``low`` to ``high``, some ``about`` of them; from 0 if those are the same."""
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = (min(0.0, low), max(0.0, high)) if high else (0.0, 1.0)
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, last + 1)]


def _epoch_ticks(last: int) -> list[int]:
    if last <= 8:
        return list(range(1, last + 1))
    step = round(nice_ticks(0, last)[1])  # 2.5 becomes 2
    return [1, *range(step, last + 1, step)]


def _tick(value: float, y: float, text: str) -> Html:
    line = element("path", d=f"M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}", class_="grid")
    return join([line, element("text", text, x=_LEFT - 6, y=f"{y + 4:.1f}", class_="tick end")])


def _epoch(epoch: int, x: float) -> Html:
    return element("text", str(epoch), x=f"{x:.1f}", y=HEIGHT - _BOTTOM + 17, class_="tick middle")


def _mark(x: float, y: float, text: str) -> Html:
    line = element("path", d=f"M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}", class_="mark")
    # Near the right edge the words stand on the left of their line.
    side = "end" if x > 0.75 * WIDTH else ""
    place = x - 5 if side else x + 5
    return join([line, element("text", text, x=f"{place:.1f}", y=y, class_=f"tick {side}".strip())])


def _curve(line: Line, across: Callable[[float], float], down: Callable[[float], float]) -> Html:
    drawn = []
    for part in line.parts:
        places = [f"{across(x):.1f} {down(y):.1f}" for x, y in part]
        drawn.append(element("path", d=f"M{'L'.join(places)}", class_=f"curve c{line.color % SERIES}"))
        if len(part) <= _SMOOTH:
            drawn += [
                element("circle", cx=f"{across(x):.1f}", cy=f"{down(y):.1f}", r=3, class_=f"dot c{line.color % SERIES}")
                for x, y in part
            ]
    return join(drawn)
