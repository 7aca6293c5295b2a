"""The study's figures as Markdown tables, which docs/normalisation.md holds."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise
from statistics import fmean

from benchmarks.cards.markdown import table
from benchmarks.normalisation.costs import Cost, NormLatency
from benchmarks.normalisation.grid import Grid
from benchmarks.normalisation.results import Point, Row, Training
from benchmarks.normalisation.statistics import Sample, difference

CHANCE_LEVEL = 0.15
"""A training that ends below this accuracy on held-out images, or diverged, has failed; guessing gives 0.1."""
_WARMUP = 0.2
"""The share of a training in which its learning rate rises and its loss falls steeply; no noise is measured there."""

Measure = Callable[[Row], float | None]


@dataclass(frozen=True, slots=True)
class Study:
    """What was trained and what came of it; accuracies are given in percent, differences in points."""

    grid: Grid
    rows: Sequence[Row]
    points: Sequence[Point]

    def finals(self, norm: str, batch_size: int) -> list[Row]:
        """The final trainings of a norm and batch size, seed by seed."""
        rate = self.grid.best_rate(norm, batch_size, self.rows)
        wanted = [self.grid.final(norm, batch_size, rate, seed) for seed in self.grid.seeds] if rate else []
        return [row for training in wanted for row in self.rows if Training.of(row) == training]

    def sample(self, norm: str, batch_size: int, measure: Measure) -> Sample:
        """``measure`` of the final trainings that did not diverge, in percent."""
        values = [measure(row) for row in self.finals(norm, batch_size)]
        return Sample(tuple(100 * value for value in values if value is not None))

    def losses(self, norm: str, batch_size: int, measure: Callable[[Sequence[float]], float]) -> Sample:
        """``measure`` of the loss curves of the final trainings that did not fail."""
        curves = [
            [point.loss for point in self.points if Training.of(point) == Training.of(row)]
            for row in self.finals(norm, batch_size)
            if not failed(row)
        ]
        return Sample(tuple(map(measure, curves)))

    def sizes(self) -> list[int]:
        """The batch sizes, small ones first."""
        return sorted(self.grid.learning_rates)


def train_accuracy(row: Row) -> float | None:
    """In evaluation mode, without augmentation, by the weights that are tested."""
    return row.train_accuracy


def test_accuracy(row: Row) -> float | None:
    """On all test images, in the same mode and by the same weights."""
    return row.test_accuracy


def gap(row: Row) -> float | None:
    """Training accuracy less test accuracy."""
    return None if row.train_accuracy is None or row.test_accuracy is None else row.train_accuracy - row.test_accuracy


def failed(row: Row) -> bool:
    """It diverged, or learnt nothing."""
    return row.held_out_accuracy is None or row.held_out_accuracy < CHANCE_LEVEL


def loss_noise(losses: Sequence[float]) -> float:
    """How far a loss curve jumps between neighbouring points, as a standard deviation.

    It is that of the differences, by the square root of two: a slow fall of the curve counts for nothing.
    """
    jumps = [after - before for before, after in pairwise(losses[int(_WARMUP * len(losses)) :])]
    return math.sqrt(fmean(jump**2 for jump in jumps) / 2)


def _last(share: float, losses: Sequence[float]) -> float:
    """The mean of the last ``share`` of a loss curve."""
    return fmean(losses[-max(1, round(share * len(losses))) :])


def tables(study: Study, costs: Sequence[Cost], latencies: Sequence[NormLatency]) -> dict[str, str]:
    """Every table by its title."""
    return {
        "Accuracy": _accuracies(study),
        "Differences in training accuracy": _differences(study, train_accuracy),
        "Differences in test accuracy": _differences(study, test_accuracy),
        "Differences in the gap": _differences(study, gap),
        "Sensitivity to the batch size": _sensitivity(study),
        "Stability": _stability(study),
        "Batch norm's statistics": _precise(study),
        "Parameters and latency": _parameters(costs, latencies),
        "Memory and time of a training step": _steps(costs),
    }


def _cells(study: Study) -> Iterator[tuple[int, str]]:
    return ((size, norm) for size in study.sizes() for norm in study.grid.norms)


def _accuracies(study: Study) -> str:
    lines = []
    for size, norm in _cells(study):
        rate = study.grid.best_rate(norm, size, study.rows)
        spreads = [_spread(study.sample(norm, size, measure)) for measure in (train_accuracy, test_accuracy, gap)]
        finals = study.finals(norm, size)
        lines.append([str(size), norm, f"{rate:g}", *spreads, f"{sum(map(failed, finals))} of {len(finals)}"])
    return table(["batch>", "norm", "learning rate>", "training>", "test>", "gap>", "failed>"], lines)


def _differences(study: Study, measure: Measure) -> str:
    """Every norm less every later one of the grid, by batch size, and averaged over all of them."""
    sizes = study.sizes()
    lines = []
    for norm, other in combinations(study.grid.norms, 2):
        terms = {
            size: [(1.0, study.sample(norm, size, measure)), (-1.0, study.sample(other, size, measure))]
            for size in sizes
        }
        average = [(sign / len(sizes), sample) for size in sizes for sign, sample in terms[size]]
        lines.append([f"{norm} - {other}", *(_interval(terms[size]) for size in sizes), _interval(average)])
    return table(["", *(f"batch {size}>" for size in sizes), "all>"], lines)


def _sensitivity(study: Study) -> str:
    """How the test accuracy changes from a middle batch size to the smallest and largest; group norm's beside it."""
    smallest, *_, largest = sizes = study.sizes()
    middle = sizes[len(sizes) // 2]
    samples = {(norm, size): study.sample(norm, size, test_accuracy) for size, norm in _cells(study)}
    lines = []
    for norm in study.grid.norms:
        means = [samples[norm, size].mean for size in sizes if samples[norm, size].values]
        cells = [norm, f"{max(means) - min(means):.1f}"]
        for size in (smallest, largest):
            own = [(1.0, samples[norm, size]), (-1.0, samples[norm, middle])]
            groups = [(1.0, samples["group", size]), (-1.0, samples["group", middle])]
            less = [(-weight, sample) for weight, sample in own]
            cells += [_interval(own), "" if norm == "group" else _interval([*groups, *less])]
        lines.append(cells)
    beside = "group's less this>"
    heads = ["norm", "best - worst>", f"{smallest} - {middle}>", beside, f"{largest} - {middle}>", beside]
    return table(heads, lines)


def _stability(study: Study) -> str:
    lines = []
    for size, norm in _cells(study):
        tries = study.grid.tries(norm, size, study.rows)
        best = max(row.held_out_accuracy or 0.0 for row in tries)
        usable = [row.learning_rate for row in tries if (row.held_out_accuracy or 0.0) >= best - 0.05]
        last_epoch = partial(_last, 1 / study.grid.epochs)
        lines.append(
            [
                str(size),
                norm,
                _spread(study.losses(norm, size, last_epoch), 2),
                _spread(study.losses(norm, size, loss_noise), 3),
                _deviation(study.sample(norm, size, test_accuracy)),
                f"{sum(map(failed, tries))} of {len(tries)}",
                f"{min(usable):g} to {max(usable):g}" if len(usable) > 1 else f"{usable[0]:g}",
            ]
        )
    heads = [
        "batch>",
        "norm",
        "loss, last epoch>",
        "its noise>",
        "sd of test>",
        "failed tries>",
        "rates within 5 points>",
    ]
    return table(heads, lines)


def _precise(study: Study) -> str:
    lines = []
    for size in study.sizes():
        usual = study.sample("batch", size, test_accuracy)
        precise = study.sample("batch", size, lambda row: row.precise_test_accuracy)
        gained = study.sample("batch", size, _gained)
        lines.append([str(size), _spread(usual), _spread(precise), _interval([(1, gained)])])
    return table(["batch>", "test, as trained>", "statistics taken anew>", "gain>"], lines)


def _gained(row: Row) -> float | None:
    precise, usual = row.precise_test_accuracy, row.test_accuracy
    return None if precise is None or usual is None else precise - usual


def _parameters(costs: Sequence[Cost], latencies: Sequence[NormLatency]) -> str:
    found = {cost.norm: cost for cost in costs}
    lines = [
        [
            latency.norm,
            f"{found[latency.norm].parameters:,}",
            f"{found[latency.norm].norm_parameters:,}",
            f"{latency.p50_us:.1f} us",
            f"{latency.ratio:.2f}",
        ]
        for latency in latencies
    ]
    return table(["norm", "parameters>", "of the norms>", "latency fp32>", "to group>"], lines)


def _steps(costs: Sequence[Cost]) -> str:
    lines = [
        [
            str(cost.batch_size),
            cost.norm,
            f"{cost.saved_bytes / 2**20:.3f}",
            f"{cost.peak_bytes / 2**20:.3f}",
            f"{cost.step_ms:.2f} ms",
            f"{cost.step_ratio:.2f}",
        ]
        for cost in costs
    ]
    return table(["batch>", "norm", "saved MiB>", "peak MiB>", "step>", "to group>"], lines)


def _spread(sample: Sample, digits: int = 1) -> str:
    """Mean and standard deviation; "-" where too few trainings came to an end."""
    if len(sample.values) < 2:
        return "-"
    return f"{sample.mean:.{digits}f} ± {sample.deviation:.{digits}f}"


def _deviation(sample: Sample) -> str:
    """The second half of `_spread`."""
    return f"{sample.deviation:.1f}" if len(sample.values) > 1 else "-"


def _interval(terms: Sequence[tuple[float, Sample]]) -> str:
    """The difference and its interval, in bold if that leaves out zero; "-" as in `_spread`."""
    if any(len(sample.values) < 2 for _, sample in terms):
        return "-"
    found = difference(terms)
    text = f"{found.value:+.1f} ({found.low:+.1f} to {found.high:+.1f})"
    return f"**{text}**" if found.clear else text
