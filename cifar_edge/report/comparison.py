"""What several runs differ in: classes, and keys of the recipe."""

from collections.abc import Sequence

import numpy as np

from cifar_edge.measure.metrics import accuracy_difference
from cifar_edge.report import figures
from cifar_edge.report.html import Html, code, element, table
from cifar_edge.report.overview import comparable
from cifar_edge.report.repeat import shown
from cifar_edge.report.subject import Subject, Tested


def class_differences(subjects: Sequence[Subject]) -> Html:
    """The recall of each class by each run, and the paired differences from the first."""
    first = subjects[0].tested
    others = [(each.name, each.tested) for each in subjects[1:] if comparable(subjects[0], each)]
    if first is None or not others:
        return element("p", "The runs were not tested on the same images.", class_="missing")
    heads = ["class", "test images", f"recall of {subjects[0].name}"]
    for name, _ in others:
        heads += [f"recall of {name}", "difference, points"]
    rows = [_class(first, [each for _, each in others if each], number) for number in range(len(first.dataset.labels))]
    return table("Classes side by side; paired differences with 95 % intervals", heads, rows, class_="numbers")


def _class(first: Tested, others: Sequence[Tested], number: int) -> list[str]:
    of_class = first.dataset.test_labels == number
    images = int(np.count_nonzero(of_class))
    cells = [first.dataset.labels[number], f"{images:,}"]
    if not images:
        return cells + [figures.NONE] * (1 + 2 * len(others))
    cells.append(figures.percent(first.right[of_class].mean(), 1))
    for other in others:
        change = accuracy_difference(first.right[of_class], other.right[of_class])
        cells += [figures.percent(other.right[of_class].mean(), 1), figures.difference(change, 1)]
    return cells


def recipe_differences(subjects: Sequence[Subject]) -> Html:
    """The keys in which the recipes differ."""
    recipes = [each.recipe for each in subjects]
    settings = [recipe.settings for recipe in recipes if recipe is not None]
    if len(settings) < len(subjects):
        lacking = ", ".join(each.name for each in subjects if each.recipe is None)
        return element("p", f"{lacking} has no recipe.toml to compare.", class_="missing")
    differing = [key for key in settings[0] if any(each[key] != settings[0][key] for each in settings)]
    if not differing:
        return element("p", "All recipes are the same.")
    rows = [[code(key), *(shown(each[key]) for each in settings)] for key in differing]
    return table("Keys of the recipe that differ", ["key", *(each.name for each in subjects)], rows, class_="sides")
