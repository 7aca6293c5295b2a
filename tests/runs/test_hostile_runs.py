"""Runs from strangers: whatever stands in their files, a command ends with one line, and no claim costs memory."""

import io
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.errors import CifarEdgeError, Interrupted, ModelError, TrainingError
from cifar_edge.files import released
from cifar_edge.runs.reading import header_record
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.resolve import find_run
from cifar_edge.runs.run import list_runs
from cifar_edge.spec import METADATA_KEY
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.checkpoint import load_network, read_weights
from cifar_edge.training.run import resume, train
from cifar_edge.training.state import load_state

BRACKETS = "[" * 100_000
SUMMARY = json.loads((released("models/gn-cnn") / "summary.json").read_text())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def one_line(*arguments: str) -> str:
    """The error of a command, which is its last line, and its only one beside notes."""
    result = run(*arguments)
    assert result.exit_code in (1, 2), result.output
    *notes, error = result.stderr.splitlines()
    assert error.startswith("Error: ")
    assert not any(note.startswith(("Error", " ", "Traceback")) for note in notes)
    return error


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, few: Dataset) -> Path:
    """A run that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    asked = iter(range(5))
    callbacks = Callbacks(stop=lambda: next(asked, None) is None)
    with pytest.raises(Interrupted):
        train(Recipe(model="s8-group", epochs=2, batch_size=16, precision="fp32"), few, folder, callbacks=callbacks)
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as runs/stopped below the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(stopped, Path("runs/stopped")))


def record_of(folder: Path) -> dict[str, Any]:
    with (folder / "state.safetensors").open("rb") as file:
        return dict(header_record(file))


def write_state(folder: Path, record: object, tensors: dict[str, Tensor] | None = None) -> None:
    path = folder / "state.safetensors"
    path.write_bytes(save(tensors or load(path.read_bytes()), {METADATA_KEY: json.dumps(record)}))


def test_the_state_as_it_was_is_gone_on_from(folder: Path, few: Dataset) -> None:
    write_state(folder, record_of(folder))
    assert resume(folder, few).epochs == 2


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "xyz"},
        {"phase": None},
        {"epoch": "1"},
        {"epoch": -1},
        {"steps": 1.5},
        {"records": [{"phase": "train"}]},
        {"records": [[]]},
        {"records": 5},
        {"environment": []},
        {"environment": 5},
        {"seconds": "long"},
        {"seconds": 1e999},
        {"created": 5},
        {"recipe": {"epochs": "many"}},
        {"recipe": []},
        {"data": None},
        {"data": {"name": 1, "source": "x"}},
        {"data": {"name": "x", "source": "x", "holdout": "half"}},
        {"data": {"name": "x", "source": "x", "sha256": {"a": "b"}}},
    ],
    ids=str,
)
def test_a_state_of_other_kinds_of_values(change: dict[str, Any], folder: Path) -> None:
    write_state(folder, record_of(folder) | change)
    if change != {"environment": []}:  # which is as good as an empty one
        assert "holds no state that this cifar-edge can go on from" in one_line("train", "--resume", "stopped")
    run("runs")
    run("info")


@pytest.mark.parametrize("record", [None, 5, [], {}, "text", {"phase": "train"}])
def test_a_state_of_something_else(record: object, folder: Path) -> None:
    write_state(folder, record)
    assert "holds no state" in one_line("train", "--resume", "stopped")
    run("runs")


CHANGES: list[tuple[str, Callable[[dict[str, Tensor]], object]]] = [
    ("no loss", lambda tensors: tensors.pop("loss")),
    ("no weight", lambda tensors: tensors.pop("network.0.weight")),
    ("one more", lambda tensors: tensors.update({"network.more": torch.ones(1)})),
    ("other shape", lambda tensors: tensors.update({"average.0.weight": torch.ones(1, 2, 3, 4)})),
    ("repeated", lambda tensors: tensors.update({"momentum.0.weight": torch.ones(1)})),
    ("empty", lambda tensors: tensors.update({"network.0.weight": torch.ones(0, 3, 3, 3)})),
    ("complex", lambda tensors: tensors.update({"network.0.weight": torch.ones(4, 3, 3, 3, dtype=torch.complex64)})),
    ("momentum of nothing", lambda tensors: tensors.update({"momentum.x": torch.ones(1)})),
    ("a momentum too few", lambda tensors: tensors.pop("momentum.0.weight")),
    ("calls as numbers", lambda tensors: tensors.update({"calls": torch.ones(5, dtype=torch.int64)})),
    ("negative calls", lambda tensors: tensors.update({"calls": torch.tensor(-10)})),
]


@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[name for name, _ in CHANGES])
def test_a_state_of_other_tensors(change: Callable[[dict[str, Tensor]], object], folder: Path, few: Dataset) -> None:
    tensors = load((folder / "state.safetensors").read_bytes())
    change(tensors)
    write_state(folder, record_of(folder), tensors)
    with pytest.raises(ModelError, match="the state does not fit the network"):
        resume(folder, few)
    assert not (folder / "failure.txt").exists()


def test_a_state_of_folding_with_weights_of_another_network(folder: Path, few: Dataset) -> None:
    write_state(folder, record_of(folder) | {"phase": "fold"})
    with pytest.raises(TrainingError, match=r"model\.safetensors is missing"):
        resume(folder, few)
    shutil.copy(released("models/gn-cnn") / "model.safetensors", folder)
    with pytest.raises(TrainingError, match="holds gn-cnn of size 32, but the recipe has s8-group of size 32"):
        resume(folder, few)


@pytest.mark.parametrize("key", ["model", "device", "epochs", "parameters", "seconds", "test_accuracy", "test_images"])
@pytest.mark.parametrize("value", ["text", None, [1], -1, 1e999, 10**400])
def test_a_summary_of_other_values(key: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "r").mkdir(parents=True)
    (tmp_path / "runs" / "r" / "summary.json").write_text(json.dumps(SUMMARY | {key: value}))
    if not (value == "text" and key in ("model", "device")):
        assert f"summary.json is damaged: {key}" in one_line("train", "--resume", "r")
    for command in ("runs", "info"):
        assert run(command).exit_code == 0


@pytest.mark.parametrize("text", [BRACKETS, f"epochs = {BRACKETS}", "epochs = " + "9" * 5000, "seed = 0x" + "f" * 5000])
def test_a_recipe_of_brackets_or_digits(text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    error = one_line("train", "--recipe", str(tmp_path / "recipe.toml"))
    assert len(error) < 500
    key, _, value = text.partition(" = ")
    if value:
        assert len(one_line("train", "--set", f"{key}={value}")) < 11_000


def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    """A pipe waits for a writer, and a device has no end."""
    for name in ("state.safetensors", "failure.txt", "recipe.toml", "summary.json", "model.safetensors"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    os.mkfifo(folder / ".lock")
    assert run("runs").exit_code == 0
    assert run("info").exit_code == 0
    assert "holds no state" in one_line("train", "--resume", "stopped")
    assert "not a regular file" in one_line("train", "--recipe", str(folder / "recipe.toml"))
    assert "Error: " in one_line("export", "runs/stopped")
    assert "not a regular file" in one_line("train", "--recipe", "/dev/zero")


def sparse(path: Path, size: int, header: dict[str, Any]) -> None:
    """A safetensors file of ``size`` bytes that takes next to no room on the disk."""
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(size)


def test_forty_gigabytes_of_weights_are_not_read(folder: Path) -> None:
    about = {"__metadata__": {METADATA_KEY: json.dumps({"model": "gn-cnn", "labels": ["a", "b"]})}}
    huge = {"dtype": "F32", "shape": [10**10], "data_offsets": [0, 4 * 10**10]}
    for name in ("model.safetensors", "state.safetensors"):
        sparse(folder / name, 4 * 10**10, about | {"x": huge})
    with pytest.raises(ModelError, match=r"40,000,000,000 bytes; at most 268,435,456 are read"):
        read_weights(folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"40,000,000,000 bytes"):
        load_state(folder)
    sparse(folder / "model.safetensors", 1000, about | {"x": huge})
    with pytest.raises(ModelError, match="has no weights of a cifar-edge network"):
        read_weights(folder / "model.safetensors")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{" * 100)
    with pytest.raises(ModelError, match="has no weights of a cifar-edge network"):
        read_weights(folder / "model.safetensors")


@pytest.mark.parametrize(
    "labels", ["text", [1, 2], ["a"], ["a", "a"], ["a", ""], None, {"a": 1, "b": 2}, [str(n) for n in range(100_000)]]
)
def test_labels_are_names(labels: object, tmp_path: Path) -> None:
    about = json.dumps({"model": "gn-cnn", "labels": labels})
    (tmp_path / "model.safetensors").write_bytes(save({"x": torch.ones(1)}, {METADATA_KEY: about}))
    with pytest.raises(ModelError, match="its labels are not class names"):
        read_weights(tmp_path / "model.safetensors")


@pytest.mark.parametrize("temperature", [{"fp32": 0}, {"fp32": "1"}, {"int8": 1e999}, {"int8": 10**400}, [1], "x"])
def test_temperatures_are_numbers(temperature: object, tmp_path: Path) -> None:
    shutil.copytree(released("models/gn-cnn"), tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text(json.dumps(SUMMARY | {"temperature": temperature}))
    with pytest.raises(ModelError, match=r"summary\.json is missing or damaged"):
        load_network(tmp_path / "run")


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.data())
def test_any_json_in_a_run_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "any" / "runs" / "r"
    folder.mkdir(parents=True, exist_ok=True)
    record = dict(SUMMARY)
    for key in data.draw(st.lists(st.sampled_from(sorted(record)), min_size=1, max_size=3)):
        record[key] = data.draw(JSON)
    (folder / "summary.json").write_text(json.dumps(data.draw(st.sampled_from([record, *record.values()]))))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent.parent)
        assert run("runs").exit_code == 0
        assert run("runs", "--json").exit_code == 0
        list_runs()
        try:
            find_run("r").whole_summary()
        except CifarEdgeError as error:
            assert "\n" not in str(error)
        assert run("train", "--resume", "r").exit_code in (0, 1)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.text(max_size=200), st.dictionaries(st.sampled_from(sorted(Recipe().to_mapping())), JSON, max_size=3))
def test_any_recipe_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, settings: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    for given_settings in (None, settings):
        try:
            Recipe.from_file(path) if given_settings is None else Recipe.from_mapping(given_settings)
        except CifarEdgeError as error:
            assert str(error)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_no_state_and_no_weights(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("state.safetensors", "model.safetensors"):
        (folder / name).write_bytes(struct.pack("<Q", len(content)) + content)
    with pytest.raises(ModelError):
        load_state(folder)
    with pytest.raises(ModelError):
        read_weights(folder / "model.safetensors")
    with pytest.raises((ValueError, KeyError, TypeError)):
        header_record(io.BytesIO(struct.pack("<Q", len(BRACKETS)) + BRACKETS.encode()))
