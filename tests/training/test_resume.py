"""A training that was cut off goes on, and ends as if it had not been."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from conftest import RunCommand
from safetensors.torch import load_file, save_file

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.data.dataset import SPLIT_RULE
from cifar_edge.errors import CifarEdgeError, DataError, Interrupted, ModelError, TrainingError
from cifar_edge.models.registry import MODELS, Family
from cifar_edge.models.summary import count_parameters
from cifar_edge.runs.lock import held
from cifar_edge.runs.recipe import FoldRecipe, Recipe
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.phases import Phases
from cifar_edge.training.run import fold_run, resume, train
from cifar_edge.training.state import load_state, save_state

KILLS = int(os.environ.get("KILLS", "3"))
"""How often a training is killed at the least; give more for a longer test."""

RECIPE = Recipe(epochs=2, fold=FoldRecipe(epochs=2), batch_size=50, mixup=0.2, cutout=8)
SHORT = Recipe(epochs=2, batch_size=16)


def result(folder: Path) -> tuple[dict[str, bytes], list[str], list[str]]:
    """Weights as bytes, metrics but for the seconds, and which files there are."""
    weights = {file.name: file.read_bytes() for file in folder.glob("*.safetensors")}
    metrics = [line.rpartition(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()]
    return weights, metrics, sorted(file.name for file in folder.iterdir())


def stopping_after(steps: int) -> Callbacks:
    """Says stop at each of so many steps, and from then on."""
    asked = iter(range(steps - 1))
    return Callbacks(stop=lambda: next(asked, None) is None)


def train_or_resume(folder: Path) -> None:
    """What the processes do that are killed."""
    sample = load_dataset("sample")
    if (folder / "state.safetensors").exists():
        resume(folder, sample)
    else:
        train(RECIPE, sample, folder)


def test_killed_at_random_moments_it_ends_the_same(tmp_path: Path, sample: Dataset) -> None:
    began = time.monotonic()
    train(RECIPE, sample, tmp_path / "whole")
    seconds = time.monotonic() - began
    processes = multiprocessing.get_context("forkserver")  # imports torch once, not in each process
    processes.set_forkserver_preload(["cifar_edge.training.run"])
    kills, runs = 0, 0
    while kills < KILLS:
        folder, patience = tmp_path / str(runs), seconds
        while not (folder / "summary.json").exists() or (folder / "state.safetensors").exists():
            process = processes.Process(target=train_or_resume, args=(folder,))
            process.start()
            process.join(random.uniform(0, patience))
            patience *= 1.2  # a new process is slower at first: it must not be killed in its first epoch for ever
            process.kill()
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
            kills += process.exitcode != 0
        assert result(folder) == result(tmp_path / "whole")
        runs += 1


@pytest.mark.parametrize(
    "recipe",
    [
        SHORT.with_values(
            fold=FoldRecipe(epochs=2, muon_learning_rate=0.02), mixup=0.2, cutout=8, muon_learning_rate=0.01
        ),
        SHORT.with_values(model="s8-layer"),  # dropout
        SHORT.with_values(model="s8-batch", holdout=16, momentum=0.0),
        SHORT.with_values(teacher="gn-cnn", precision="fp32"),
        SHORT.with_values(teacher="gn-cnn", augmented_copies=1, fold=FoldRecipe(epochs=2)),
    ],
    ids=["folded", "dropout", "batch-norm", "teacher", "copies"],
)
def test_stopped_after_every_third_step_it_ends_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, few: Dataset, recipe: Recipe
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    train(recipe, few, tmp_path / "whole")
    folder = tmp_path / "parts"
    with pytest.raises(Interrupted):
        train(recipe, few, folder, callbacks=stopping_after(3))
    for _ in range(100):
        assert (folder / "state.safetensors").exists()
        torch.manual_seed(random.randrange(1000))  # as a new process would not have it
        try:
            resume(folder, few, callbacks=stopping_after(3))
        except Interrupted:
            continue
        break
    assert result(folder) == result(tmp_path / "whole")


@pytest.mark.parametrize("model", ["gn-cnn-nano", "gn-cnn-max"])
def test_a_state_of_an_earlier_version_is_gone_on_with(tmp_path: Path, few: Dataset, model: str) -> None:
    """The tensors of its fine-tuning were called after the chain of convolutions, not after the tree of layers."""
    recipe = SHORT.with_values(
        model=model, epochs=1, muon_learning_rate=0.01, fold=FoldRecipe(epochs=2, muon_learning_rate=0.01)
    )
    train(recipe, few, tmp_path / "whole")
    folder = tmp_path / "parts"
    with pytest.raises(Interrupted):
        train(recipe, few, folder, callbacks=stopping_after(6))
    state = load_state(folder)
    assert (state.phase, state.snapshot is not None) == ("fold", True)
    assert state.snapshot is not None
    kinds = {"convolutions": 4, "head": 2, "norms": 1}  # by how many dimensions the weights have
    of_layer: dict[str, str] = {}
    for kind, dimensions in kinds.items():
        weights = {
            name: tensor
            for name, tensor in state.snapshot.tensors.items()
            if name.startswith("network.") and name.endswith(".weight") and tensor.ndim == dimensions
        }
        in_order = sorted(weights, key=lambda name: [int(part) for part in name.split(".") if part.isdigit()])
        for index, name in enumerate(in_order):
            layer = name.removeprefix("network.").removesuffix(".weight")
            of_layer[layer] = kind if kind == "head" else f"{kind}.{index}"
    assert list(of_layer.values()).count("head") == 1

    def earlier(name: str) -> str:
        group, _, rest = name.partition(".")
        layer, _, last = rest.rpartition(".")
        return f"{group}.{of_layer[layer]}.{last}" if layer in of_layer else name

    tensors = {earlier(name): tensor for name, tensor in state.snapshot.tensors.items()}
    assert {"network.convolutions.0.weight", "average.norms.1.running_var", "momentum.head.bias"} <= tensors.keys()
    assert not any(".layers." in name for name in tensors)
    save_state(folder, replace(state, snapshot=replace(state.snapshot, tensors=tensors)))
    resume(folder, few)
    assert result(folder) == result(tmp_path / "whole")


def test_a_run_of_the_earlier_gn_cnn_goes_on_as_that(
    tmp_path: Path, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name has come to mean another network; runs keep theirs, from the state to the folded weights."""
    recipe = SHORT.with_values(model="gn-cnn", fold=FoldRecipe(epochs=1))
    earlier = MODELS["gn-cnn"].earlier
    assert earlier is not None
    with monkeypatch.context() as patch:
        patch.setattr("cifar_edge.models.registry.MODELS", {"gn-cnn": Family(earlier)})
        train(recipe, few, tmp_path / "whole")
        folder = tmp_path / "parts"
        with pytest.raises(Interrupted):
            train(recipe, few, folder, callbacks=stopping_after(3))
    resume(folder, few)
    assert result(folder) == result(tmp_path / "whole")
    loaded = load_network(folder)
    assert loaded.folded is not None
    assert (count_parameters(loaded.network), count_parameters(loaded.folded)) == (49_602, 49_158)
    summary = CliRunner().invoke(main, ["summary", str(folder)], catch_exceptions=False).stdout
    assert "49,602" in summary


@pytest.fixture
def unfinished(tmp_path: Path, few: Dataset) -> Path:
    """A run that was stopped in its second epoch."""
    folder = tmp_path / "runs" / "unfinished"
    with pytest.raises(Interrupted):
        train(SHORT.with_values(model="s8-group", precision="fp32"), few, folder, callbacks=stopping_after(6))
    return folder


def test_a_state_without_its_recipe_is_enough(unfinished: Path, few: Dataset) -> None:
    """A process may be killed between writing the two."""
    recipe = (unfinished / "recipe.toml").read_text()
    (unfinished / "recipe.toml").unlink()
    (unfinished / ".cifar-edge-ab12cd_3.safetensors").write_bytes(b"half of it")
    (unfinished / ".notes-20261123.txt").touch()  # somebody's own
    resume(unfinished, few)
    (unfinished / ".notes-20261123.txt").unlink()
    assert (unfinished / "recipe.toml").read_text() == recipe
    assert not [file for file in unfinished.iterdir() if file.name.startswith((".", "state"))]


def test_a_finished_run_is_left_as_it_is(cifar_edge: RunCommand, unfinished: Path, few: Dataset) -> None:
    state = (unfinished / "state.safetensors").read_bytes()
    summary = resume(unfinished, few)
    (unfinished / "state.safetensors").write_bytes(state)  # killed just before it was removed
    before = result(unfinished)
    notes: list[str] = []
    assert resume(unfinished, few, callbacks=Callbacks(note=notes.append)) == summary
    assert result(unfinished)[1] == before[1]
    assert notes == [f"{unfinished} is finished: there is nothing to go on with"]
    done = cifar_edge("train", "--resume", "unfinished")
    assert (done.returncode, done.stderr) == (0, "runs/unfinished is finished: there is nothing to go on with\n")
    assert "parameters            11,104" in done.stdout


def damage_state(folder: Path) -> None:
    path = folder / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def other_tensors(folder: Path) -> None:
    save_file({"a": torch.zeros(3)}, folder / "state.safetensors")


def no_state(folder: Path) -> None:
    (folder / "state.safetensors").unlink()


def change(**values: object) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        recipe = Recipe.from_file(folder / "recipe.toml").with_values(**values)
        (folder / "recipe.toml").write_text(recipe.to_toml())

    return changed


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (damage_state, ModelError, "holds no state that this cifar-edge can go on from"),
        (other_tensors, ModelError, "holds no state that this cifar-edge can go on from"),
        (no_state, ModelError, "holds no state.safetensors to go on from"),
        (change(batch_size=8), TrainingError, "cannot go on with batch_size from 16 to 8"),
        (change(model="s8-batch", holdout=9), TrainingError, "model from s8-group to s8-batch, holdout from 0 to 9"),
    ],
)
def test_what_cannot_go_on_is_left_as_it_is(
    unfinished: Path, few: Dataset, harm: Callable[[Path], None], error: type[CifarEdgeError], message: str
) -> None:
    harm(unfinished)
    before = result(unfinished)
    with pytest.raises(error, match=message) as caught:
        resume(unfinished, few)
    assert "\n" not in str(caught.value)
    assert result(unfinished) == before


def test_other_images_are_refused(unfinished: Path, few: Dataset) -> None:
    with pytest.raises(TrainingError, match="mine is not what was trained on, cifar10-sample; give that with --data"):
        resume(unfinished, replace(few, name="mine"))


def test_own_pictures_that_were_changed_are_refused(tmp_path: Path, few: Dataset) -> None:
    folder, own = tmp_path / "run", replace(few, folder=Path("/pictures"), split_rule=SPLIT_RULE)
    with pytest.raises(Interrupted):
        train(SHORT.with_values(model="s8-group"), own, folder, callbacks=stopping_after(1))
    labels = few.train_labels.copy()
    labels[5] = (labels[5] + 1) % 10
    with pytest.raises(TrainingError, match="cannot go on: /pictures is not what was trained on: other training"):
        resume(folder, replace(own, train_labels=labels))
    with pytest.raises(Interrupted):
        resume(folder, replace(own, folder=Path("/moved")), callbacks=stopping_after(1))
    assert load_state(folder).data.folder == "/moved"
    resume(folder, replace(own, folder=Path("/moved")))


def test_own_pictures_of_an_earlier_rule_are_refused(tmp_path: Path, few: Dataset) -> None:
    folder, own = tmp_path / "run", replace(few, folder=Path("/pictures"), split_rule=SPLIT_RULE)
    with pytest.raises(Interrupted):
        train(SHORT.with_values(model="s8-group"), own, folder, callbacks=stopping_after(1))
    state = load_state(folder)
    save_state(folder, replace(state, data=replace(state.data, split_rule=1)))
    with pytest.raises(DataError, match=r"an earlier version split .* by another rule, .*; train anew"):
        resume(folder, own)


def test_classes_that_were_renamed_are_refused_once_there_are_weights(tmp_path: Path, few: Dataset) -> None:
    folder, own = tmp_path / "run", replace(few, folder=Path("/pictures"), split_rule=SPLIT_RULE)
    renamed = replace(own, labels=("aircraft", *few.labels[1:]))
    with pytest.raises(Interrupted):
        train(SHORT.with_values(epochs=1, fold=FoldRecipe(epochs=1)), own, folder, callbacks=stopping_after(6))
    assert load_state(folder).phase == "fold"
    refusal = "has the classes airplane, .* now has aircraft, "
    with pytest.raises(TrainingError, match=refusal):
        resume(folder, renamed)
    resume(folder, own)
    with pytest.raises(TrainingError, match=refusal):
        fold_run(folder, renamed, epochs=1)


def test_what_changes_the_weights_is_noted(unfinished: Path, few: Dataset) -> None:
    change(learning_rate=0.01)(unfinished)
    notes: list[str] = []
    torch.set_num_threads(2)
    try:
        resume(unfinished, few, callbacks=Callbacks(note=notes.append))
    finally:
        torch.set_num_threads(1)
    assert len(notes) == 2
    assert notes[0].endswith("so its weights will be others: learning_rate from 0.15 to 0.01")
    assert notes[1].endswith("so its weights will be others: threads 1, now 2")


def test_a_run_that_is_trained_is_not_trained_twice(unfinished: Path, few: Dataset) -> None:
    with held(unfinished), pytest.raises(TrainingError, match="locked by another process"):
        resume(unfinished, few)
    resume(unfinished, few)
    assert load_file(unfinished / "model.safetensors")


@pytest.mark.parametrize(("trained_now", "message"), [(True, "locked by another"), (False, "already holds a run")])
def test_what_another_process_began_meanwhile_is_left_as_it_is(
    tmp_path: Path, few: Dataset, monkeypatch: pytest.MonkeyPatch, trained_now: bool, message: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()

    def while_another_begins(*arguments: Any) -> Phases:
        (folder / "state.safetensors").write_bytes(b"another's")
        return Phases(*arguments)

    monkeypatch.setattr("cifar_edge.training.run.Phases", while_another_begins)
    with held(folder) if trained_now else nullcontext(), pytest.raises(TrainingError, match=message) as caught:
        train(SHORT, few, folder)
    assert "go on" not in str(caught.value)
    assert [file.name for file in folder.iterdir()] == ["state.safetensors"]


@pytest.mark.parametrize(
    ("steps", "where"), [(1, "in phase train, 0 of 1 epochs are done"), (3, "in phase fold, 0 of 2 epochs are done")]
)
def test_going_on_says_in_which_phase(tmp_path: Path, sample: Dataset, steps: int, where: str) -> None:
    recipe = Recipe(model="gn-cnn-nano", epochs=1, fold=FoldRecipe(epochs=2), batch_size=250)
    with pytest.raises(Interrupted):
        train(recipe, sample, tmp_path, callbacks=stopping_after(steps))
    done = CliRunner().invoke(main, ["train", "--resume", str(tmp_path)])
    first = done.stderr.splitlines()[0]
    assert (done.exit_code, first) == (0, f"going on with gn-cnn-nano on cifar10-sample in {tmp_path}; {where}")


@pytest.mark.parametrize("summary", ["{", "{}", "[]"])
def test_a_damaged_summary_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, summary: str) -> None:
    (tmp_path / "runs" / "b").mkdir(parents=True)
    (tmp_path / "runs" / "b" / "summary.json").write_text(summary)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["train", "--resume", "b"])
    assert (done.exit_code, done.output) == (1, "Error: runs/b/summary.json is damaged: it lacks 'model'\n")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--resume", "nowhere"], 1, "no run is called 'nowhere'"),
        (["--resume", ""], 1, "no run is called ''"),
        (["--resume", "runs"], 1, "holds no state.safetensors to go on from"),
        (["--resume", "x", "--epochs", "3", "--set", "crop=2"], 2, "leave out --epochs, --set"),
        (["--resume", "x", "--name", "y"], 2, "leave out --name"),
    ],
)
def test_bad_use_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], exit_code: int, message: str
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["train", *arguments])
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert message in done.stderr.splitlines()[-1]
    assert not any((tmp_path / "runs").iterdir())
