"""The section of a recipe: what was trained, on what, and the commands that repeat it."""

import base64
import shlex
from collections.abc import Sequence
from typing import Any

from cifar_edge import __version__
from cifar_edge.errors import RecipeError
from cifar_edge.models.registry import default_recipe
from cifar_edge.report import figures
from cifar_edge.report.html import Html, code, element, join, missing, table
from cifar_edge.report.subject import Subject
from cifar_edge.runs.recipe import Recipe


def repeat(subject: Subject) -> Html:
    """Recipe, data, machine and commands of one run."""
    recipe = subject.recipe
    if recipe is None:
        return join(
            [missing(f"{subject.name} has no recipe.toml.", "cifar-edge train", " writes one."), _facts(subject)]
        )
    toml = recipe.to_toml()
    saved = base64.b64encode(toml.encode()).decode()
    link = element("a", "recipe.toml", href=f"data:text/plain;charset=utf-8;base64,{saved}", download="recipe.toml")
    lines = [
        f"cifar-edge train --recipe recipe.toml{_data(subject)}",
        "cifar-edge export --quantize",
        "cifar-edge report",
    ]
    targets = [] if subject.exported is None else [each.name for each in subject.exported.targets]
    lines[1] += "".join(f" --target {name}" for name in targets)
    return join(
        [
            element("p", "Save ", link, ", then:"),
            element("pre", element("code", "\n".join(lines))),
            *_needed(recipe),
            _changes(recipe),
            element(
                "details",
                element("summary", "The whole recipe"),
                element("pre", element("code", toml)),
            ),
            _facts(subject),
        ]
    )


def _data(subject: Subject) -> str:
    data = subject.summary.data
    if data is None or (data.folder is None and data.name == "cifar10"):
        return ""
    if data.folder is None:
        return " --data sample"
    holdout = "" if data.holdout is None else f" --holdout {data.holdout:g}"
    return f" --data {shlex.quote(data.folder)}{holdout}"


def _needed(recipe: Recipe) -> list[Html]:
    """The other runs that the training needs."""
    lines = []
    if recipe.init:
        lines.append(element("p", "It begins with the network of ", code(recipe.init), "."))
    if recipe.teachers:
        teachers = join([code(name) for name in recipe.teachers], " and ")
        lines.append(element("p", "It learns from ", teachers, f", which {_has(recipe.teachers)} to be there."))
    return lines


def _has(things: Sequence[object]) -> str:
    return "has" if len(things) == 1 else "have"


def _changes(recipe: Recipe) -> Html:
    """The keys that are not at the default of the network."""
    try:
        usual = default_recipe(recipe.model).settings
    except RecipeError:  # a network of an earlier version
        usual = Recipe().settings
    changed = {key: value for key, value in recipe.settings.items() if value != usual[key]}
    if not changed:
        return element("p", f"The recipe is the default one of {recipe.model}.")
    rows = [[code(key), shown(value), shown(usual[key])] for key, value in changed.items()]
    return table(f"What differs from the default recipe of {recipe.model}", ["key", "here", "default"], rows)


def shown(value: Any) -> str:
    """A value of a recipe for people to read."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | list | tuple):
        return (value if isinstance(value, str) else ", ".join(map(str, value))) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _facts(subject: Subject) -> Html:
    summary = subject.summary
    data, folder = summary.data, None
    if data is not None:
        folder = data.folder or data.source
    versions = ", ".join(f"{name} {number}" for name, number in (summary.versions or {}).items())
    threads = "" if summary.threads is None else f", {summary.threads} thread{'s' if summary.threads != 1 else ''}"
    tested = data.sha256.test_images if data is not None and data.sha256 else None
    facts: list[tuple[str, str | None]] = [
        ("data", None if data is None else data.name),
        ("from", folder),
        ("training images", None if summary.train_images is None else f"{summary.train_images:,}"),
        ("validation images", None if not summary.holdout_images else f"{summary.holdout_images:,}"),
        ("test images", None if summary.test_images is None else f"{summary.test_images:,}"),
        ("SHA-256 of the test images", None if tested is None else element("small", code(tested))),
        ("seed", None if summary.seed is None else str(summary.seed)),
        ("began", None if summary.created is None else f"{summary.created:%Y-%m-%d %H:%M} UTC"),
        (
            "took",
            None if summary.seconds is None else f"{figures.duration(summary.seconds)} on {summary.device}{threads}",
        ),
        ("with", versions or None),
        ("report by", f"cifar-edge {__version__}"),
    ]
    return definitions([(term, text) for term, text in facts if text])


def definitions(pairs: Sequence[tuple[str, str]]) -> Html:
    """Terms and what they are."""
    items = [element("div", element("dt", term), element("dd", text)) for term, text in pairs]
    return element("dl", *items, class_="facts")
