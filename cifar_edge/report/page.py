"""The page of a report: one HTML file without scripts, with everything that it shows inside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cifar_edge import __version__
from cifar_edge.report.answers import classes, confusion
from cifar_edge.report.comparison import class_differences, recipe_differences
from cifar_edge.report.curves import curves
from cifar_edge.report.devices import devices
from cifar_edge.report.html import Html, code, element, join, missing
from cifar_edge.report.left_out import left_out
from cifar_edge.report.mistakes import disagreements, mistakes
from cifar_edge.report.overview import comparable, comparison, overview
from cifar_edge.report.repeat import repeat
from cifar_edge.report.shades import shades
from cifar_edge.report.subject import Subject, Tested

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The page runs no script, and asks nobody for anything."""


@dataclass(frozen=True, slots=True)
class _Section:
    anchor: str
    title: str
    content: Html


def report_page(subjects: Sequence[Subject]) -> str:
    """The report of one run, or of several side by side, as the text of an HTML file.

    Args:
        subjects: at least one; several are compared with the first.
    """
    sections = _one(subjects[0]) if len(subjects) == 1 else _several(subjects)
    title = " and ".join(subject.name for subject in subjects)
    links = [element("li", element("a", each.title, href=f"#{each.anchor}")) for each in sections]
    body = element(
        "body",
        element("header", element("h1", _heading(subjects)), element("p", _subtitle(subjects))),
        element("nav", element("ul", *links), aria_label="Sections"),
        element("main", *map(_section, sections)),
        element(
            "footer", element("p", f"Written by cifar-edge {__version__}. This file needs no network and runs nothing.")
        ),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=generator()),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("title", f"{title}: report"),
        element("style", _style()),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def generator() -> str:
    """What the head of each report says of who wrote it, by which reports are known."""
    return f"cifar-edge report {__version__}"


def _heading(subjects: Sequence[Subject]) -> str:
    if len(subjects) == 1:
        return subjects[0].name
    return f"{len(subjects)} runs side by side"


def _subtitle(subjects: Sequence[Subject]) -> str:
    if len(subjects) > 1:
        return ", ".join(subject.name for subject in subjects)
    subject = subjects[0]
    data = subject.summary.data
    trained = "" if data is None else f", trained on {data.name}"
    folded = ", its norms folded" if subject.is_folded else ""
    return f"{subject.model}{trained}{folded}"


def _one(subject: Subject) -> list[_Section]:
    files = None if subject.tested is None else left_out(subject.tested.dataset)
    return [
        _Section("overview", "At a glance", overview(subject)),
        _Section("training", "Training", curves([subject])),
        _Section("confusion", "Confusion", _confusion(subject)),
        _Section("classes", "Classes", _answers(subject, lambda tested: classes(tested.evaluation, subject.name))),
        _Section("mistakes", "Wrong answers", join([_whose_answers(subject), _answers(subject, mistakes)])),
        *([] if files is None else [_Section("left-out", "Files left out", files)]),
        _Section("devices", "Files and devices", devices(subject)),
        _Section("recipe", "Recipe, and how to repeat it", repeat(subject)),
    ]


def _several(subjects: Sequence[Subject]) -> list[_Section]:
    matrices = [join([element("h3", each.name), _confusion(each)]) for each in subjects]
    exports = [join([element("h3", each.name), devices(each)]) for each in subjects]
    return [
        _Section("overview", "At a glance", comparison(subjects)),
        _Section("training", "Training", curves(subjects)),
        _Section("classes", "Classes", class_differences(subjects)),
        _Section("disagreements", "Where they disagree", _disagreements(subjects)),
        _Section("confusion", "Confusion", join(matrices)),
        _Section("devices", "Files and devices", join(exports)),
        _Section("recipe", "Recipes", recipe_differences(subjects)),
    ]


def _disagreements(subjects: Sequence[Subject]) -> Html:
    first, second = subjects[0], subjects[1]
    if len(subjects) > 2:
        command = f"cifar-edge report {first.argument} {second.argument}"
        return missing("Photographs are shown of two runs:", command, ", say.")
    if first.tested is None or second.tested is None or not comparable(first, second):
        return element("p", "The runs were not tested on the same images.", class_="missing")
    return disagreements([first.name, second.name], first.tested, second.tested)


def _confusion(subject: Subject) -> Html:
    return _answers(subject, lambda tested: confusion(tested.evaluation, subject.name))


def _answers(subject: Subject, show: Callable[[Tested], Html]) -> Html:
    """What ``show`` makes of the answers on the test images, or why there are none."""
    if subject.tested is None:
        return missing(f"{subject.name} was not tried on its test images: {subject.untested}")
    return show(subject.tested)


def _whose_answers(subject: Subject) -> Html:
    """Which network the answers are of, since it is not the file to deploy."""
    if subject.tested is None:
        return Html("")
    which = "the folded network" if subject.is_folded else "the network as trained"
    whose = f"All answers on this page are those of {which}, by PyTorch in fp32"
    if subject.exported is None or subject.exported.int8 is None:
        return element("p", f"{whose}.", class_="quiet")
    own = code(f"cifar-edge evaluate {subject.argument} --mistakes FILE.png")
    return element("p", f"{whose}; int8 is made of it, and may answer a few otherwise: ", own, " draws its mistakes.")


def _section(section: _Section) -> Html:
    heading = element("h2", section.title, id=f"{section.anchor}-title")
    return element("section", heading, section.content, id=section.anchor, aria_labelledby=f"{section.anchor}-title")


@cache
def _style() -> Html:
    rules = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    light, dark = shades("light"), shades("dark")
    return Html(f"{rules}\n{light}\n@media screen and (prefers-color-scheme: dark){{{dark}}}")
