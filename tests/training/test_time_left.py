import re
from pathlib import Path

import pytest

from cifar_edge.data import Dataset
from cifar_edge.runs.recipe import FoldRecipe, Recipe
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.run import train
from cifar_edge.training.time_left import correcting


def said(seconds_a_step: float, estimate: float, steps: int = 100) -> list[str]:
    """What is said during a training of ten epochs of ten steps, of which so many are done."""
    notes: list[str] = []
    now = 0.0
    callbacks = correcting(Callbacks(note=notes.append), estimate, clock=lambda: now)
    for done in range(steps):
        now += seconds_a_step
        callbacks.step("train", done // 10 + 1, 10, done % 10 + 1, 10, 1.0, 0.5)
    return notes


def test_an_estimate_that_holds_is_not_said_again() -> None:
    assert said(1.0, 100) == []
    assert said(1.4, 100) == []
    assert said(0.7, 100) == []


def test_a_wrong_estimate_is_corrected_once_and_early() -> None:
    assert said(3.0, 100) == ["slower than estimated: about 5 minutes left"]
    assert said(3.0, 100, steps=7) == ["slower than estimated: about 5 minutes left"], "in the first epoch"
    assert said(0.5, 100) == ["faster than estimated: about 30 s left"]


def test_the_first_seconds_are_no_measure() -> None:
    assert said(1.9, 1_000, steps=10) == []


def test_the_callbacks_go_on_being_called() -> None:
    losses: list[float] = []
    watched = correcting(Callbacks(step=lambda *given: losses.append(given[5])), 100)
    watched.step("train", 1, 1, 1, 1, 2.5, 0.5)
    watched.step("fold", 1, 1, 1, 1, 1.5, 0.5)
    assert losses == [2.5, 1.5]


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (Recipe(epochs=1, precision="fp32"), r"1 epoch, about [0-9]+ s on this machine"),
        (
            Recipe(epochs=2, precision="fp32", fold=FoldRecipe(epochs=1)),
            r"2 epochs, about [0-9]+ s on this machine, and then 1 epoch of fine-tuning with the norms folded",
        ),
        (
            Recipe(epochs=2, steps_per_epoch=3, precision="fp32"),
            r"6 steps of 128 images, about [0-9]+ s on this machine",
        ),
    ],
)
def test_a_training_says_how_long_it_takes(recipe: Recipe, expected: str, sample: Dataset, tmp_path: Path) -> None:
    lines: list[str] = []
    train(recipe, sample, tmp_path / "run", device="cpu", callbacks=Callbacks(note=lines.append))
    assert re.fullmatch(expected, lines[0])


def test_answers_of_a_teacher_that_may_be_kept_are_not_guessed(
    sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lines: list[str] = []
    recipe = Recipe(epochs=1, augmented_copies=1, teacher="gn-cnn", precision="fp32")
    train(recipe, sample, tmp_path / "run", device="cpu", callbacks=Callbacks(note=lines.append))
    assert not any("on this machine" in line for line in lines)
