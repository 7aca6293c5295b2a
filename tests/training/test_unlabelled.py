"""Unlabelled images are labelled by the teacher, and learned from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cifar_edge.data import Dataset
from cifar_edge.data.dataset import Images
from cifar_edge.errors import DataError, Interrupted, RecipeError, TrainingError
from cifar_edge.runs.recipe import FoldRecipe, Recipe
from cifar_edge.runs.run import Run
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.loop import logits_of
from cifar_edge.training.run import Callbacks, resume, train
from cifar_edge.training.teacher import Teacher
from cifar_edge.training.unlabelled import pseudo_labelled

LABELLED = 200
RECIPE = Recipe(
    epochs=2, batch_size=50, teacher="gn-cnn", unlabelled="more", precision="fp32", fold=FoldRecipe(epochs=1)
)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dataset(sample: Dataset) -> Dataset:
    """A dataset with few labelled images."""
    return replace(sample, train_images=sample.train_images[:LABELLED], train_labels=sample.train_labels[:LABELLED])


@pytest.fixture
def more(sample: Dataset) -> Images:
    """Images of the same kind that are not in `dataset`."""
    return sample.train_images[LABELLED : LABELLED + 150]


def write(images: Images, folder: str = "more") -> None:
    below = Path(folder, "below")
    below.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(below / f"{len(list(below.iterdir())):05}-{index}.png")


def chosen_from(dataset: Dataset, recipe: Recipe = RECIPE) -> tuple[Images, list[int], list[str]]:
    lines: list[str] = []
    teacher = Teacher([load_network("gn-cnn").network], recipe)
    result = pseudo_labelled(recipe, dataset, torch.from_numpy(dataset.train_labels), teacher, lines.append)
    return result.images.numpy(), result.labels.tolist(), lines


def test_the_teacher_labels_them(dataset: Dataset, more: Images) -> None:
    write(more)
    images, labels, lines = chosen_from(dataset)
    expected = logits_of(load_network("gn-cnn").network, torch.from_numpy(images)).argmax(1)
    assert labels == expected.tolist()
    assert f"{len(images)} of 150 unlabelled images" in lines[-1]


def test_of_each_class_the_surest_are_taken_and_no_more_than_are_labelled(dataset: Dataset, more: Images) -> None:
    write(more)
    cats = dataset.labels.index("cat")
    few = replace(dataset, train_labels=np.where(np.arange(LABELLED) < 3, cats, 0))
    images, labels, _ = chosen_from(few)
    assert labels.count(cats) == 3
    assert set(labels) <= {0, cats}
    probabilities = logits_of(load_network("gn-cnn").network, torch.from_numpy(more)).div(RECIPE.temperature).softmax(1)
    sureness = probabilities.max(1).values.masked_fill(probabilities.argmax(1) != cats, 0)
    surest = {more[index].tobytes() for index in sureness.topk(3).indices}
    assert {image.tobytes() for image, label in zip(images, labels, strict=True) if label == cats} == surest


def test_images_that_are_known_are_left_out(dataset: Dataset, more: Images) -> None:
    write(np.concatenate([dataset.test_images[:20], dataset.train_images[:10], more[:40]]))
    images, _, lines = chosen_from(dataset)
    assert "left out: 30 unlabelled images that are training or test images" in lines
    assert not {image.tobytes() for image in images} - {image.tobytes() for image in more[:40]}


def test_crops_are_taken_from_larger_versions(dataset: Dataset, more: Images) -> None:
    write(more[:60])
    images, _, _ = chosen_from(dataset, replace(RECIPE, resized_crop=0.5))
    assert images.shape[1:] == (48, 48, 3)


def test_a_training_learns_from_them(dataset: Dataset, more: Images, tmp_path: Path) -> None:
    write(more)
    steps: list[int] = []
    callbacks = Callbacks(step=lambda phase, epoch, epochs, index, count, loss, accuracy: steps.append(count))
    summary = train(RECIPE, dataset, tmp_path / "with", device="cpu", callbacks=callbacks)
    assert min(steps) > LABELLED // RECIPE.batch_size
    assert summary.train_images == LABELLED
    train(replace(RECIPE, unlabelled=""), dataset, tmp_path / "without", device="cpu")
    weights = [Run(tmp_path / name).weights(folded=True).read_bytes() for name in ("with", "without")]
    assert weights[0] != weights[1]


@pytest.mark.parametrize("settings", [{}, {"augmented_copies": 2, "copy_shift": 1}, {"steps_per_epoch": 6}])
def test_a_resumed_training_ends_with_the_same_weights(
    settings: dict[str, int], dataset: Dataset, more: Images, tmp_path: Path
) -> None:
    write(more)
    recipe = RECIPE.changed(settings)
    train(recipe, dataset, tmp_path / "whole", device="cpu")
    calls = iter(range(10_000))
    with pytest.raises(Interrupted):
        train(recipe, dataset, tmp_path / "parts", device="cpu", callbacks=Callbacks(stop=lambda: next(calls) > 8))
    resume(tmp_path / "parts", dataset, device="cpu")
    for folded in (False, True):
        whole, parts = (Run(tmp_path / name).weights(folded=folded).read_bytes() for name in ("whole", "parts"))
        assert whole == parts


def test_a_changed_folder_is_noticed(dataset: Dataset, more: Images, tmp_path: Path) -> None:
    write(more[:60])
    calls = iter(range(10_000))
    with pytest.raises(Interrupted):
        train(RECIPE, dataset, tmp_path / "run", device="cpu", callbacks=Callbacks(stop=lambda: next(calls) > 8))
    write(more[60:61])
    lines: list[str] = []
    resume(tmp_path / "run", dataset, device="cpu", callbacks=Callbacks(note=lines.append))
    assert any("unlabelled 60 images" in line and "now 61 images" in line for line in lines)


def test_what_cannot_be_learned_from_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="set teacher too"):
        Recipe(unlabelled="more")
    with pytest.raises(DataError, match="no folder more of unlabelled images"):
        chosen_from(dataset)
    Path("more").mkdir()
    with pytest.raises(DataError, match="no image; it should hold unlabelled images"):
        chosen_from(dataset)
    write(dataset.test_images[:5])
    with pytest.raises(TrainingError, match="all images in more are training or test images"):
        chosen_from(dataset)
    with pytest.raises(TrainingError):
        train(RECIPE, dataset, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
