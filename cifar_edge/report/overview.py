"""The head of a report: the figures that matter, of one run or of several side by side."""

from collections.abc import Callable, Sequence

import numpy as np

from cifar_edge.measure.metrics import Estimate, accuracy, accuracy_difference
from cifar_edge.report import figures
from cifar_edge.report.html import Html, code, element, join, missing, table
from cifar_edge.report.repeat import definitions
from cifar_edge.report.subject import Subject


def overview(subject: Subject) -> Html:
    """The figures of one run that come first."""
    exported, int8 = subject.exported, subject.exported.int8 if subject.exported else None
    right, summary = _accuracy(subject), subject.summary
    facts: list[tuple[str, str]] = []
    if right is not None:
        facts.append((f"right on {right.images:,} test images", _with_interval(right)))
    if summary.cross_validated_accuracy is not None:
        facts.append(("cross-validated", figures.percent(summary.cross_validated_accuracy)))
    if int8 is not None:
        facts += [
            ("in int8", _in_int8(int8.accuracy, right)),
            ("int8 file", figures.kilobytes(int8.size)),
            ("an image in int8", figures.latency(int8.speed.p50_seconds)),
        ]
    elif exported is not None:
        facts.append(("an image in fp32", figures.latency(exported.graphs[0].speed.p50_seconds)))
    if subject.ram is not None:
        facts.append(("RAM on a microcontroller", figures.kilobytes(subject.ram)))
    if summary.parameters is not None:
        facts.append(("parameters", figures.count(summary.parameters)))
        facts.append(("million MACs", figures.millions(summary.macs)))
    if summary.seconds is not None:
        facts.append(("training", figures.duration(summary.seconds)))
    if not subject.is_finished:
        last = f"{len(subject.records)} epochs" if subject.records else "nothing"
        resume = missing(
            f"It is not finished, {last} so far:", f"cifar-edge train --resume {subject.argument}", " goes on."
        )
        return join([resume, definitions(facts)])
    return definitions(facts)


def _accuracy(subject: Subject) -> Estimate | None:
    """On the test images: measured now, else what the summary says."""
    if subject.tested is not None:
        return subject.tested.evaluation.accuracy
    value, images = subject.summary.accuracy, subject.summary.test_images
    return None if value is None or not images else accuracy(round(value * images), images)


def comparable(one: Subject, other: Subject) -> bool:
    """Whether both were tested on the same images, so that their answers are paired.

    Two sizes of the same photographs are the same images.
    """
    if one.tested is None or other.tested is None:
        return False
    first, second = one.tested.dataset, other.tested.dataset
    if first.labels != second.labels or not np.array_equal(first.test_labels, second.test_labels):
        return False
    if first.size == second.size:
        return np.array_equal(first.test_images, second.test_images)
    return (first.name, first.folder) == (second.name, second.folder)


def comparison(subjects: Sequence[Subject]) -> Html:
    """The figures of several runs side by side; differences are those from the first."""
    first = subjects[0]
    rows: list[list[str]] = [["accuracy", *(_measured(subject) for subject in subjects)]]
    rows.append(["against the first, points", "\N{EN DASH}", *(_against(first, each) for each in subjects[1:])])
    measures: list[tuple[str, Callable[[Subject], str]]] = [
        ("network", lambda each: each.model),
        ("accuracy in int8", lambda each: _of_int8(each, "accuracy")),
        ("int8 file", lambda each: _of_int8(each, "size")),
        ("an image in int8", lambda each: _of_int8(each, "latency")),
        ("RAM on a microcontroller", lambda each: figures.kilobytes(each.ram)),
        ("flash there", lambda each: figures.kilobytes(each.flash)),
        ("parameters", lambda each: figures.count(each.summary.parameters)),
        ("million MACs", lambda each: figures.millions(each.summary.macs)),
        ("training", lambda each: figures.duration(each.summary.seconds)),
    ]
    rows += [[name, *map(measure, subjects)] for name, measure in measures]
    caption = "Side by side; intervals are of 95 %"
    unpaired = [each for each in subjects[1:] if not comparable(first, each)]
    notes = [
        element("p", f"{each.name} was tested on other images than {first.name}, or on none: no paired difference.")
        for each in unpaired
    ]
    about = "Differences are paired, on the same images: their intervals are far narrower than those of two accuracies."
    lines = [element("p", about, class_="quiet")] if len(unpaired) + 1 < len(subjects) else []
    if sum(each.exported is not None for each in subjects) > 1:
        times = "Latencies are those of each export; "
        lines.append(element("p", times, code("cifar-edge benchmark"), " times models in turns.", class_="quiet"))
    return join([table(caption, ["measure", *(each.name for each in subjects)], rows, class_="sides"), *lines, *notes])


def _measured(subject: Subject) -> Html:
    right = _accuracy(subject)
    if right is None:
        return element("td", figures.NONE)
    return element("td", _with_interval(right))


def _with_interval(right: Estimate) -> Html:
    return join([element("strong", figures.percent(right.value)), " ", element("small", figures.interval(right))])


def _in_int8(found: Estimate, right: Estimate | None) -> Html:
    """The accuracy of the int8 file, with its number of images where that of the network as tested now is another."""
    on = "" if right is None or right.images == found.images else element("small", f"on {figures.images(found.images)}")
    return join([element("strong", figures.percent(found.value)), " ", on])


def _against(first: Subject, other: Subject) -> str:
    if first.tested is None or other.tested is None or not comparable(first, other):
        return figures.NONE
    return figures.difference(accuracy_difference(first.tested.right, other.tested.right))


def _of_int8(subject: Subject, what: str) -> str:
    int8 = subject.exported.int8 if subject.exported else None
    if int8 is None:
        return figures.NONE
    if what == "accuracy":
        return _in_int8(int8.accuracy, _accuracy(subject))
    return figures.kilobytes(int8.size) if what == "size" else figures.latency(int8.speed.p50_seconds)
