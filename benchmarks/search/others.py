"""Networks beside those of the search: the released ones, published ones, and candidates measured elsewhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results_file
from cifar_edge.files import released
from cifar_edge.integer import IntegerNetwork
from cifar_edge.runs.exports import EXPORT
from cifar_edge.runs.resolve import released_exports
from cifar_edge.runtime.model import load

ELSEWHERE, PUBLISHED = (Path(__file__).with_name(f"{name}.csv") for name in ("elsewhere", "published"))


@dataclass(frozen=True)
class Elsewhere:
    """A candidate that was timed on other machines, and trained on them or not at all.

    Attributes:
        spec: the network, see space.py.
        macs: as in `benchmarks.search.results.Row`, as are the next four and both accuracies.
        latency_ratio_litert: on a processor with VNNI, latency of the same integers in LiteRT, divided by that of
            `benchmarks.search.results.REFERENCE` in onnxruntime.
        epochs: with batch norm in place of GroupNorm, seed 0; None if it was not trained.
        teachers: their number.
        light: whether brightness and contrast were changed, ``yes`` or ``no``.
    """

    spec: str
    macs: int
    activation_bytes: int
    latency_ratio: float
    latency_ratio_avx2: float | None
    instructions_ratio_avx2: float | None
    latency_ratio_litert: float | None
    epochs: int | None
    teachers: int
    light: str
    held_out_accuracy: float | None
    train_accuracy: float | None


@dataclass(frozen=True)
class Known:
    """A finished network.

    Attributes:
        name: as people call it.
        parameters: their number; of a released one, in the folded network.
        macs: multiply-accumulates for one image; None if unknown, as are the next two.
        activation_bytes: of the int8 network, where each layer keeps only the rows that it needs.
        test_accuracy: on the 10,000 test images, in [0, 1]; of a released one, in int8.
        source: where the figures are from.
    """

    name: str
    parameters: int
    macs: int | None
    activation_bytes: int | None
    test_accuracy: float
    source: str


def elsewhere() -> list[Elsewhere]:
    """The candidates measured elsewhere."""
    return results_file.read(ELSEWHERE, Elsewhere)


def published() -> list[Known]:
    """Networks of other people."""
    return results_file.read(PUBLISHED, Known)


def released_networks() -> list[Known]:
    """The released networks of the family gn-cnn, by their exported int8 files and reports."""
    found = []
    for name, files in released_exports().items():
        if not name.startswith("gn-cnn"):
            continue
        report = json.loads(released(f"{EXPORT}/{name}/report.json").read_text("utf-8"))
        accuracy = next(row["accuracy"]["value"] for row in report["rows"] if row["name"] == "int8")
        file = next(file for file in files if file.name.endswith(".int8.onnx"))
        metadata, network = load(file).metadata, IntegerNetwork.from_onnx(file)
        memory = network.summary().activation_bytes
        found.append(Known(name, metadata.parameters, metadata.macs, memory, accuracy, f"{EXPORT}/{name}/report.json"))
    return found


def table(candidates: Sequence[Elsewhere]) -> str:
    """The candidates in Markdown."""
    lines = [
        "| network | MACs | RAM | VNNI | AVX2 | counted | LiteRT, VNNI | epochs | teachers | light | held out |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|",
    ]
    for each in candidates:
        cells = [
            f"`{each.spec}`",
            f"{each.macs / 1e6:.2f} M",
            f"{each.activation_bytes / 1000:.1f} kB",
            _ratio(each.latency_ratio),
            _ratio(each.latency_ratio_avx2),
            _ratio(each.instructions_ratio_avx2),
            _ratio(each.latency_ratio_litert),
            str(each.epochs or "-"),
            str(each.teachers),
            each.light,
            "-" if each.held_out_accuracy is None else f"{each.held_out_accuracy:.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def known_table(networks: Sequence[Known]) -> str:
    """Finished networks in Markdown."""
    lines = ["| network | parameters | MACs | RAM | test accuracy | from |", "|---|--:|--:|--:|--:|---|"]
    for each in networks:
        cells = [
            each.name,
            f"{each.parameters:,}",
            "-" if each.macs is None else f"{each.macs / 1e6:.1f} M",
            "-" if each.activation_bytes is None else f"{each.activation_bytes / 1000:.1f} kB",
            f"{each.test_accuracy:.2%}",
            each.source,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:g}"
