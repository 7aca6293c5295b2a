"""The sections of the answers on test images: confusion matrix and classes."""

import numpy as np
import numpy.typing as npt

from cifar_edge.measure.accuracy import Evaluation
from cifar_edge.measure.metrics import accuracy
from cifar_edge.report import figures
from cifar_edge.report.html import Html, element, join, table
from cifar_edge.report.shades import EDGES, shade_class
from cifar_edge.training.drawing import short

_LEGIBLE_CLASSES = 24
"""With more classes, the confusion matrix is drawn without numbers."""
_CONFUSIONS = 10
_CELL = 8
"""Side of a cell without a number, in pixels."""


def confusion(evaluation: Evaluation, title: str) -> Html:
    """The confusion matrix, each cell shaded by its share of its row, and the most frequent confusions."""
    matrix = evaluation.confusion
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shown = _numbers if len(evaluation.labels) <= _LEGIBLE_CLASSES else _drawing
    return join([_legend(), shown(evaluation, shares, title), _most_frequent(evaluation, shares)])


def _legend() -> Html:
    texts = [f"under {EDGES[0]:.1%}", *(f"from {edge:.1%}".replace(".0%", "%") for edge in EDGES)]
    middles = [0.0, *EDGES]
    swatches = [
        element("li", text, class_=shade_class(middle, right=False))
        for text, middle in zip(texts, middles, strict=True)
    ]
    return element(
        "div",
        element(
            "p", "Rows are true classes. A cell is shaded by its share of its row, green where the answer is right:"
        ),
        element("ul", *swatches, class_="steps"),
        class_="quiet",
    )


def _numbers(evaluation: Evaluation, shares: npt.NDArray[np.float64], title: str) -> Html:
    rows = []
    for row, label in enumerate(evaluation.labels):
        counts = evaluation.confusion[row].tolist()
        cells = [
            element("td", f"{number:,}", class_=shade_class(shares[row, column], row == column))
            for column, number in enumerate(counts)
        ]
        rows.append([label, *cells, figures.percent(_or_none(evaluation.recall[row]), 1)])
    heads = ["true class", *evaluation.labels, "recall"]
    return table(f"Confusion matrix of {title}: predicted classes in columns", heads, rows, class_="confusion")


def _drawing(evaluation: Evaluation, shares: npt.NDArray[np.float64], title: str) -> Html:
    """The matrix of many classes as a picture; its numbers are in the tables beside it."""
    classes = len(evaluation.labels)
    cells = [
        element(
            "rect",
            element(
                "title", f"{evaluation.labels[row]} taken for {evaluation.labels[column]}: {shares[row, column]:.1%}"
            ),
            x=column * _CELL,
            y=row * _CELL,
            width=_CELL,
            height=_CELL,
            class_=shade_class(shares[row, column], bool(row == column)),
        )
        for row, column in np.argwhere(shares > 0).tolist()
    ]
    about = (
        f"Confusion matrix of {title}, {classes} classes, true classes in rows, predicted classes in columns, in the "
        "order of the table of classes"
    )
    side = classes * _CELL
    svg = element("svg", *cells, viewBox=f"0 0 {side} {side}", role="img", aria_label=about, class_="heat")
    return element("figure", element("figcaption", about), svg)


def _most_frequent(evaluation: Evaluation, shares: npt.NDArray[np.float64]) -> Html:
    wrong = evaluation.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [(int(row), int(column)) for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    items = [
        element(
            "li",
            element("strong", evaluation.labels[row]),
            " taken for ",
            element("strong", evaluation.labels[column]),
            f": {figures.images(int(wrong[row, column]))}, {figures.percent(shares[row, column], 1)} of the class",
        )
        for row, column in pairs
        if wrong[row, column]
    ]
    if not items:
        return element("p", "No test image is in a wrong class.")
    return join([element("h3", "Most frequent confusions"), element("ol", *items, class_="confusions")])


def classes(evaluation: Evaluation, title: str) -> Html:
    """For each class its recall, of its images those found, and its precision, of those put into it the right ones."""
    matrix = evaluation.confusion
    said = matrix.sum(axis=0)
    rows: list[list[str]] = []
    for number, label in enumerate(evaluation.labels):
        images, right = int(matrix[number].sum()), int(matrix[number, number])
        found = accuracy(right, images) if images else None
        rows.append(
            [
                label,
                f"{images:,}",
                element(
                    "td",
                    _bar(found.value) if found else "",
                    figures.percent(found.value, 1) if found else "\N{EN DASH}",
                ),
                figures.interval(found, 1) if found else "\N{EN DASH}",
                figures.percent(right / said[number], 1) if said[number] else "\N{EN DASH}",
                _taken_for(evaluation, number),
            ]
        )
    heads = ["class", "test images", "recall", "95 % interval", "precision", "most often taken for"]
    return table(f"Classes of {title}", heads, rows, class_="numbers words-last")


def _bar(share: float) -> Html:
    return element("span", class_="bar", style=f"--share:{share:.3f}", aria_hidden="true")


def _taken_for(evaluation: Evaluation, number: int) -> str:
    row = evaluation.confusion[number].copy()
    row[number] = 0
    worst = int(row.argmax())
    return f"{short(evaluation.labels[worst])} ({row[worst]:,})" if row[worst] else "\N{EN DASH}"


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
