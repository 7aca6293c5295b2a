"""What a teacher says is right, and is asked for once."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from cifar_edge.data import Dataset
from cifar_edge.errors import Interrupted
from cifar_edge.models import build
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.runs.recipe import FoldRecipe, Recipe
from cifar_edge.training import loop
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.loop import fit, logits_of
from cifar_edge.training.run import Callbacks, resume, train
from cifar_edge.training.step import Step
from cifar_edge.training.teacher import Teacher

CPU = torch.device("cpu")
COPIES = Recipe(augmented_copies=2, precision="fp32")


class Counting(nn.Module):
    """The released gn-cnn, which counts the images it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.network = load_network("gn-cnn").network
        self.asked = 0
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        logits: Tensor = self.network(x)
        return logits


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def images(sample: Dataset) -> Tensor:
    return torch.from_numpy(sample.train_images)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_says_what_its_network_says(images: Tensor, precision: str) -> None:
    logits = Teacher([Counting()], Recipe(precision=precision)).logits(images)
    assert logits.dtype == torch.float16
    expected = logits_of(load_network("gn-cnn").network, images)
    torch.testing.assert_close(logits.float(), expected, rtol=0, atol=0.02 if precision == "fp32" else 0.4)


def test_it_is_asked_once_about_the_same_images(images: Tensor) -> None:
    first = Counting()
    said = Teacher([first], COPIES).logits(images)
    again = Counting()
    teacher = Teacher([again], COPIES)
    torch.testing.assert_close(teacher.logits(images), said, rtol=0, atol=0)
    assert (first.asked, again.asked) == (len(images), 0)
    teacher.logits(images.flip(0))
    assert again.asked == len(images)


def test_another_teacher_or_precision_is_asked_again(images: Tensor) -> None:
    Teacher([Counting()], COPIES).logits(images)
    rounder, other = Counting(), Counting()
    next(other.parameters()).mul_(1.001)
    Teacher([rounder], COPIES.with_values(precision="bf16")).logits(images)
    Teacher([other], COPIES).logits(images)
    assert rounder.asked == other.asked == len(images)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_of_several_the_probabilities_are_averaged(images: Tensor, temperature: float) -> None:
    first, second = Counting(), Counting()
    next(second.parameters()).mul_(0.5)
    recipe = COPIES.with_values(temperature=temperature)
    said = Teacher([first, second], recipe).logits(images).float()
    alone = [Teacher([each], recipe).logits(images).float() for each in (first, second)]
    assert first.asked == second.asked == len(images), "what each said alone is in the cache"
    mean = sum((logits / temperature).softmax(1) for logits in alone) / 2
    torch.testing.assert_close((said / temperature).softmax(1), mean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("damage", [b"", b"no safetensors", None])
def test_a_damaged_cache_is_made_again(tmp_path: Path, images: Tensor, damage: bytes | None) -> None:
    said = Teacher([Counting()], COPIES).logits(images)
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100] if damage is None else damage)
    again = Counting()
    torch.testing.assert_close(Teacher([again], COPIES).logits(images), said, rtol=0, atol=0)
    assert again.asked == len(images)


def test_it_stops_when_asked(images: Tensor) -> None:
    network = Counting()
    answers = iter([False, True])
    with pytest.raises(Interrupted, match="teacher"):
        Teacher([network], Recipe(precision="fp32")).logits(images, lambda: next(answers))
    assert 0 < network.asked < len(images)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_copy_is_shown_to_the_teacher_once_whatever_the_seed(sample: Dataset, images: Tensor, seed: int) -> None:
    labels = torch.from_numpy(sample.train_labels)
    recipe = COPIES.with_values(epochs=5, batch_size=100)

    def asked(recipe: Recipe) -> int:
        network = Counting()
        fit(build("s8-group"), images, labels, recipe, teacher=Teacher([network], recipe))
        return network.asked

    assert asked(recipe) == 2 * len(images)
    assert asked(recipe.with_values(seed=seed, epochs=3)) == 0
    assert asked(recipe.with_values(augmented_copies=3, epochs=3)) == len(images)
    assert asked(recipe.with_values(copy_seed=1, epochs=3)) == 2 * len(images)


def test_copies_come_back_in_turn_in_another_order(
    monkeypatch: pytest.MonkeyPatch, sample: Dataset, images: Tensor
) -> None:
    epochs: list[Tensor] = []

    class Watched(Step):
        def __call__(self, images: Tensor, *others: Any) -> None:
            epochs.append(images)
            super().__call__(images, *others)

    monkeypatch.setattr(loop, "Step", Watched)
    recipe = Recipe(epochs=4, augmented_copies=2, batch_size=len(images), precision="fp32")
    fit(build("s8-group"), images, torch.from_numpy(sample.train_labels), recipe)
    first, second, third, fourth = ({image.numpy().tobytes() for image in epoch} for epoch in epochs)
    assert first == third != second == fourth
    assert not torch.equal(epochs[0], epochs[2])


def test_a_shifted_copy_is_another_image_that_its_teacher_is_not_asked_about(
    monkeypatch: pytest.MonkeyPatch, sample: Dataset, images: Tensor
) -> None:
    epochs: list[tuple[Tensor, Tensor]] = []

    class Watched(Step):
        def __call__(self, images: Tensor, labels: Tensor, *others: Any) -> None:
            epochs.append((images, others[-1]))
            super().__call__(images, labels, *others)

    monkeypatch.setattr(loop, "Step", Watched)
    recipe = COPIES.with_values(epochs=4, augmented_copies=1, copy_shift=1, crop=0, flip=False, batch_size=len(images))
    network = Counting()
    fit(build("s8-group"), images, torch.from_numpy(sample.train_labels), recipe, teacher=Teacher([network], recipe))
    assert network.asked == len(images)
    # Without crop and flip the copy is the image, so that its shifted versions are found by their inner pixels.
    inner = {image[1:-1, 1:-1].numpy().tobytes(): index for index, image in enumerate(images)}
    shifts: set[tuple[int, int]] = set()
    logits: dict[int, Tensor] = {}
    for shifted, taught in epochs:
        for image, answer in zip(shifted, taught, strict=True):
            for down in range(3):
                for across in range(3):
                    part = image[down : down + 30, across : across + 30].numpy().tobytes()
                    if part in inner:
                        shifts.add((down, across))
                        assert torch.equal(logits.setdefault(inner[part], answer), answer)
    assert len(shifts) == 9
    assert len(logits) == len(inner)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_teacher_is_asked_about_mixtures_as_they_are(
    monkeypatch: pytest.MonkeyPatch, sample: Dataset, images: Tensor, share: float
) -> None:
    epochs: list[tuple[Tensor, Tensor, Tensor]] = []

    class Watched(Step):
        def __call__(self, images: Tensor, labels: Tensor, *others: Any) -> None:
            epochs.append((images, labels, others[-1]))
            super().__call__(images, labels, *others)

    monkeypatch.setattr(loop, "Step", Watched)
    recipe = COPIES.with_values(
        epochs=3, augmented_copies=1, mixtures=share, teacher="gn-cnn", crop=0, flip=False, batch_size=len(images)
    )
    network, labels = Counting(), torch.from_numpy(sample.train_labels)
    fit(build("s8-group"), images, labels, recipe, teacher=Teacher([network], recipe))
    assert network.asked == 2 * len(images)
    unmixed = {image.numpy().tobytes(): label for image, label in zip(images, labels.tolist(), strict=True)}
    seen: set[bytes] = set()
    for mixed, targets, taught in epochs:
        expected = logits_of(load_network("gn-cnn").network, mixed)
        torch.testing.assert_close(taught.float(), expected, rtol=0, atol=0.02)
        kept = torch.tensor([image.numpy().tobytes() in unmixed for image in mixed])
        assert torch.equal(targets[~kept], taught[~kept].argmax(1))
        assert targets[kept].tolist() == [unmixed[image.numpy().tobytes()] for image in mixed[kept]]
        assert abs(float((~kept).double().mean()) - share) < 0.1
        seen |= {image.numpy().tobytes() for image in mixed[~kept]}
    assert len(seen) <= len(images)  # a copy has the same mixtures in each epoch


def test_mixtures_have_mixed_targets(images: Tensor) -> None:
    """A step goes down the gradient of the loss whose targets are mixed, labels and teacher's distribution alike."""
    torch.manual_seed(0)
    network = build("gn-cnn")
    few, labels, share, temperature, weight = images[:16], torch.arange(16) % 10, 0.3, 2.0, 0.7
    taught = 3 * torch.randn(16, 10)

    def mixed(tensor: Tensor) -> Tensor:
        return share * tensor + (1 - share) * tensor.flip(0)

    logits = network(mixed(pixels_to_input(few)))
    hard = F.cross_entropy(logits, mixed(F.one_hot(labels, 10).float()))
    soft = F.cross_entropy(logits / temperature, mixed(F.softmax(taught / temperature, 1)))
    parameters = list(network.parameters())
    gradients = torch.autograd.grad((1 - weight) * hard + weight * temperature**2 * soft, parameters)
    expected = [old - 0.1 * gradient for old, gradient in zip(parameters, gradients, strict=True)]
    recipe = Recipe(
        mixup=1.0,
        precision="fp32",
        temperature=temperature,
        distillation_weight=weight,
        learning_rate=0.1,
        warmup=0.0,
        momentum=0.0,
        weight_decay=0.0,
    )
    Step(network, recipe, CPU)(few, labels, 0.0, share, taught)
    for new, wanted in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(new, wanted, rtol=1e-4, atol=1e-6)


def test_a_run_with_copies_keeps_what_the_teacher_said(tmp_path: Path, few: Dataset) -> None:
    recipe = Recipe(
        epochs=3, fold=FoldRecipe(epochs=2), augmented_copies=2, batch_size=16, teacher="gn-cnn", precision="fp32"
    )
    notes: list[str] = []
    train(recipe, few, tmp_path / "run", callbacks=Callbacks(note=notes.append))
    kept = list((tmp_path / "cache").rglob("*.safetensors"))
    assert len(kept) == 2
    assert all(load_file(file)["logits"].shape == (64, 10) for file in kept)
    assert notes == ["the teacher classifies 2 augmented copies of the images, each once: slower epochs"]
    train(recipe.with_values(seed=1), few, tmp_path / "again", callbacks=Callbacks(note=notes.append))
    assert len(notes) == 1


def test_a_cache_that_cannot_be_written_costs_nothing_but_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, images: Tensor
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    network, notes = Counting(), list[str]()
    teacher = Teacher([network], COPIES, notes.append)
    torch.testing.assert_close(teacher.logits(images), teacher.logits(images), rtol=0, atol=0)
    assert len(notes) == 2
    assert "for this run only: cannot write" in notes[1]


def test_stopped_while_the_teacher_works_it_goes_on_and_ends_the_same(tmp_path: Path, few: Dataset) -> None:
    recipe = Recipe(epochs=2, batch_size=16, teacher="gn-cnn", precision="fp32")
    train(recipe, few, tmp_path / "whole")
    with pytest.raises(Interrupted, match="teacher"):
        train(recipe, few, tmp_path / "parts", callbacks=Callbacks(stop=lambda: True))
    answers = iter([False] * 5)  # in the first epoch once by the teacher and after each of four steps
    with pytest.raises(Interrupted):
        resume(tmp_path / "parts", few, callbacks=Callbacks(stop=lambda: next(answers, True)))
    with pytest.raises(Interrupted, match="teacher"):
        resume(tmp_path / "parts", few, callbacks=Callbacks(stop=lambda: True))
    resume(tmp_path / "parts", few)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
