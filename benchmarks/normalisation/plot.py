"""The study's pictures: accuracy by batch size, learning rates, loss curves, costs."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.normalisation.answers import Measure, Study, gap, test_accuracy, train_accuracy
from benchmarks.normalisation.costs import Cost, NormLatency
from benchmarks.normalisation.results import Training

# Okabe and Ito's colours, which people who see few colours can tell apart; markers help in print.
_COLOURS = {"group": "#0072B2", "layer": "#009E73", "batch": "#D55E00", "none": "#7F7F7F"}
_MARKERS = {"group": "o", "layer": "s", "batch": "^", "none": "x"}
_SHIFT = 1.06
"""Between the points of neighbouring norms, along a logarithmic axis, so that they do not hide each other."""


def pictures(study: Study, costs: Sequence[Cost], latencies: Sequence[NormLatency]) -> dict[str, Callable[[], Figure]]:
    """What draws each picture, by the name of its file in docs/images/."""
    return {
        "normalisation-accuracy.png": lambda: draw_accuracy(study),
        "normalisation-rates.png": lambda: draw_rates(study),
        "normalisation-loss.png": lambda: draw_losses(study),
        "normalisation-costs.png": lambda: draw_costs(costs, latencies),
    }


def draw_accuracy(study: Study) -> Figure:
    """Test accuracy, training accuracy and the gap between them, by batch size: every seed, and lines through means."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    panels: tuple[tuple[str, Measure], ...] = (
        ("test accuracy (%)", test_accuracy),
        ("training accuracy (%)", train_accuracy),
        ("training less test accuracy (points)", gap),
    )
    all_axes = figure.subplots(1, 3)
    all_axes[1].sharey(all_axes[0])
    for axes, (title, measure) in zip(all_axes, panels, strict=True):
        for index, norm in enumerate(study.grid.norms):
            shift = _SHIFT ** (index - (len(study.grid.norms) - 1) / 2)
            samples = {size: study.sample(norm, size, measure) for size in study.sizes()}
            samples = {size: sample for size, sample in samples.items() if sample.values}
            for size, sample in samples.items():
                axes.scatter(
                    [size * shift] * len(sample.values),
                    sample.values,
                    s=18,
                    alpha=0.5,
                    color=_COLOURS[norm],
                    marker=_MARKERS[norm],
                )
            axes.plot(
                [size * shift for size in samples],
                [sample.mean for sample in samples.values()],
                color=_COLOURS[norm],
                label=norm,
            )
        axes.set_title(title, size=11)
        _batch_axis(axes, study.sizes())
    all_axes[2].axhline(0, color="black", linewidth=0.8)
    all_axes[0].legend(frameon=False)
    return figure


def draw_rates(study: Study) -> Figure:
    """Held-out accuracy of the tries by learning rate, a panel for each batch size; a ring marks what was taken."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, size in zip(_panels(figure, len(study.sizes())), study.sizes(), strict=True):
        for norm in study.grid.norms:
            tries = study.grid.tries(norm, size, study.rows)
            rates = [row.learning_rate for row in tries]
            accuracies = [100 * (row.held_out_accuracy or 0.0) for row in tries]
            axes.plot(rates, accuracies, color=_COLOURS[norm], alpha=0.7)
            axes.scatter(rates, accuracies, s=24, label=norm, color=_COLOURS[norm], marker=_MARKERS[norm])
            best = study.grid.best_rate(norm, size, study.rows)
            if best in rates:
                at = rates.index(best)
                axes.scatter(rates[at], accuracies[at], s=130, facecolors="none", edgecolors=_COLOURS[norm])
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params("x", labelsize=8)
        axes.set_title(f"batch {size}", size=11)
        axes.set_xlabel("learning rate")
        axes.grid(visible=True, alpha=0.25)
    figure.axes[0].set_ylabel(f"held-out accuracy after {study.grid.tuning_epochs} epochs (%)")
    figure.axes[0].legend(frameon=False)
    return figure


def draw_losses(study: Study) -> Figure:
    """Training loss by images seen, every seed of every norm, a panel for each batch size."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, size in zip(_panels(figure, len(study.sizes())), study.sizes(), strict=True):
        for norm in study.grid.norms:
            for row in study.finals(norm, size):
                curve = [point for point in study.points if Training.of(point) == Training.of(row)]
                label = norm if row.seed == study.grid.seeds[0] else None
                images = [point.images / 1_000 for point in curve]
                losses = [point.loss for point in curve]
                axes.plot(images, losses, color=_COLOURS[norm], linewidth=0.9, alpha=0.8, label=label)
        axes.set_title(f"batch {size}", size=11)
        axes.set_xlabel("thousand images seen")
        axes.grid(visible=True, alpha=0.25)
    figure.axes[0].set_ylabel("training loss")
    figure.axes[-1].legend(frameon=False)
    return figure


def draw_costs(costs: Sequence[Cost], latencies: Sequence[NormLatency]) -> Figure:
    """Parameters, peak memory of a training step, its time, and latency, by norm."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    parameters, memory, time, latency = figure.subplots(1, 4)
    norms = [each.norm for each in latencies]
    sizes = sorted({cost.batch_size for cost in costs})
    found = {(cost.norm, cost.batch_size): cost for cost in costs}
    colours = [_COLOURS[norm] for norm in norms]
    first = [found[norm, sizes[0]] for norm in norms]
    parameters.bar(norms, [cost.parameters - cost.norm_parameters for cost in first], color=colours, alpha=0.4)
    bottoms = [cost.parameters - cost.norm_parameters for cost in first]
    parameters.bar(norms, [cost.norm_parameters for cost in first], bottom=bottoms, color=colours)
    parameters.set_title("parameters (solid: of the norms)", size=11)
    panels: tuple[tuple[Axes, str, Callable[[Cost], float]], ...] = (
        (memory, "peak memory of a step (MiB)", lambda cost: cost.peak_bytes / 2**20),
        (time, "time of a step, group = 1", lambda cost: cost.step_ratio),
    )
    for axes, title, value in panels:
        for index, norm in enumerate(norms):
            shift = _SHIFT ** (index - (len(norms) - 1) / 2)
            values = [value(found[norm, size]) for size in sizes]
            axes.plot([size * shift for size in sizes], values, color=_COLOURS[norm], label=norm, marker=_MARKERS[norm])
        axes.set_title(title, size=11)
        _batch_axis(axes, sizes)
    memory.set_yscale("log", base=2)
    memory.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    memory.legend(frameon=False)
    time.set_ylim(bottom=0)
    latency.bar(norms, [each.p50_us for each in latencies], color=colours)
    latency.set_title("latency of one image, fp32 (us)", size=11)
    return figure


def _panels(figure: Figure, count: int) -> Sequence[Axes]:
    panels: Sequence[Axes] = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    return panels


def _batch_axis(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("batch size")
    axes.grid(visible=True, alpha=0.25)
