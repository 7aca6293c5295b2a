"""The parts of a report: HTML that cannot be broken out of, shades that can be read on, axes, figures."""

import re
from itertools import pairwise

import numpy as np
import pytest

from cifar_edge.measure.accuracy import evaluate
from cifar_edge.measure.metrics import Estimate
from cifar_edge.report import figures
from cifar_edge.report.answers import confusion
from cifar_edge.report.charts import Line, chart, nice_ticks
from cifar_edge.report.html import Html, element, join, table
from cifar_edge.report.shades import EDGES, THEMES, Color, contrast, shade_class, shades

HOSTILE = "<script>alert('x')</script>&\"\u202e"


def test_text_is_escaped_wherever_it_stands() -> None:
    for made in (
        element("p", HOSTILE),
        element("p", "", title=HOSTILE),
        join([HOSTILE, element("b", HOSTILE)]),
        table(HOSTILE, [HOSTILE], [[HOSTILE, HOSTILE]]),
    ):
        assert "<script" not in made
        assert "\u202e" not in made
        assert "&lt;script&gt;" in made
    assert element("p", Html("<br>")) == "<p><br></p>"


def test_attributes_and_void_elements() -> None:
    assert element("img", src="x", alt="", hidden=True, id=None, class_="a") == '<img src="x" alt="" hidden class="a">'
    assert element("p", "", aria_label="b") == '<p aria-label="b"></p>'


def test_a_row_of_a_table_begins_with_its_head() -> None:
    made = table("caption", ["a", "b"], [["c", "d"]])
    assert '<tr><th scope="row">c</th><td>d</td></tr>' in made
    assert 'role="region" aria-label="caption" tabindex="0"' in made


@pytest.mark.parametrize("theme", THEMES)
def test_the_text_of_every_shade_can_be_read(theme: str) -> None:
    rules = [rule for rule in shades(theme).split("}") if rule]
    assert len(rules) == 2 * (len(EDGES) + 1)
    for rule in rules:
        assert contrast(color(rule, "shade"), color(rule, ";color")) >= 4.5, rule


def color(rule: str, name: str) -> Color:
    digits = rule.split(f"{name}:#")[1]
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)


def test_shades_go_by_the_share_of_a_row() -> None:
    assert [shade_class(share, right=False) for share in (0, 0.004, 0.005, 0.1, 1)] == ["w0", "w0", "w1", "w4", "w7"]
    assert shade_class(1, right=True) == "r7"


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.97), (0, 7.08), (0.5, 0.5), (0, 0), (-3, 1e6), (0.3333, 0.3334)])
def test_ticks_are_round_and_span_the_values(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 9
    steps = {round((b - a) / (ticks[1] - ticks[0]), 6) for a, b in pairwise(ticks)}
    assert steps == {1.0}


def test_equal_values_have_an_axis_from_zero() -> None:
    """No share is above 100 %."""
    assert [nice_ticks(same, same)[:: len(nice_ticks(same, same)) - 1] for same in (0.0, 0.5, 1.0)] == [
        [0, 1],
        [0, 0.5],
        [0, 1],
    ]


@pytest.mark.parametrize(
    ("last", "numbers"),
    [(3, [1, 2, 3]), (12, [1, 2, 4, 6, 8, 10, 12]), (30, [1, 10, 20, 30]), (120, [1, 25, 50, 75, 100])],
)
def test_epochs_at_the_axis_are_evenly_spaced(last: int, numbers: list[int]) -> None:
    made = chart("Title", "in words", [Line("one", [[(1, 0.1), (last, 0.5)]], 0)], show)
    assert re.findall(r'class="tick middle">(\d+)<', made) == [str(number) for number in numbers]


def test_a_chart_has_its_legend_outside_and_its_words_in_it() -> None:
    lines = [Line("one", [[(1, 0.1), (2, 0.5)]], 0), Line("two", [[(1, 0.2)], [(2, 0.4)]], 1)]
    made = chart("Title", "in words", lines, show, [(1.5, "half")])
    assert made.index("two") < made.index('<svg viewBox="0 0 440')
    assert 'aria-label="in words"' in made
    assert "half" in made
    assert 'class="legend"' not in chart("Title", "in words", lines[:1], show)


def test_a_matrix_of_many_classes_is_drawn_and_its_confusions_are_listed() -> None:
    labels = tuple(f"class {number}" for number in range(30))
    truth = np.arange(300) % 30
    logits = np.eye(30, dtype=np.float32)[np.where(truth == 3, 4, truth)]
    made = confusion(evaluate(logits, truth, labels), "a run")
    assert made.count("<rect") == 30
    assert "class 3 taken for class 4: 100.0%" in made
    assert "<strong>class 3</strong> taken for <strong>class 4</strong>: 10 images, 100.0% of the class" in made
    assert "<table" not in made


def show(value: float, step: float) -> str:
    return f"{value:g}"


def test_figures() -> None:
    assert figures.percent(0.89712) == "89.71%"
    assert figures.difference(Estimate(-0.00251, -0.0082, 0.00321, 10)) == "\u22120.25 (\u22120.82 to +0.32)"
    assert figures.points(-0.00001) == "0.00"
    assert (figures.latency(3.4e-5), figures.latency(0.25)) == ("34.0 \u00b5s", "250.0 ms")
    assert [figures.duration(seconds) for seconds in (48, 700, 9128)] == ["48 s", "12 min", "2 h 32 min"]
    assert (figures.kilobytes(55520), figures.millions(6922880), figures.count(None)) == (
        "55.5 kB",
        "6.92",
        "\N{EN DASH}",
    )
