"""The report of an export: size, accuracy and latency of each file, and which one to deploy on this machine."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cifar_edge.columns import PAGE, table, wrapped
from cifar_edge.export.accuracy_drop import AccuracyDrop
from cifar_edge.export.own_accuracy import Given
from cifar_edge.export.parity import Comparison, Verdict, judge_int8
from cifar_edge.export.targets.gate import Outcome
from cifar_edge.export.threshold import Chosen
from cifar_edge.measure.metrics import CONCLUSIVE_IMAGES, Estimate
from cifar_edge.measure.timing import LARGE_BATCH, Timing
from cifar_edge.spec import Precision


@dataclass(frozen=True, slots=True)
class Row:
    """One exported file, or a graph that was only measured, for comparison.

    Attributes:
        name: ``GroupNorm fp32``, ``folded fp32`` or ``int8`` for a folded network, else ``fp32`` or ``int8``.
        precision: ``fp32`` or ``int8``.
        file: its name; None for a graph that was only measured.
        size: in bytes.
        accuracy: on the test images, with its 95 % interval.
        comparison: its logits against those of the PyTorch network as trained.
        against_folded: its logits against those of the folded PyTorch network, if it was made of that.
        rounding: the logits of int8 against those of the PyTorch network that it was made of; on the test images, and
            if these are few, on the training images too.
        verdict: of its gates.
        timing: on this machine, with one thread.
        threshold: what its threshold does; None if none was asked for.
    """

    name: str
    precision: Precision
    file: str | None
    size: int
    accuracy: Estimate
    comparison: Comparison
    against_folded: Comparison | None
    rounding: Comparison | None
    verdict: Verdict
    timing: Timing
    threshold: Chosen | None = None


@dataclass(frozen=True, slots=True)
class TargetGate:
    """How the files of a target other than ONNX compare with the integer network.

    Attributes:
        outcomes: one for each program that reads the files.
        figures: what they cost on a device, as the target gives it.
        timing: on this machine, with one thread, in turns with ``rows``; None for files that do not run on it.
    """

    outcomes: tuple[Outcome, ...]
    figures: Mapping[str, Any]
    timing: Timing | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The results of `cifar_edge.export.pipeline.export_network`.

    Attributes:
        model: registered name of the network.
        created: time of the export, ISO 8601, UTC.
        rows: one for each graph, fp32 first, int8 last.
        max_drop: percentage points of accuracy that int8 was allowed to lose.
        unfolded: whether the network's norms could be folded, but were not.
        data: the dataset whose test images were used, and where it came from.
        machine: the one that the timings were measured on.
        versions: library name -> version.
        targets: target -> the names of its files.
        target_gates: target -> its gate, except for ONNX, whose gates are those of ``rows``.
        own: what the user gave; None for a network of this package.
    """

    model: str
    created: str
    rows: tuple[Row, ...]
    max_drop: float
    unfolded: bool
    data: str
    machine: str
    versions: Mapping[str, str]
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    target_gates: Mapping[str, TargetGate] = field(default_factory=dict)
    own: Given | None = None

    @property
    def deploy(self) -> Precision:
        """The file to deploy on a machine like this: the fastest at batch 1, unless that is int8 and loses too much."""
        return "fp32" if self._refused else self._fastest

    @property
    def _fastest(self) -> Precision:
        return min((row for row in self.rows if row.file), key=lambda row: row.timing.p50_seconds).precision

    @property
    def _refused(self) -> bool:
        accuracy_drop = self.accuracy_drop
        return accuracy_drop is not None and self._fastest == "int8" and not accuracy_drop.acceptable

    @property
    def accuracy_drop(self) -> AccuracyDrop | None:
        """The accuracy drop of int8; None without int8."""
        int8 = self.rows[-1]
        if int8.rounding is None:
            return None
        folding = self.rows[-2].comparison if int8.against_folded is not None else None
        return AccuracyDrop(folding, int8.rounding, int8.accuracy.images, self.max_drop, own=self.own is not None)

    @property
    def reason(self) -> str:
        """Why `deploy` is that file; it mentions an int8 that is slower or larger, or could be faster."""
        if len(self.rows) == 1:
            return "there is no int8 to compare it with; --quantize makes it"
        why = self._comparison()
        if self.unfolded:
            why += "; int8 is fastest without norms, which `cifar-edge fold` folds away"
        if self.accuracy_drop is not None and self._refused:
            why += f", but {self.accuracy_drop.refusal()}"
        elif self.deploy == "int8" and self.rows[-1].verdict == "undecided":
            why += (
                "; undecided: no loss was found that speaks against int8, on images too few to prove that there is none"
            )
        return "; ".join([why, *self._speeds()])

    def _speeds(self) -> list[str]:
        """How fast int8 is in each target that was timed, beside onnxruntime."""
        int8 = self.rows[-1].timing.p50_seconds
        return [
            f"as {name} int8 takes {gate.timing.p50_seconds / int8:.2f} times as long as in onnxruntime"
            for name, gate in self.target_gates.items()
            if gate.timing is not None
        ]

    def _comparison(self) -> str:
        fp32, int8 = self.rows[0], self.rows[-1]
        speed = int8.timing.p50_seconds / fp32.timing.p50_seconds
        size = int8.size / fp32.size
        slower = f"int8 is slower here ({speed:.2f} times the latency)"
        larger = f"larger ({size:.2f} times the size)"
        if self._fastest == "fp32":
            return f"{slower}, and {larger}" if size > 1 else f"{slower}, for {size:.2f} times the size"
        faster = f"int8 has {speed:.2f} times the latency"
        return f"{faster}, though it is {larger}" if size > 1 else f"{faster} and {size:.2f} times the size of fp32"

    def to_json(self) -> str:
        """The content of ``report.json``."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values: sizes in bytes, times in seconds, proportions as fractions of 1."""
        return {**asdict(self), "deploy": self.deploy, "reason": self.reason}

    def to_markdown(self) -> str:
        """The content of ``report.md``."""
        lines = [
            f"# {self.model}: export of {self.created}",
            "",
            f"Deploy **{self.deploy}** on a machine like this one: {self.reason}.",
            "",
            *(f"**Warning**: {warning}.\n" for warning in self._warnings()),
            "| | file | size | accuracy (95 % interval) | same class | max. difference | SNR | p50 | p99 | "
            f"batch {LARGE_BATCH} | gate |",
            "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
            *(_markdown_row(row) for row in self.rows),
            "",
            f"Accuracy on {self.rows[0].accuracy.images} test images of {self.data}. Same class, difference and SNR "
            "of the logits are against the PyTorch network as trained, on these images. p50 and p99: latency of one "
            f"image; batch {LARGE_BATCH}: throughput; `session.run` with one thread, all in turns within one run.",
            "",
        ]
        lines += [f"- {line}" for line in self._given() + self._gates() + self._others()]
        lines.append("")
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines += [f"Measured on {self.machine}; {versions}.", ""]
        return "\n".join(lines)

    def to_table(self, columns: int = PAGE) -> str:
        """The report for a terminal of so many columns."""
        head = ("", "size", "accuracy", "same class", "p50", "p99", f"batch {LARGE_BATCH}")
        rows = [(row.name, *_cells(row)) for row in self.rows]
        said = [
            f"{self.rows[0].accuracy.images} test images of {self.data}",
            f"one thread of {self.machine}",
            *self._given(),
            f"fp32 passed: logits within {self.rows[0].comparison.max_difference:.1g} of PyTorch's",
            *self._gates(),
            *self._others(),
            *self._thresholds(),
            *(f"warning: {warning}" for warning in self._warnings()),
            f"deploy {self.deploy}: {self.reason}",
        ]
        lines = table([head, *rows], "<14 >10 >9 >11 >11 >11 >12", columns)
        return "\n".join([*lines, "", *(line for each in said for line in wrapped(each, columns, "  "))])

    def _given(self) -> list[str]:
        """What the user gave; nothing for a network of this package."""
        return [] if self.own is None else [self.own.sentence()]

    def _warnings(self) -> list[str]:
        return [] if self.own is None or self.own.warning is None else [self.own.warning]

    def _thresholds(self) -> list[str]:
        """A line for each file whose threshold was asked for."""
        return [f"{row.name} {row.threshold.sentence()}" for row in self.rows if row.threshold is not None]

    def _others(self) -> list[str]:
        """A line for each program that reads the files of a target, for files that are not in the table."""
        return [
            outcome.sentence(name, self.targets[name])
            for name, gate in self.target_gates.items()
            for outcome in gate.outcomes
        ] + [
            f"{name}: p50 {p50}, p99 {p99}, batch {LARGE_BATCH} {batch}"
            for name, gate in self.target_gates.items()
            if gate.timing is not None
            for p50, p99, batch in [_times(gate.timing)]
        ]

    def _gates(self) -> list[str]:
        """A line for each gate of int8 and each limit of the images; nothing without int8."""
        int8, accuracy_drop = self.rows[-1], self.accuracy_drop
        if accuracy_drop is None:
            return []
        gates = [("the network as trained", int8.comparison)]
        if int8.against_folded is not None:
            gates.append(("the folded network", accuracy_drop.rounding))
        return [
            f"int8 {_verdict(each, self.max_drop, reference)} against {reference} it loses "
            f"{100 * each.drop.value:+.2f} percentage points ({100 * each.drop.low:+.2f} to "
            f"{100 * each.drop.high:+.2f}; "
            f"{self.max_drop:g} allowed), {each.agreement:.2%} keep their class"
            for reference, each in gates
        ] + accuracy_drop.limits()


def _verdict(comparison: Comparison, max_drop: float, reference: str) -> str:
    verdict, images = judge_int8(comparison, max_drop, reference), comparison.drop.images
    if verdict == "undecided" and images < CONCLUSIVE_IMAGES:
        return f"undecided, too few images to tell: {images:,};"
    return f"{verdict}:"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"{row.size / 1000:.1f} kB",
        f"{row.accuracy.value:.2%}",
        f"{row.comparison.agreement:.2%}",
        *_times(row.timing),
    )


def _times(timing: Timing) -> tuple[str, str, str]:
    return (
        f"{timing.p50_seconds * 1e6:.1f} us",
        f"{timing.p99_seconds * 1e6:.1f} us",
        f"{timing.images_per_second:,.0f}/s",
    )


def _markdown_row(row: Row) -> str:
    size, accuracy, agreement, *timing = _cells(row)
    low, high = row.accuracy.low, row.accuracy.high
    noise = row.comparison.snr_db
    cells = [
        row.name,
        f"`{row.file}`" if row.file else "none: for comparison",
        size,
        f"{accuracy} ({low:.2%} to {high:.2%})",
        agreement,
        f"{row.comparison.max_difference:.2g}",
        "exact" if noise is None else f"{noise:.1f} dB",
        *timing,
        row.verdict,
    ]
    return f"| {' | '.join(cells)} |"
