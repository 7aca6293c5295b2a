"""`cifar-edge benchmark`: measure models on this machine."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cifar_edge.cli.completion import complete_model
from cifar_edge.cli.narrow import text_columns
from cifar_edge.cli.value_types import WholeNumber
from cifar_edge.cli.verbosity import note, say
from cifar_edge.columns import PAGE, padded, table, width, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cifar_edge.measure.benchmark import Cost
    from cifar_edge.measure.timing import Latency

NAME_WIDTH = 20
_LEAST_BAR = 5
_VALUES = 21
"""Columns beside a bar: its value and the ratio to the first, and a margin."""
MEGABYTE = 1e6


@click.command("benchmark")
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_model)
@click.option(
    "--threads", default=1, show_default=True, metavar="N", type=WholeNumber(1, 256), help="Threads of a session."
)
@click.option(
    "--batch", default=64, show_default=True, metavar="N", type=WholeNumber(1, 1024), help="Images of a large batch."
)
@click.option(
    "--engine",
    "engines",
    type=click.Choice(["onnxruntime", "c"]),
    default=["onnxruntime"],
    show_default=True,
    multiple=True,
    help="What runs .onnx files: onnxruntime, or C that is compiled here (int8 alone); repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: seconds and bytes.")
def command(models: tuple[str, ...], threads: int, batch: int, engines: tuple[str, ...], as_json: bool) -> None:
    """Measure speed, memory and size of models on this machine.

    Measured are the latency of one image (session.run of the runtime on a ready array, and Classifier.predict), the
    throughput on a large batch, and session creation and peak memory of a fresh process. All models take turns.

    MODEL is a released name (gn-cnn; for one of its files gn-cnn.int8), a run, a folder or an .onnx or .tflite file.
    Without it, both precisions of the model of predict are measured, int8 alone with --engine c. A .tflite file runs in
    LiteRT.

    Example: cifar-edge benchmark gn-cnn gn-cnn-nano --threads 2
    """
    from cifar_edge.data import load_dataset
    from cifar_edge.measure.benchmark import benchmark
    from cifar_edge.runtime.quiet import silence_litert

    silence_litert()
    engines = tuple(dict.fromkeys(engines))
    paths = _resolved(models, "c" in engines)
    costs = benchmark(
        paths,
        lambda size: load_dataset("sample", size=size).test_images,
        threads=threads,
        batch=batch,
        engines=engines,
    )
    if as_json:
        say(json.dumps(_record(costs, threads, batch), indent=2))
    else:
        say(text_report(costs, threads, batch, text_columns()))


def _resolved(models: "Sequence[str]", int8: bool) -> list["Path"]:
    """The files to measure, each noted on stderr; without ``models`` all precisions, or ``int8`` alone."""
    from cifar_edge.errors import ContractError
    from cifar_edge.runs.resolve import Resolved, precisions_beside, resolve_model

    if not models:
        found = resolve_model()
        paths = [path for path in precisions_beside(found.path) if path.name.endswith(".int8.onnx") or not int8]
        if not paths:
            raise ContractError(f"engine c runs int8 .onnx files; beside {found} there is none: export --quantize")
        for path in paths:
            note(f"model: {Resolved(path, found.reason)}")
        return paths
    resolved = [resolve_model(model) for model in models]
    for each in resolved:
        note(f"model: {each}")
    return [each.path for each in resolved]


def _record(costs: "Sequence[Cost]", threads: int, batch: int) -> dict[str, Any]:
    from cifar_edge.measure.timing import machine

    return {
        "threads": threads,
        "batch": batch,
        "machine": machine(),
        "versions": _versions(costs),
        "models": [{**asdict(cost), "path": str(cost.path)} for cost in costs],
    }


def text_report(costs: "Sequence[Cost]", threads: int, batch: int, columns: int = PAGE) -> str:
    """Tables and bars as text, at most ``columns`` wide unless a name is longer."""
    from cifar_edge.measure.timing import machine

    tables = _tables(costs, batch) if columns >= PAGE else _narrow_tables(costs, batch, columns)
    bars = _rows(costs, _bars(costs, columns - NAME_WIDTH - _VALUES))
    notes = _notes(costs, threads, batch, machine(), columns)
    return "\n".join([*tables, "", "session.run, p50", *bars, "", *notes])


def _tables(costs: "Sequence[Cost]", batch: int) -> list[str]:
    """The figures in `PAGE` columns; a long name has a line of its own."""
    latency = "{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}".format
    rest = "{:>11}{:>11}{:>11}{:>12}{:>15}".format
    return [
        f"{'one image':<20}{'session.run, us':>30}{'Classifier.predict, us':>30}",
        *_row("", latency(*("p50", "p90", "p99") * 2)),
        *_rows(costs, lambda cost: latency(*_microseconds(cost.session_run), *_microseconds(cost.predict))),
        "",
        *_row("", rest(*_rest(batch))),
        *_rows(costs, lambda cost: rest(*_cells(cost))),
    ]


def _narrow_tables(costs: "Sequence[Cost]", batch: int, columns: int) -> list[str]:
    """The same figures, below each other."""
    percentiles = ("p50", "p90", "p99")
    run = [(cost.name, *_microseconds(cost.session_run)) for cost in costs]
    predict = [(cost.name, *_microseconds(cost.predict)) for cost in costs]
    rest = [(cost.name, *_cells(cost)) for cost in costs]
    return [
        "session.run, us, one image",
        *table([("", *percentiles), *run], "<20 >10 >10 >10", columns),
        "",
        "Classifier.predict, us, one image",
        *table([("", *percentiles), *predict], "<20 >10 >10 >10", columns),
        "",
        *table([("", *_rest(batch)), *rest], "<20 >11 >11 >11 >12 >15", columns),
    ]


def _rest(batch: int) -> tuple[str, ...]:
    """The head of `_cells`."""
    return ("size", "creation", "memory", "by model", f"batch {batch}")


def _microseconds(latency: "Latency") -> list[str]:
    return [f"{seconds * 1e6:.1f}" for seconds in (latency.p50_seconds, latency.p90_seconds, latency.p99_seconds)]


def _cells(cost: "Cost") -> list[str]:
    start = cost.start
    return [
        f"{cost.file_bytes / 1000:.1f} kB",
        f"{start.creation_seconds * 1000:.1f} ms",
        *("unknown" if size is None else f"{size / MEGABYTE:.1f} MB" for size in (start.peak_bytes, start.model_bytes)),
        f"{cost.images_per_second:,.0f}/s",
    ]


def _bars(costs: "Sequence[Cost]", longest: int) -> "Callable[[Cost], str]":
    """A function that draws the bar of a cost, with its value and its ratio to the first.

    The bar is at most ``longest`` columns long; there is none where that is too short to compare bars.
    """
    seconds = [cost.session_run.p50_seconds for cost in costs]

    def bar(cost: "Cost") -> str:
        value = cost.session_run.p50_seconds
        drawn = "#" * max(1, round(longest * value / max(seconds))) if longest >= _LEAST_BAR else ""
        return f"{padded(drawn, longest)}{value * 1e6:>10.1f} us{value / seconds[0]:>7.2f}"

    return bar


def _rows(costs: "Sequence[Cost]", cells: "Callable[[Cost], str]") -> list[str]:
    return [line for cost in costs for line in _row(cost.name, cells(cost))]


def _row(name: str, cells: str) -> list[str]:
    """A line of a table; two if the name needs one of its own."""
    if width(name) < NAME_WIDTH:
        return [padded(name, NAME_WIDTH) + cells]
    return [name, f"{'':<{NAME_WIDTH}}{cells}"]


def _notes(costs: "Sequence[Cost]", threads: int, batch: int, machine: str, columns: int) -> list[str]:
    from cifar_edge.measure.benchmark import PROCESSES
    from cifar_edge.measure.timing import LARGE_RUNS, ROUNDS, SINGLE_RUNS

    versions = ", ".join(f"{name} {version}" for name, version in _versions(costs).items())
    runtimes = "onnxruntime, or LiteRT for a .tflite file," if _runs_litert(costs) else "onnxruntime"
    notes = [
        f"session.run: {runtimes} alone, from a ready uint8 array to logits; Classifier.predict: the same array "
        f"to a label with its score. {ROUNDS * SINGLE_RUNS:,} calls each; all models took turns in {ROUNDS} rounds.",
        f"batch {batch}: images a second by session.run, median of {ROUNDS * LARGE_RUNS} calls.",
        "creation: of a Classifier in a fresh process, imports not counted (read the file, create the session, check); "
        "memory: the peak of such a process until it had classified one image, Python and onnxruntime included; by "
        f"model: its increase over the peak after the imports. Medians of {PROCESSES} processes.",
        f"threads: {threads} of {machine}; {versions}.",
    ]
    return [line for note in notes for line in wrapped(note, columns, "  ")]


def _versions(costs: "Sequence[Cost]") -> dict[str, str]:
    import platform
    from importlib.metadata import version

    import numpy as np
    import onnxruntime

    from cifar_edge import __version__

    versions = {
        "cifar-edge": __version__,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    }
    if _runs_litert(costs):
        versions["ai-edge-litert"] = version("ai-edge-litert")
    return versions


def _runs_litert(costs: "Sequence[Cost]") -> bool:
    return any(cost.path.suffix == ".tflite" for cost in costs)
