"""The log for TensorBoard, read back by TensorBoard's own reader."""

import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cifar_edge.cli.main import main
from cifar_edge.cli.train_run import begin
from cifar_edge.data import Dataset
from cifar_edge.models import default_recipe
from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.tensorboard import logged

RECORDS = [
    EpochRecord("train", 1, 0.1, 2.0, 0.2, 0.25, 1.0),
    EpochRecord("train", 2, 0.0, 1.5, 0.4, 0.5, 2.0),
    EpochRecord("fold", 1, 0.05, 1.25, 0.5, 0.75, 3.0),
]


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    log = EventAccumulator(str(folder))
    log.Reload()
    return [(event.step, round(event.value, 6)) for event in log.Scalars(tag)]


def test_a_resumed_run_goes_on_with_its_log(tmp_path: Path) -> None:
    told: list[EpochRecord] = []
    callbacks = Callbacks(epoch=lambda record, epochs: told.append(record))
    threads = threading.active_count()
    with logged(callbacks, tmp_path, 2, "test") as first:
        first.epoch(RECORDS[0], 2)
        first.epoch(replace(RECORDS[1], loss=9.0), 2)  # killed before its state was saved
    with logged(callbacks, tmp_path, 2, "test") as resumed:
        for record in RECORDS[1:]:
            resumed.epoch(record, 2)
    assert threading.active_count() == threads
    assert scalars(tmp_path, "loss") == [(1, 2.0), (2, 1.5), (3, 1.25)]
    assert scalars(tmp_path, "accuracy/training") == [(1, 0.2), (2, 0.4), (3, 0.5)]
    assert scalars(tmp_path, "accuracy/test") == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert scalars(tmp_path, "learning_rate")[2] == (3, 0.05)
    assert told == [RECORDS[0], replace(RECORDS[1], loss=9.0), *RECORDS[1:]]


def test_the_command_writes_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--data", "sample", "--model", "s8-group", "--epochs", "2", "--name", "run", "--tensorboard"]
    result = CliRunner().invoke(main, ["train", *options])
    assert result.exit_code == 0, result.stderr
    assert [step for step, _ in scalars(tmp_path / "runs" / "run", "loss")] == [1, 2]


def test_a_process_that_does_not_write_the_run_writes_no_log_there(
    sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = default_recipe("s8-group").with_values(epochs=1)
    begin(recipe, sample, Path("runs", "run"), "cpu", tensorboard=True, folder_to_write=lambda folder: Path("copy"))
    assert not Path("runs").exists()
    assert [step for step, _ in scalars(tmp_path / "copy", "loss")] == [1]


def test_without_the_extra_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cifar_edge.training.tensorboard", "torch.utils.tensorboard"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    result = CliRunner().invoke(main, ["train", "--data", "sample", "--epochs", "1", "--tensorboard"])
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.endswith("; pip install 'cifar-edge[tensorboard]'")
    assert not (tmp_path / "runs").exists()
