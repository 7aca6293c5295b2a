"""`cifar-edge benchmark`, and the timing below it: what is measured, in which order, and how it is told."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import heavy_imports_of
from click.testing import CliRunner, Result
from conftest import CHECKOUT
from tiny import TINY

from cifar_edge.cli.benchmark import text_report
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.measure.benchmark import Cost, Start, benchmark, row_names
from cifar_edge.measure.timing import Latency, take_turns
from cifar_edge.runs.resolve import precisions_beside
from cifar_edge.runtime.cores import cores

QUANTILES = {"p50_seconds", "p90_seconds", "p99_seconds"}
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is known on Linux alone")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["benchmark", *map(str, arguments)])


def start_fresh(model: Path, program: str = "") -> dict[str, Any]:
    """What a process that loads ``model`` says, started by one that has run ``program`` before."""
    command = [sys.executable, "-m", "cifar_edge.measure.startup", str(model), "1", "onnxruntime"]
    parent = f"import subprocess\n{program}\nsubprocess.run({command}, check=True)"
    done = subprocess.run([sys.executable, "-c", parent], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    record: dict[str, Any] = json.loads(done.stdout)
    return record


@pytest.fixture
def both_precisions(tmp_path: Path) -> Path:
    """A folder with tiny.onnx under the names of an export."""
    for precision in ("fp32", "int8"):
        (tmp_path / f"tiny.{precision}.onnx").write_bytes(TINY.read_bytes())
    return tmp_path


def cost(name: str, microseconds: float, memory: int | None = 60_000_000) -> Cost:
    latency = Latency(microseconds / 1e6, 2 * microseconds / 1e6, 4 * microseconds / 1e6)
    return Cost(name, Path(f"{name}.onnx"), 52_900, latency, latency, 1e6 / microseconds, Start(0.0123, memory, memory))


def test_percentiles_of_known_times() -> None:
    seconds = np.random.default_rng(0).permutation(np.arange(101.0)).tolist()
    assert Latency.of(seconds) == Latency(50.0, 90.0, 99.0)
    assert Latency.of([3.0]) == Latency(3.0, 3.0, 3.0)
    assert Latency.of([1.0, 2.0]).p50_seconds == 1.5
    with pytest.raises(ValueError, match="no times"):
        Latency.of([])


def test_calls_take_turns_and_warm_up_calls_are_not_counted() -> None:
    made: list[str] = []
    seconds = take_turns({name: partial(made.append, name) for name in "ab"}, rounds=3, runs=4, warm_up=2)
    assert "".join(made) == "aaaaaabbbbbb" * 3
    assert {name: len(times) for name, times in seconds.items()} == {"a": 12, "b": 12}
    assert min(seconds["a"] + seconds["b"]) >= 0


def test_slow_calls_take_three_turns() -> None:
    made: list[str] = []
    take_turns({name: partial(made.append, name) for name in "ab"}, rounds=9, runs=1, warm_up=0, longest=0.0)
    assert made == list("ab" * 3)


def test_models_take_turns_and_each_is_called_as_told(sample: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from cifar_edge.measure import benchmark as module

    schedules: list[list[Any]] = []

    def recorded(calls: dict[Any, Any], rounds: int) -> dict[Any, list[float]]:
        schedules.append(list(calls))
        for call in calls.values():
            call()
        return {key: [float(rounds)] for key in calls}

    monkeypatch.setattr(module, "time_singles", recorded)
    monkeypatch.setattr(module, "time_batches", recorded)
    first, second = benchmark([TINY, TINY], lambda size: sample.test_images, batch=7, rounds=5, processes=1)
    assert schedules == [[(0, "run"), (0, "predict"), (1, "run"), (1, "predict")], [0, 1]]
    assert (first.name, second.name) == ("tiny #1", "tiny #2")
    assert first.session_run == second.predict == Latency(5.0, 5.0, 5.0)
    assert first.images_per_second == 7 / 5


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/m.int8", "a/m.fp32"], ["m.int8", "m.fp32"]),
        (["runs/1/export/m.int8", "runs/2/export/m.int8"], ["1", "2"]),
        (["runs/1/export/m.int8", "runs/2/export/m.int8", "x/m.fp32"], ["1/m.int8", "2/m.int8", "m.fp32"]),
        (["old/m.int8", "new/m.int8"], ["old", "new"]),
        (["old/a/m", "new/a/m", "m", "../m"], ["old/a", "new/a", "here", "above"]),
        (["export/m/m.int8", "runs/1/export/m.int8"], ["m", "1"]),
        (["1/a/m", "1/b/m", "2/a/m"], ["1/a", "b", "2/a"]),
        (["a/m", "c/../a/m", "b/m", "b/n"], ["a/m #1", "a/m #2", "b/m", "n"]),
        (["a/line\nbreak", "a/m"], ["'line\\nbreak'", "m"]),
    ],
)
def test_rows_are_named_by_what_differs(
    files: list[str], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "above" / "here" / "c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above" / "here")
    assert row_names([Path(f"{file}.onnx") for file in files]) == names


def test_json_has_every_figure_of_every_model(both_precisions: Path) -> None:
    files = [both_precisions / f"tiny.{precision}.onnx" for precision in ("int8", "fp32")]
    result = run(*files, "--json", "--threads", "2", "--batch", "5")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [f"model: {file}" for file in files]
    record = json.loads(result.stdout)
    assert (record["threads"], record["batch"]) == (2, 5)
    assert f", {cores()} core{'s' if cores() > 1 else ''}, " in record["machine"]
    assert set(record["versions"]) == {"cifar-edge", "python", "onnxruntime", "numpy"}
    assert [(model["name"], model["path"]) for model in record["models"]] == [
        ("tiny.int8", str(files[0])),
        ("tiny.fp32", str(files[1])),
    ]
    for model in record["models"]:
        assert set(model) == {
            "name",
            "path",
            "file_bytes",
            "session_run",
            "predict",
            "images_per_second",
            "start",
            "engine",
        }
        assert model["file_bytes"] == TINY.stat().st_size
        for latency in (model["session_run"], model["predict"]):
            assert set(latency) == QUANTILES
            assert 0 < latency["p50_seconds"] <= latency["p90_seconds"] <= latency["p99_seconds"]
        assert model["images_per_second"] > 0
        assert set(model["start"]) == {"creation_seconds", "peak_bytes", "model_bytes"}
        assert model["start"]["creation_seconds"] > 0


@needs_linux
def test_memory_is_that_of_the_fresh_process_alone() -> None:
    small = start_fresh(TINY)
    after_large = start_fresh(TINY, "held = b'x' * 400_000_000")
    assert 0 < small["imports_bytes"] < small["peak_bytes"] < 300_000_000
    assert after_large["peak_bytes"] < 300_000_000


def test_the_report_fits_a_terminal_and_says_what_is_timed() -> None:
    costs = [cost("gn-cnn.fp32", 100.0), cost("a-model-of-a-very-long-name.int8", 25.0), cost("slow", 1.0e4)]
    lines = text_report(costs, threads=1, batch=64).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.isascii() for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "session.run: onnxruntime alone, from a ready uint8 array to logits" in text
    assert "Classifier.predict: the same array to a label" in text
    assert "gn-cnn.fp32 100.0 200.0 400.0 100.0 200.0 400.0" in text
    assert "gn-cnn.fp32 52.9 kB 12.3 ms 60.0 MB 60.0 MB 10,000/s" in text
    assert "threads: 1 of " in text
    first, name, *others = lines[lines.index("session.run, p50") + 1 :][:4]
    bars = [first, *others]
    assert name == "a-model-of-a-very-long-name.int8"
    assert [bar.count("#") for bar in bars] == [1, 1, 39]
    assert [bar.split()[-1] for bar in bars] == ["1.00", "0.25", "100.00"]
    assert {bar.index("#") for bar in bars} == {20}


@pytest.mark.parametrize("columns", [40, 50, 60])
def test_the_report_fits_a_narrow_terminal_and_has_the_same_figures(columns: int) -> None:
    costs = [cost("gn-cnn.fp32", 100.0), cost("slow", 1.0e4)]
    narrow, wide = (text_report(costs, threads=1, batch=64, columns=each) for each in (columns, 80))
    assert max(map(len, narrow.splitlines())) <= columns
    assert set(wide.replace("#", "").split()) <= set(narrow.replace("#", "").split())


def test_unknown_memory_is_told_as_such() -> None:
    assert text_report([cost("tiny", 10.0, memory=None)], 1, 64).count("unknown") == 2


def test_without_a_model_both_precisions_of_the_default_are_measured(
    both_precisions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIFAR_EDGE_MODEL", str(both_precisions))
    result = run()
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"model: {both_precisions / f'tiny.{precision}.onnx'} ($CIFAR_EDGE_MODEL)" for precision in ("fp32", "int8")
    ]
    assert [line.split()[0] for line in result.stdout.splitlines()[2:4]] == ["tiny.fp32", "tiny.int8"]


def test_precisions_beside_a_file(both_precisions: Path) -> None:
    fp32, int8 = both_precisions / "tiny.fp32.onnx", both_precisions / "tiny.int8.onnx"
    assert precisions_beside(int8) == precisions_beside(fp32) == [fp32, int8]
    assert precisions_beside(TINY) == [TINY]
    int8.unlink()
    assert precisions_beside(fp32) == [fp32]


@pytest.mark.parametrize("second", ["nonsense", "broken.onnx"])
def test_a_bad_model_is_one_line_before_anything_is_timed(
    second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.onnx").write_bytes(b"no model")
    result = run(TINY, second)
    assert (result.exit_code, result.stdout) == (1, "")
    errors = [line for line in result.stderr.splitlines() if not line.startswith("model: ")]
    assert len(errors) == 1
    assert errors[0].startswith("Error: ")
    assert second in errors[0]


def test_a_fresh_process_that_fails_is_one_line(
    sample: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from cifar_edge.errors import ModelError
    from cifar_edge.measure import benchmark as module

    monkeypatch.setattr(module, "_STARTUP", "cifar_edge.no_such_module")
    with pytest.raises(ModelError, match=r"^a fresh process that loads .*tiny\.onnx ended with 1: .*no_such_module"):
        benchmark([TINY], lambda size: sample.test_images, processes=1)


def test_it_loads_the_base_install_only(tmp_path: Path) -> None:
    measure = f"from cifar_edge.cli.main import main; main({['benchmark', str(TINY)]}, standalone_mode=False)"
    assert heavy_imports_of(measure, tmp_path) == {"numpy", "onnxruntime", "PIL"}


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--batch", "0"], ["--batch", "many"]])
def test_wrong_usage(arguments: list[str]) -> None:
    result = run(TINY, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_models_of_different_sizes_side_by_side(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from make_tiny_model import METADATA, tiny_model

    large = tmp_path / "large.onnx"
    large.write_bytes(tiny_model(replace(METADATA, size=64).to_json(), input_shape=("batch", 64, 64, 3)))
    asked: list[int] = []

    def images(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        asked.append(size)
        return np.zeros((1, size, size, 3), np.uint8)

    costs = benchmark([TINY, large], images, batch=2, rounds=1, processes=1)
    assert asked == [32, 64]
    assert [cost.name for cost in costs] == ["tiny", "large"]
    assert all(cost.predict.p50_seconds > 0 and cost.images_per_second > 0 for cost in costs)
