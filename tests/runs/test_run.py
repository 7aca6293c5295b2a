"""A run as a value: what is written is read again, and of what is damaged or unfinished the state is told."""

import json
import math
import shutil
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import CHECKOUT
from export_helpers import write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from run_helpers import unfinished
from tiny import TINY

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.errors import ModelError, RecipeError, TrainingError
from cifar_edge.runs.dataset import DatasetReference, Fingerprints
from cifar_edge.runs.lock import held
from cifar_edge.runs.run import Run
from cifar_edge.runs.summary import RunSummary
from cifar_edge.spec import METADATA_KEY

FOLDERS = sorted(path.parent for path in CHECKOUT.glob("models/*/summary.json"))
KEPT = sorted(path.parent for path in CHECKOUT.glob("runs/keep/*/recipe.toml"))
BEGAN = "2026-03-01T10:00:00+00:00"

TEXTS = st.text(max_size=20)
COUNTS = st.integers(0, 10**9)
ACCURACIES = st.floats(0, 1)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=3, minutes=30))])
TIMES = st.datetimes(timezones=ZONES)
REFERENCES = st.builds(
    DatasetReference,
    name=TEXTS,
    source=TEXTS,
    folder=st.none() | TEXTS,
    holdout=st.none() | ACCURACIES,
) | st.builds(
    DatasetReference,
    name=TEXTS,
    source=TEXTS,
    folder=TEXTS,
    holdout=ACCURACIES,
    sha256=st.builds(Fingerprints, TEXTS, TEXTS, TEXTS, TEXTS),
    split_rule=st.integers(1, 9),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model": TEXTS,
    "labels": st.lists(TEXTS, max_size=4).map(tuple),
    "created": TIMES,
    "finished": TIMES,
    "seed": st.integers(0, 2**31 - 1),
    "macs": st.integers(0, 2**40),
    "seconds": st.floats(0, 1e9),
    "device": TEXTS,
    "data": REFERENCES,
    "versions": st.dictionaries(TEXTS, TEXTS, max_size=3),
    "temperature": st.dictionaries(st.sampled_from(["fp32", "int8"]), st.floats(1e-3, 1e3)),
    "notes": st.lists(TEXTS, max_size=3).map(tuple),
}


def values_of(name: str) -> st.SearchStrategy[Any]:
    return VALUES.get(name, ACCURACIES if name.endswith("_accuracy") else COUNTS)


NAMES = [field.name for field in fields(RunSummary) if field.name != "damage"]
SUMMARIES = st.builds(RunSummary, **{name: st.none() | values_of(name) for name in NAMES})
JSON = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@settings(deadline=None, derandomize=True)
@given(SUMMARIES)
def test_a_summary_survives_writing_and_reading(tmp_path_factory: pytest.TempPathFactory, summary: RunSummary) -> None:
    run = Run(tmp_path_factory.getbasetemp() / "survives")
    run.write_summary(summary)
    assert run.summary == summary
    assert run.summary.damage == {}


@settings(deadline=None, derandomize=True)
@given(SUMMARIES, st.data())
def test_a_damaged_value_is_named_and_the_others_are_read(summary: RunSummary, data: st.DataObject) -> None:
    record = summary.to_record()
    name = data.draw(st.sampled_from(NAMES))
    wrong = data.draw(JSON.filter(lambda value: name not in RunSummary.from_record({name: value}).to_record()))
    found = RunSummary.from_record(json.loads(json.dumps(record | {name: wrong})))
    rest = {other: value for other, value in record.items() if other != name}
    assert found == RunSummary.from_record(rest)
    assert [*found.damage] == [name]
    assert "\n" not in found.damage[name]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_released_run_is_read_and_would_be_written_alike(folder: Path) -> None:
    run = Run(folder)
    text = (folder / "summary.json").read_text()
    assert json.dumps(run.whole_summary().to_record(), indent=2) + "\n" == text
    network = run.network()
    assert (network.model, network.labels, network.size) == (run.summary.model, run.summary.labels, 32)
    assert run.recipe.model == run.summary.model == folder.name
    assert run.data.name == "cifar10"
    assert sum(record.phase == "train" for record in run.metrics()) == run.summary.epochs
    folding = [record.epoch for record in run.fold_metrics()]
    assert folding == [*range(1, len(folding) + 1)]
    missing = 284 if folder.name == "gn-cnn" else 0  # as its card says
    assert len(folding) + missing == (run.summary.fold_epochs or 0)
    assert run.weights().is_file()
    assert run.weights(folded=True).is_file() == bool(run.recipe.fold.epochs)
    status = run.status
    assert status is not None
    assert (status.state, status.accuracy) == ("finished", run.summary.accuracy)


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_every_kept_run_is_read(folder: Path) -> None:
    """Those of early versions have less: one says what it was trained on, and no more."""
    run = Run(folder)
    assert run.is_begun
    assert run.is_finished != run.is_resumable
    assert run.recipe.model.startswith("gn-cnn")
    if run.is_finished:
        assert run.data.name == "cifar10"
        assert run.summary.damage == {}
        assert run.network().model == run.recipe.model
    else:
        status, progress = run.status, run.progress
        assert progress is not None
        assert status is not None
        assert (status.state, status.model) == ("interrupted", run.recipe.model)
        assert len(run.metrics()) == len(progress.records) == status.epoch


def test_an_unfinished_run_tells_its_state_without_its_tensors(tmp_path: Path) -> None:
    """Behind the header there is nothing: whoever would load the tensors would fail."""
    run = Run(unfinished(tmp_path / "run", 7, BEGAN))
    path = run.path / "state.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["x"] = {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)

    status = run.status
    assert status is not None
    assert (status.state, status.epoch, status.epochs, status.accuracy) == ("interrupted", 7, 20, 0.4)
    assert status.created == datetime.fromisoformat(BEGAN)
    assert run.is_resumable
    assert not run.is_trained
    with held(run.path):
        assert run.status == replace(status, state="running")
    (run.path / "failure.txt").write_text("the loss is NaN\n")
    assert run.status == replace(status, state="failed", failure="the loss is NaN")
    with pytest.raises(TrainingError, match="already holds a run; give another --name"):
        run.check_new()


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    run = Run(tmp_path / "nothing")
    assert (run.is_begun, run.is_finished, run.is_resumable, run.is_trained) == (False,) * 4
    assert (run.status, run.progress, run.summary, run.exports) == (None, None, RunSummary(), [])
    run.check_new()
    for read, error in (
        (run.whole_summary, ModelError),
        (run.metrics, ModelError),
        (run.network, ModelError),
        (lambda: run.data, ModelError),
        (lambda: run.recipe, RecipeError),
    ):
        with pytest.raises(error) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": math.inf}, "is damaged: parameters, inf is not a whole number from 0 to 1,000,000,000"),
        ({"created": "yesterday"}, "is damaged: created, 'yesterday' is not a time"),
        ({"labels": "cat"}, "is damaged: labels, 'cat' is not a list"),
        ({"data": [1]}, "is damaged: data, [1] is not an object"),
        ({"data": {"name": "x"}}, "is damaged: data, it lacks 'source'"),
        ({"temperature": {"int8": 0}}, "is damaged: temperature, 0 is not a number from 0.001 to 1000"),
    ],
)
def test_a_damaged_summary_is_one_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    record = json.loads((FOLDERS[0] / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(record | change))
    with pytest.raises(ModelError) as caught:
        Run(tmp_path).whole_summary()
    assert str(caught.value) == f"{tmp_path / 'summary.json'} {message}"


@pytest.mark.parametrize("labels", [["a"], ["a", "a"], "ab", [str(number) for number in range(1001)], [1, 2], None])
def test_weights_of_odd_classes_name_no_network(labels: object, tmp_path: Path) -> None:
    """No claim of a header costs memory: the layers of a network for a million classes would."""
    header = {"__metadata__": {METADATA_KEY: json.dumps({"model": "gn-cnn", "labels": labels})}}
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ModelError, match=r"has no weights of a cifar-edge network \(its labels are"):
        Run(tmp_path).network()
    refused = command("summary", tmp_path)
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)


def test_every_command_takes_the_name_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: Dataset
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/w"), "s8-batch", sample)
    exported = command("export", "w", "--data", "sample")
    assert exported.exit_code == 0, exported.stderr
    assert "exporting runs/w to runs/w/export" in exported.stderr
    evaluated = command("evaluate", "w", "--data", "sample", "--json")
    assert evaluated.exit_code == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["model"] == "runs/w/export/w.fp32.onnx"
    assert [file.name for file in Run(Path("runs/w")).exports] == ["w.fp32.onnx"]
    shown = command("summary", "w", "--json")
    assert shown.exit_code == 0, shown.stderr
    assert (
        shown.stdout == command("summary", "runs/w", "--json").stdout == command("summary", "s8-batch", "--json").stdout
    )
    folded = command("fold", "w")
    assert (folded.exit_code, "norms of s8-batch follow ReLU" in folded.stderr) == (1, True)
    misspelt = command("export", "ww")
    assert (misspelt.exit_code, "is called 'ww' (did you mean w?)" in misspelt.stderr) == (1, True)


def test_a_path_comes_before_the_name_of_a_run_and_that_before_a_released_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def evaluated(model: str) -> str:
        return str(json.loads(command("evaluate", model, "--data", "sample", "--json").stdout)["model"])

    assert Path(evaluated("gn-cnn")).is_relative_to(CHECKOUT)
    Path("runs/gn-cnn/export").mkdir(parents=True)
    shutil.copy(TINY, "runs/gn-cnn/export/tiny.onnx")
    assert evaluated("gn-cnn") == "runs/gn-cnn/export/tiny.onnx"
    Path("gn-cnn").mkdir()
    shutil.copy(TINY, "gn-cnn/here.onnx")
    assert evaluated("gn-cnn") == "gn-cnn/here.onnx"


def test_a_name_that_is_taken_is_refused_before_anything_is_said_or_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unfinished(Path("runs/w"), 1, BEGAN)
    refused = command("train", "--name", "w", "--data", "nowhere")
    assert refused.exit_code == 1
    assert refused.stderr == "Error: runs/w already holds a run; give another --name\n"


def test_a_network_that_there_is_not_is_wrong_use_everywhere() -> None:
    for arguments in (["summary", "nope"], ["train", "--model", "nope"]):
        refused = command(*arguments)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert refused.stderr.startswith("Error: no network is called 'nope'")
