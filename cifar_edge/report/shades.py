"""Shades of the cells of a confusion matrix, with text that can be read on each of them, in light and in dark."""

from collections.abc import Mapping

EDGES = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75)
"""Shares of a row from which a cell is a step darker; finer where mistakes lie."""

Color = tuple[float, float, float]
"""Red, green and blue, from 0 to 255."""

_BLACK: Color = (0, 0, 0)
_WHITE: Color = (255, 255, 255)
THEMES: Mapping[str, Mapping[str, tuple[Color, Color]]] = {
    "light": {"r": ((255, 255, 255), (22, 101, 52)), "w": ((255, 255, 255), (173, 62, 10))},
    "dark": {"r": ((28, 31, 35), (120, 220, 150)), "w": ((28, 31, 35), (255, 160, 95))},
}
"""Theme -> kind of cell, right or wrong -> colours for the shares 0 and 1."""


def shade_class(share: float, right: bool) -> str:
    """The class, in the style sheet, of a cell with that share of its row."""
    return f"{'r' if right else 'w'}{sum(share >= edge for edge in EDGES)}"


def shades(theme: str) -> str:
    """The rules of the style sheet for all classes of cells."""
    rules = []
    for kind, (first, last) in THEMES[theme].items():
        for step in range(len(EDGES) + 1):
            ground = _between(first, last, (step / len(EDGES)) ** 0.85)
            text = _written(_readable_on(ground))
            rules.append(f".{kind}{step}{{--shade:{_written(ground)};background:var(--shade);color:{text}}}")
    return "".join(rules)


def contrast(one: Color, other: Color) -> float:
    """The contrast of two colours, from 1 to 21 (WCAG 2.2, relative luminance)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _readable_on(ground: Color) -> Color:
    return max((_BLACK, _WHITE), key=lambda color: contrast(color, ground))


def _luminance(color: Color) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _between(first: Color, last: Color, part: float) -> Color:
    red, green, blue = (a + (b - a) * part for a, b in zip(first, last, strict=True))
    return red, green, blue


def _written(color: Color) -> str:
    return "#" + "".join(f"{round(part):02x}" for part in color)
