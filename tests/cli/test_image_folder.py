"""Image folders through the real command line, from training to predictions."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from image_folder_helpers import of_class, write_images
from make_tiny_model import METADATA, changed_metadata, tiny_model
from PIL import Image

from cifar_edge import Classifier
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.data.dataset import Images
from cifar_edge.data.reference import change, check_holdout, check_split_rule, reference_to
from cifar_edge.errors import DataError
from cifar_edge.export.calibration import calibration_images
from cifar_edge.export.conversion import conversions
from cifar_edge.export.fp32 import network_graph
from cifar_edge.export.graphs import serialize
from cifar_edge.export.integers import quantize
from cifar_edge.export.static import quantize_static_graph
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.folding.fold import can_fold, fold
from cifar_edge.models import MODELS, build
from cifar_edge.runs.dataset import Fingerprints
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import Run
from cifar_edge.runtime.model import load, run
from cifar_edge.training.checkpoint import TrainedNetwork, load_network, save_folded, save_weights
from cifar_edge.training.mistakes import draw_misclassified
from cifar_edge.training.plots import draw_confusion
from cifar_edge.training.run import fold_run, train

LABELS = ("$100 'gold'", "Żaba zielona", "飞机")
TRAIN = ("--epochs", "2", "--fold-epochs", "1", "--name", "own")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def cifar_edge(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture
def pets(tmp_path: Path, sample: Dataset) -> Path:
    """An image folder without a split, whose classes have difficult names; the last class is the largest."""
    folders = {LABELS[0]: of_class(sample, "ship", 12), LABELS[1]: of_class(sample, "frog", 12)}
    return write_images(tmp_path / "my pets", {**folders, LABELS[2]: of_class(sample, "airplane", 40)}, sample)


def test_from_images_to_predictions(pets: Path, tmp_path: Path, sample: Dataset) -> None:
    """Train, export and predict; whatever needs CIFAR-10 would fail: the cache is empty, and --offline is given."""
    trained = cifar_edge("train", "--data", pets, "--holdout", "0.3", "--offline", *TRAIN)
    assert trained.exit_code == 0, trained.stderr
    assert "reading 64 images" in trained.stderr
    assert "uneven classes: 飞机 has " in trained.stderr
    dataset = load_dataset(pets, holdout=0.3)
    assert f"training gn-cnn on my pets, {len(dataset.train_labels)} images" in trained.stderr
    about = json.loads((tmp_path / "runs" / "own" / "summary.json").read_text())
    assert about["labels"] == list(LABELS)
    assert (about["data"]["folder"], about["data"]["holdout"]) == (str(pets), 0.3)

    exported = cifar_edge("export", "--quantize", "--offline", "--max-drop", "100")
    assert exported.exit_code == 0, exported.stderr
    assert f"judged by {len(dataset.test_labels)} test images of my pets" in exported.stderr
    assert "note:" not in exported.stderr
    assert exported.stdout.count("int8 passed: ") == 2
    folder = tmp_path / "runs" / "own" / "export"
    for precision in ("fp32", "int8"):
        session, metadata = load(folder / f"own.{precision}.onnx")
        assert metadata.labels == LABELS
        right = run(session, dataset.test_images).argmax(axis=1) == dataset.test_labels
        assert (metadata.test_accuracy, metadata.test_images) == (right.mean(), len(right))

    network = load_network(folder.parent).folded
    assert network is not None

    def calibrated_by(images: Images) -> bytes:
        integers = quantize(network.layers, calibration_images(images))
        return serialize(integer_graph(integers), metadata)

    int8 = (folder / "own.int8.onnx").read_bytes()
    assert int8 == calibrated_by(dataset.train_images)
    assert int8 != calibrated_by(dataset.test_images)
    assert int8 != calibrated_by(sample.train_images)

    image = next((pets / LABELS[2]).iterdir())
    predicted = cifar_edge("predict", image, "--top", "9", "--json")
    (answer,) = json.loads(predicted.stdout)
    assert {each["label"] for each in answer["top"]} == set(LABELS)
    assert answer["label"] == Classifier(folder).predict(image).label

    evaluated = cifar_edge("evaluate", "runs/own", "--offline", "--json")
    assert evaluated.exit_code == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["accuracy"]["images"] == len(dataset.test_labels)

    folded = cifar_edge("fold", "runs/own", "--epochs", "1", "--offline")
    assert folded.exit_code == 0, folded.stderr


@pytest.fixture
def run_of_pets(pets: Path, tmp_path: Path) -> Path:
    """A run of the network that exports fastest, untrained."""
    return _run(tmp_path / "runs" / "own", "s8-batch", load_dataset(pets, holdout=0.3))


def _run(folder: Path, name: str, dataset: Dataset) -> Path:
    torch.manual_seed(0)
    network = build(name, len(dataset.labels)).eval()
    folder.mkdir(parents=True)
    save_weights(folder / "model.safetensors", network.state_dict(), name, dataset.labels)
    if can_fold(network):
        folded = fold(network, torch.tensor(dataset.train_images))
        save_folded(folder / "deploy.safetensors", folded, name, dataset.labels)
    summary = {"finished": "2026-01-01T00:00:00+00:00", "data": reference_to(dataset).to_record()}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_dataset_that_has_moved_or_changed(pets: Path, run_of_pets: Path) -> None:
    moved = pets.rename(pets.parent / "moved")
    done = cifar_edge("export")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: the images it was trained on are no longer in {pets}; say where they are with --data DIR\n"
    )
    done = cifar_edge("export", "--data", moved)
    assert done.exit_code == 0, done.stderr
    assert "note:" not in done.stderr
    next((moved / LABELS[0]).iterdir()).unlink()
    done = cifar_edge("evaluate", "runs/own", "--data", moved)
    assert done.exit_code == 0, done.stderr
    assert f"note: {moved} is not what was trained on: other " in done.stderr


def test_what_the_training_has_said_of_the_files_is_not_said_again(pets: Path, run_of_pets: Path) -> None:
    (pets / LABELS[0] / "IMG_1.HEIC").touch()
    exported = cifar_edge("export", "runs/own")
    assert exported.exit_code == 0, exported.stderr
    command = "cifar-edge data --data 'my pets' --holdout 0.3"
    about = [line for line in exported.stderr.splitlines() if "my pets;" in line]
    few = "warning: few test images: "
    assert about == [f"4 notes on the files of my pets; to see it all: {command}"]
    assert few not in exported.stderr
    lines = cifar_edge(*shlex.split(command)[1:]).stderr.splitlines()
    assert lines[0].endswith("IMG_1.HEIC")
    assert any(line.startswith(few) for line in lines)

    next((pets / LABELS[2]).iterdir()).unlink()
    changed = cifar_edge("evaluate", "runs/own").stderr.splitlines()
    assert [line for line in changed if line in lines] == lines[:3]
    assert any(line.startswith(f"note: {pets} is not what was trained on: other ") for line in changed)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["train", "--data", "my pets"], 1, "has no test images of its own: give --holdout 0.2"),
        (["train", "--data", "my pets", "--holdout", "1"], 2, "is not a share between 0 and 1, such as 0.2"),
        (["train", "--data", "sample", "--holdout", "0.2"], 1, "CIFAR-10 has test images"),
        (["export", "--holdout", "0.2"], 1, "--holdout 0.2, but the training kept 0.3; leave it out"),
        (["export", "--data", "sample"], 1, f"has the classes {', '.join(LABELS)}, but the dataset cifar10-sample has"),
        (["evaluate", "runs/own", "--data", "sample"], 1, "is not exported yet"),
        (["evaluate", "gn-cnn", "--data", "my pets", "--holdout", "0.3"], 1, "has other classes (airplane, "),
        (
            ["data", "--data", "my pets/飞机"],
            1,
            "my pets/飞机 holds images, but no folders of classes",
        ),
    ],
)
def test_errors_are_one_line(run_of_pets: Path, arguments: list[str], exit_code: int, message: str) -> None:
    done = cifar_edge(*arguments)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_strict_fails_every_command_that_meets_an_unreadable_image(pets: Path, run_of_pets: Path) -> None:
    (pets / LABELS[0] / "broken.png").write_bytes(b"not an image")
    for command in ("data", "export"):
        done = cifar_edge(command, "--data", pets, "--holdout", "0.3", "--strict")
        assert done.exit_code == 1
        assert "Error: 1 of 65 images in " in done.stderr.splitlines()[-1]


def test_a_lone_file_with_other_classes_asks_for_images(pets: Path, tmp_path: Path) -> None:
    metadata = changed_metadata(labels=LABELS)
    (tmp_path / "lone.onnx").write_bytes(tiny_model(metadata, output_shape=("batch", 3), classes=3))
    done = cifar_edge("evaluate", "lone.onnx")
    assert done.exit_code == 1
    assert done.stderr == (
        f"Error: lone.onnx has classes of its own ({', '.join(LABELS)}); give images with --data DIR\n"
    )
    assert cifar_edge("evaluate", "lone.onnx", "--data", pets, "--holdout", "0.3").exit_code == 0


def test_the_table_of_the_dataset(pets: Path) -> None:
    done = cifar_edge("data", "--data", pets, "--holdout", "0.3")
    assert done.stderr.splitlines()[0] == f"reading 64 images in {pets}"
    assert done.stderr.splitlines()[-1].startswith("warning: uneven classes: 飞机 has 28 training images, ")
    lines = done.stdout.splitlines()
    dataset = load_dataset(pets, holdout=0.3)
    train, test = len(dataset.train_labels), len(dataset.test_labels)
    assert lines[0] == f"my pets: {train} training and {test} test images, 32x32 RGB"
    first = next(number for number, line in enumerate(lines) if line.split() == ["class", "training", "test"]) + 1
    for number, (label, line) in enumerate(zip(LABELS, lines[first : first + 3], strict=True)):
        counts = [int((labels == number).sum()) for labels in (dataset.train_labels, dataset.test_labels)]
        assert line.split() == [*label.split(), *map(str, counts)]
    record = json.loads(cifar_edge("data", "--data", pets, "--holdout", "0.3", "--json").stdout)
    assert (record["verified"], record["labels"]) == (False, list(LABELS))


def test_int8_with_norms_is_calibrated_by_the_image_folder_too(
    pets: Path, tmp_path: Path, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(pets, holdout=0.3)
    trained = load_network(_run(tmp_path / "run", "s8-batch", dataset))
    network = network_graph(trained.network, 32)
    monkeypatch.setattr("cifar_edge.export.conversion.network_graph", lambda *_: network)
    int8 = conversions(trained, dataset, quantize=True)[-1].graph
    assert int8 == quantize_static_graph(network, dataset.train_images)
    assert int8 != quantize_static_graph(network, dataset.test_images)
    assert int8 != quantize_static_graph(network, sample.train_images)


@pytest.fixture(params=[2, 1000])
def labels(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return tuple(f"class {number:04}" for number in range(request.param))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_takes_2_to_1000_classes(name: str, labels: tuple[str, ...]) -> None:
    network = build(name, len(labels)).eval()
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, len(labels))


def test_int8_of_2_and_of_1000_classes(labels: tuple[str, ...], sample: Dataset) -> None:
    network = build("gn-cnn", len(labels)).eval()
    folded = fold(network, torch.tensor(sample.train_images[:64]))
    graph = integer_graph(quantize(folded.layers, sample.train_images[:64]))
    content = serialize(graph, replace(METADATA, labels=labels))
    assert load(content).metadata.labels == labels
    answer = Classifier(content).predict(sample.test_images[0])
    assert len(answer.top(5)) == min(5, len(labels))
    assert len(answer.top(2000)) == len(labels)


def test_plots_of_a_run_with_many_odd_names(tmp_path: Path, sample: Dataset) -> None:
    names = ("$\\frac{$", "a\nb", "猫" * 100, *(f"class {number}" for number in range(90)))
    logits = np.random.default_rng(0).normal(size=(250, len(names))).astype(np.float32)
    truth = np.arange(250) % len(names)
    dataset = Dataset("own", names, sample.train_images, truth, sample.test_images, truth, "tests")
    draw_misclassified(tmp_path / "gallery.png", dataset, logits, "gn-cnn")
    for classes in (3, 93):
        draw_confusion(tmp_path / f"{classes}.png", np.eye(classes, dtype=np.int64), names[:classes], "gn-cnn")
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 300


def test_a_reference_survives_json_and_older_runs_have_less(sample: Dataset, pets: Path, tmp_path: Path) -> None:
    dataset = load_dataset(pets, holdout=0.3)
    for each in (dataset, sample):
        (tmp_path / "summary.json").write_text(json.dumps({"data": reference_to(each).to_record()}))
        reference = Run(tmp_path).data
        assert reference == reference_to(each)
        assert change(reference, each) is None
    assert set(reference_to(sample).to_record()) == {"name", "source"}
    assert change(reference, dataset) == f"{pets} is not what was trained on, cifar10-sample"
    assert reference_to(dataset).sha256 == Fingerprints.of(dataset.arrays())
    assert change(reference_to(dataset), sample) == "cifar10-sample is not what was trained on, my pets"
    with pytest.raises(DataError, match=r"the training kept 0\.3"):
        check_holdout(reference_to(dataset), 0.2)


def test_a_split_of_an_earlier_rule_is_reported_and_not_trained_on(
    pets: Path, run_of_pets: Path, tmp_path: Path
) -> None:
    dataset = load_dataset(pets, holdout=0.3)
    record = reference_to(dataset).to_record()
    del record["split_rule"]  # as in runs before there were two rules
    summary = json.loads((run_of_pets / "summary.json").read_text())
    (run_of_pets / "summary.json").write_text(json.dumps(summary | {"data": record}))
    reference = Run(run_of_pets).data
    assert change(reference, dataset) == (
        f"{pets} is split by another rule than when it was trained on, so images that were trained on may now count as "
        "test images"
    )
    with pytest.raises(DataError, match=r"an earlier version split my pets by another rule, .*; train anew"):
        check_split_rule(reference)
    exported = cifar_edge("export")
    assert exported.exit_code == 0, exported.stderr
    assert "note: " in exported.stderr
    assert "may now count as test images" in exported.stderr
    folder = _run(tmp_path / "runs" / "gn", "gn-cnn", dataset)
    (folder / "summary.json").write_text(json.dumps(summary | {"data": record}))
    folded = cifar_edge("fold", folder, "--epochs", "1")
    assert folded.exit_code == 1
    assert folded.stderr.splitlines()[-1].endswith("so this training cannot go on; train anew")


def test_a_trained_network_remembers_its_dataset(run_of_pets: Path, pets: Path) -> None:
    trained: TrainedNetwork = load_network(run_of_pets)
    assert (trained.data.name, trained.data.folder, trained.data.holdout) == ("my pets", str(pets), 0.3)


def test_folding_takes_its_crops_from_where_the_training_did(pets: Path, tmp_path: Path) -> None:
    recipe = Recipe(model="gn-cnn-nano", epochs=1, batch_size=8, resized_crop=0.5)
    dataset = load_dataset(pets, holdout=0.3, source_size=recipe.source_size)
    folders = [tmp_path / "runs" / name for name in ("a", "b")]
    train(recipe, dataset, folders[0])
    shutil.copytree(folders[0], folders[1])
    fold_run(folders[0], dataset, epochs=1)
    done = cifar_edge("fold", folders[1], "--epochs", "1")
    assert done.exit_code == 0, done.stderr
    first, second = (Run(folder).weights(folded=True).read_bytes() for folder in folders)
    assert first == second
