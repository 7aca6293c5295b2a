"""Predictions as text: plain lines in a pipe, with bars and colours on a terminal."""

import os
import sys
from typing import TYPE_CHECKING

import click

from cifar_edge.columns import padded, width
from cifar_edge.runtime.results import UNKNOWN

if TYPE_CHECKING:
    from cifar_edge.runtime.results import Prediction

_WIDEST_LABEL = 40
_BAR_WIDTH = 10
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SURE, _UNSURE = 0.8, 0.5


def lines(name: str, answer: "Prediction", top: int, threshold: float | None, rich: bool) -> str:
    """Label, score and name of the input on a line, and further classes below it. The name may be long, and is last.

    If the answer is unknown by ``threshold`` (see `Prediction.is_unknown`), the first line says so, with the best guess
    in brackets, and with ``top`` > 1 all classes follow it.
    """
    from cifar_edge.messages import display_name

    indent = 2 if top > 1 else 0
    columns = min(max(width(display_name(label)) for label in answer.labels), _WIDEST_LABEL) + indent
    best, *further = answer.top(top)
    if answer.is_unknown(threshold):
        unknown = f"{UNKNOWN} ({display_name(best.label)}?)"
        further = [best, *further] if top > 1 else []
        columns = max(columns, width(unknown)) if further else columns
        first = _line(unknown, columns, best.score, rich, False)
    else:
        first = _line(display_name(best.label), columns, best.score, rich, True)
    below = [_line(" " * indent + display_name(each.label), columns, each.score, rich, False) for each in further]
    return "\n".join([f"{first}  {display_name(name)}", *below])


def _line(label: str, columns: int, score: float, rich: bool, best: bool) -> str:
    text = f"{padded(label, columns)}  {score:6.1%}"
    if not rich:
        return text
    colour = "green" if score >= _SURE else "yellow" if score >= _UNSURE else "red"
    bar = _bar(score)
    if not _coloured():
        return f"{text}  {bar}"
    if not best:
        return click.style(f"{text}  {bar}", dim=True)
    return f"{click.style(text, fg=colour, bold=True)}  {click.style(bar, fg=colour)}"


def _bar(score: float) -> str:
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        return ("#" * round(score * _BAR_WIDTH)).ljust(_BAR_WIDTH, ".")
    full, part = divmod(round(score * _BAR_WIDTH * 8), 8)
    return (_EIGHTHS[8] * full + _EIGHTHS[part] * (full < _BAR_WIDTH)).ljust(_BAR_WIDTH)


def _coloured() -> bool:
    """Whether this terminal shows colours, and the user has not turned them off (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
