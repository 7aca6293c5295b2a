"""Ctrl-C, a loss that explodes, a full disk, too little memory: one line, and what was there stays good."""

import json
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ENTRY_POINT
from torch import Tensor

from cifar_edge.cli.interruption import interruptible
from cifar_edge.data import Dataset
from cifar_edge.errors import CifarEdgeError, Interrupted, TrainingError
from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.runs.recipe import FoldRecipe, Recipe
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.loop import logits_of
from cifar_edge.training.run import fold_run, resume, train
from cifar_edge.training.state import load_state

RECIPE = Recipe(model="s8-group", epochs=3, batch_size=16)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, few: Dataset) -> bytes:
    """The weights of `RECIPE`, trained in one go."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(RECIPE, few, folder)
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def in_second_epoch(action: Callable[[], object]) -> Callbacks:
    """Does something within the second epoch, whose last step the callbacks is told of."""

    def step(phase: str, epoch: int, *rest: float) -> None:
        if epoch == 2:
            action()

    return Callbacks(step=step)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals, exit_code: int) -> None:
    options = ["--data", "sample", "--model", "s8-group", "--epochs", "1000", "--name", "my run"]
    state = tmp_path / "runs" / "my run" / "state.safetensors"
    with subprocess.Popen(
        [ENTRY_POINT, "train", *options], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and (not state.exists() or not load_state(state.parent).records):
            time.sleep(0.05)
        process.send_signal(number)
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (exit_code, "")
    lines = stderr.splitlines()
    assert lines[-2] == "stopping after this step; once more stops at once"
    assert lines[-1].startswith("interrupted ")
    assert lines[-1].endswith("; go on with: cifar-edge train --resume 'runs/my run'")
    assert not (state.parent / ".lock").exists()
    assert len(load_state(state.parent).records) >= 1


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_export_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals, exit_code: int) -> None:
    with subprocess.Popen(
        [ENTRY_POINT, "export", "s8-group", "--data", "sample", "--out", tmp_path / "made" / "out"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),
    ) as process:
        while process.poll() is None and not (tmp_path / "made" / ".out.work" / ".lock").exists():
            time.sleep(0.01)
        process.send_signal(number)
        _, stderr = process.communicate()
    said = {signal.SIGINT: "Error: interrupted", signal.SIGTERM: "Error: terminated"}[number]
    assert (process.returncode, stderr.splitlines()[-1]) == (exit_code, said)
    assert list(tmp_path.iterdir()) == []


def test_the_first_signal_loses_nothing_and_the_second_stops_at_once(
    tmp_path: Path, few: Dataset, whole: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Signals at a known moment: in the second epoch, once and then twice."""
    folder = tmp_path / "run"

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as ended, interruptible("advice") as stop:
        train(RECIPE, few, folder, callbacks=replace(in_second_epoch(twice), stop=stop))
    assert ended.value.code == 143
    assert capfd.readouterr().err == "stopping after this step; once more stops at once\nstopped at once; advice\n"
    assert [record.epoch for record in load_state(folder).records] == [1]

    once = in_second_epoch(lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as ended, interruptible("advice") as stop:
        resume(folder, few, callbacks=replace(once, stop=stop))
    assert ended.value.code == 130
    assert "interrupted after epoch 2/3; advice" in capfd.readouterr().err
    resume(folder, few)
    assert (folder / "model.safetensors").read_bytes() == whole


def test_an_interrupted_folding_leaves_the_run_as_it_was(
    tmp_path: Path, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(Recipe(epochs=1, fold=FoldRecipe(epochs=1), batch_size=16), few, tmp_path / "run")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(Interrupted):
        fold_run(tmp_path / "run", few, epochs=2, callbacks=Callbacks(stop=lambda: True))
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before

    def ends(logits: Tensor, labels: Tensor) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr("cifar_edge.training.phases.accuracy_of", ends)  # all is trained by then
    with pytest.raises(KeyboardInterrupt):
        fold_run(tmp_path / "run", few, epochs=2)
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_another_folding_makes_the_fitted_temperature_void(tmp_path: Path, few: Dataset) -> None:
    train(Recipe(epochs=1, fold=FoldRecipe(epochs=1), batch_size=16), few, tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps({**summary, "temperature": {"fp32": 1.25, "int8": 1.5}}))
    assert load_network(tmp_path).temperatures == {"fp32": 1.25, "int8": 1.5}
    fold_run(tmp_path, few, epochs=1)
    assert load_network(tmp_path).temperatures == {"fp32": 1.25}


def test_a_loss_that_explodes_keeps_the_last_good_state(tmp_path: Path, few: Dataset) -> None:
    folder = tmp_path / "run"
    recipe = RECIPE.with_values(weight_decay=1.0, warmup=1.0, learning_rate=3.0, momentum=0.9, epochs=40)
    with pytest.raises(TrainingError, match=r"no longer finite in epoch \d+; lower the learning rate") as caught:
        train(recipe, few, folder)
    message = str(caught.value)
    assert f"learning_rate in {folder}/recipe.toml" in message
    assert message.endswith(f"go on: cifar-edge train --resume {folder}")
    state = load_state(folder)
    assert state.snapshot is not None
    assert all(tensor.isfinite().all() for tensor in state.snapshot.tensors.values())
    assert len(state.records) == state.snapshot.epoch > 0
    (folder / "recipe.toml").write_text(recipe.with_values(learning_rate=0.001, weight_decay=0.0).to_toml())
    resume(folder, few)
    assert logits_of(load_network(folder).network, torch.from_numpy(few.test_images)).isfinite().all()


def test_a_disk_that_is_full_leaves_the_state_before(tmp_path: Path, few: Dataset, whole: bytes) -> None:
    folder = tmp_path / "run"
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(record: EpochRecord, epochs: int) -> None:
        if record.epoch == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))

    try:
        with pytest.raises(TrainingError) as caught:
            train(RECIPE, few, folder, callbacks=Callbacks(epoch=fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value).startswith(f"cannot write {folder}/state.safetensors: File too large; then go on: ")
    assert len(load_state(folder).records) == 1
    resume(folder, few)
    assert (folder / "model.safetensors").read_bytes() == whole


def test_a_folder_that_cannot_be_written(tmp_path: Path, few: Dataset) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(CifarEdgeError, match=r"^cannot write .*runs/x/recipe.toml: .*runs is not a folder$"):
        train(RECIPE, few, tmp_path / "runs" / "x")


def on_the_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB\nmore of it")


@pytest.mark.parametrize(
    ("allocate", "where"),
    [
        (lambda: torch.empty(2**50), "on this machine"),
        (lambda: np.empty(2**50), "on this machine"),
        (on_the_gpu, "on the GPU"),
    ],
    ids=["torch", "numpy", "cuda"],
)
def test_too_little_memory_is_one_line(
    tmp_path: Path, few: Dataset, whole: bytes, allocate: Callable[[], object], where: str
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(TrainingError) as caught:
        train(RECIPE, few, folder, callbacks=in_second_epoch(allocate))
    assert str(caught.value) == (
        f"out of memory {where}; free some, or train anew with a smaller batch_size (16); "
        f"then go on: cifar-edge train --resume {folder}"
    )
    resume(folder, few)
    assert (folder / "model.safetensors").read_bytes() == whole
