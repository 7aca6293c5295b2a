"""The search's plot: accuracy against latency, and what came of it among published networks."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from benchmarks.search.others import Known
from benchmarks.search.results import Row

_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")


def draw(rows: Sequence[Row], released: Sequence[Known], published: Sequence[Known]) -> Figure:
    """The search above; below it the networks that came of it among published ones, by what they cost."""
    figure = Figure(figsize=(11, 10), layout="constrained")
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(6, 4))
    _draw_search(above, rows)
    for axes, cost, label in zip(
        below.subplots(1, 2, sharey=True),
        ("macs", "parameters"),
        ("multiply-accumulates for one image", "parameters"),
        strict=True,
    ):
        _draw_known(axes, released, published, cost)
        axes.set_xlabel(label)
    below.axes[0].set_ylabel("accuracy on test images (%)")
    return figure


def _draw_search(figure: SubFigure, rows: Sequence[Row]) -> None:
    """Validation accuracy against latency, with a colour for each number of epochs, filled for those with a teacher.

    For each colour, a line joins the Pareto front of networks without a teacher; these are numbered, and named at the
    side. Rows without a latency are left out.
    """
    axes = figure.add_subplot()
    timed = [row for row in rows if row.latency_ratio is not None]
    names: list[str] = []
    for index, epochs in enumerate(sorted({row.epochs for row in timed})):
        colour = _COLOURS[index % len(_COLOURS)]
        trained = [row for row in timed if row.epochs == epochs]
        alone, taught = ([row for row in trained if bool(row.teacher) is has] for has in (False, True))
        if alone:
            axes.scatter(*_points(alone), s=36, facecolors="none", edgecolors=colour, label=f"{epochs} epochs")
        if taught:
            axes.scatter(*_points(taught), s=36, color=colour, label=f"{epochs} epochs, with a teacher")
        _draw_front(axes, pareto_front(alone), colour, names)
    _draw_resnet8(axes, timed)
    axes.set_xlabel("latency of the int8 graph, one image, one thread, VNNI; gn-cnn during the search = 1")
    axes.set_ylabel("accuracy on held-out training images (%)")
    axes.grid(visible=True, alpha=0.3)
    figure.legend(loc="outside right upper")
    listed = "\n".join(f"{number}  {name}" for number, name in enumerate(names, 1))
    figure.text(0.995, 0.06, listed, ha="right", va="bottom", multialignment="left", size=6.5)


def _draw_known(axes: Axes, released: Sequence[Known], published: Sequence[Known], cost: str) -> None:
    """Test accuracy against a cost; names stand below the points of released networks, above those of others."""
    below: dict[str, Any] = {"xytext": (0, -6), "va": "top"}
    above: dict[str, Any] = {"xytext": (0, 7), "ha": "center"}
    for networks, colour, marker, place in ((released, "tab:red", "s", below), (published, "tab:blue", "o", above)):
        for network in networks:
            where = getattr(network, cost)
            if where is None:
                continue
            point = (where, network.test_accuracy * 100)
            axes.scatter(*point, s=49, color=colour, marker=marker)
            axes.annotate(network.name, point, textcoords="offset points", size=8.5, color=colour, **place)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15, y=0.15)
    axes.grid(visible=True, which="both", alpha=0.3)


def pareto_front(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other row beats in both accuracy and latency, fastest first."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda each: (each.latency_ratio or 0.0, -each.held_out_accuracy)):
        if not front or row.held_out_accuracy > front[-1].held_out_accuracy:
            front.append(row)
    return front


def _draw_front(axes: Axes, front: Sequence[Row], colour: str, names: list[str]) -> None:
    """Draw a line through ``front``; numbers are positions in ``names``, to which new specs are added."""
    axes.plot(*_points(front), color=colour, linewidth=1, alpha=0.6, zorder=0)
    for row, *point in zip(front, *_points(front), strict=True):
        if row.spec not in names:
            names.append(row.spec)
        number = names.index(row.spec) + 1
        offset = (-9, 4) if number % 2 else (4, 4)  # alternate sides, because neighbours may be close
        axes.annotate(str(number), (point[0], point[1]), offset, textcoords="offset points", size=9, color=colour)


def _draw_resnet8(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw a line at the latency of ResNet-8, the median over the rows that have it."""
    ratios = sorted(
        row.latency_ratio / row.latency_ratio_resnet8 for row in rows if row.latency_ratio and row.latency_ratio_resnet8
    )
    if ratios:
        where = ratios[len(ratios) // 2]
        axes.axvline(where, color="grey", linestyle="--", linewidth=1)
        axes.text(where, 0.5, "ResNet-8 in LiteRT ", transform=axes.get_xaxis_transform(), rotation=90, ha="right")


def _points(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    return [row.latency_ratio or 0.0 for row in rows], [row.held_out_accuracy * 100 for row in rows]
