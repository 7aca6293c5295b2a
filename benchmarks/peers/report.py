"""The table and the plot of docs/peers.md."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator


@dataclass(frozen=True)
class Result:
    """A line of the CSV file; accuracy with its 95 % interval, ``ratio`` of p50 to that of our int8 file."""

    name: str
    network: str
    runtime: str
    precision: str
    parameters: int
    macs: int
    size: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    images: int
    p50_us: float
    ratio: float
    machine: str


def table(results: Sequence[Result]) -> str:
    """The results as markdown."""
    lines = [
        "| | runtime | network | precision | parameters | MACs | size | accuracy | p50 | ratio |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for result in results:
        cells = [
            result.name,
            result.runtime,
            result.network,
            result.precision,
            f"{result.parameters:,}",
            f"{result.macs / 1e6:.1f} M",
            f"{result.size / 1000:.0f} kB",
            f"{result.accuracy:.2%}",
            f"{result.p50_us:.1f} us",
            f"{result.ratio:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: Sequence[Result]) -> Figure:
    """Accuracy against latency; a line joins the peers that no other beats in both."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    for index, result in enumerate(sorted(results, key=lambda each: each.p50_us)):
        point = (result.p50_us, result.accuracy * 100)
        colour = "tab:red" if result.name.startswith("cifar-edge") else "tab:blue"
        axes.plot(*point, "s" if result.precision == "int8" else "o", color=colour, markersize=7, alpha=0.8)
        # The names stand in a row above, in the order of the points, each joined to its own: many points lie close.
        axes.annotate(
            f"{result.name}: {result.p50_us:.0f} us",
            point,
            ((index + 0.5) / len(results), 1.03),
            textcoords="axes fraction",
            rotation=50,
            size=8,
            color=colour,
            arrowprops={"arrowstyle": "-", "color": "lightgrey", "linewidth": 0.7, "relpos": (0, 0)},
        )
    front = pareto_front(results)
    axes.plot([each.p50_us for each in front], [each.accuracy * 100 for each in front], "--", color="grey", zorder=0)
    axes.set_xscale("log")
    axes.margins(y=0.12)
    axes.tick_params(axis="x", which="both", length=3, pad=4)
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))  # the labels of all others would overlap
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("latency of one image, one thread, p50 (us); squares are int8")
    axes.set_ylabel(f"accuracy on {results[0].images:,} test images (%)")
    axes.grid(visible=True, which="both", alpha=0.3)
    return figure


def pareto_front(results: Sequence[Result]) -> list[Result]:
    """The results that no other beats in both accuracy and latency, fastest first."""
    front: list[Result] = []
    for result in sorted(results, key=lambda each: (each.p50_us, -each.accuracy)):
        if not front or result.accuracy > front[-1].accuracy:
            front.append(result)
    return front
