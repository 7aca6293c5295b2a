"""The cards of the released models, recomputed as far as a minute and the sample allow; and what makes them."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from export_helpers import write_run

from benchmarks.cards import __main__ as cards
from benchmarks.cards import facts, measured_sections, released_sections, trainings
from benchmarks.cards.calibration import expected_calibration_error, fit_temperature
from benchmarks.cards.corruptions import CORRUPTIONS, corrupt
from benchmarks.cards.markdown import WIDTH
from cifar_edge.data import Dataset
from cifar_edge.export.pipeline import export_network
from cifar_edge.integer import IntegerNetwork
from cifar_edge.measure.accuracy import Evaluation
from cifar_edge.measure.metrics import Estimate, accuracy, recall
from cifar_edge.models import default_recipe
from cifar_edge.models.summary import summarize
from cifar_edge.runs.run import RECIPE, SUMMARY
from cifar_edge.runtime.model import load, run
from cifar_edge.training.checkpoint import load_network

released = pytest.mark.parametrize("name", cards.names())


def read(name: str) -> tuple[facts.Released, str]:
    """A released model and its card."""
    model = facts.read(name)
    return model, (model.folder / cards.CARD).read_text()


def section(card: str, title: str) -> str:
    return card.split(f"\n## {title}\n\n")[1].split("\n## ")[0]


def printed_evaluation(card: str, labels: tuple[str, ...]) -> Evaluation:
    """The evaluation that stands in the card, by nothing but its confusion matrix."""
    lines = section(card, "Classes").splitlines()
    rows = [next(line for line in lines if line.startswith(label)).split() for label in labels]
    counts = [[int(cell.replace(".", "0")) for cell in row[3:]] for row in rows]
    confusion = np.array(counts, np.int64)
    return Evaluation(accuracy(int(confusion.trace()), int(confusion.sum())), confusion, recall(confusion), labels)


@released
def test_a_card_has_all_sections_in_lines_that_can_be_read(name: str) -> None:
    _, card = read(name)
    assert re.findall("^## (.*)$", card, re.MULTILINE) == list(cards.SECTIONS)
    assert all(section(card, title).strip() for title in cards.SECTIONS)
    too_long = [line for line in card.splitlines() if len(line) > WIDTH and not line.startswith("|")]
    assert all(" " not in line.strip() for line in too_long)


@released
def test_what_a_card_tells_of_the_released_files_is_so(name: str) -> None:
    model, card = read(name)
    assert section(card, "Layers") == released_sections.layers(model)
    assert section(card, "Latency") == released_sections.latency(model)
    assert section(card, "Training") == released_sections.training(model)
    assert section(card, "Seeds") == released_sections.seeds(model)
    assert section(card, "Files") == released_sections.files(model.files)
    assert section(card, "Data and licence") == released_sections.licence(model)


@released
def test_a_card_tells_what_the_metadata_and_the_report_tell(name: str) -> None:
    model, card = read(name)
    reported = {row["name"]: Estimate(**row["accuracy"]) for row in model.report["rows"]}
    assert measured_sections.accuracy(model, reported) in section(card, "Accuracy and size")
    for form in model.exported:
        assert form.file is not None
        about = load(form.file).metadata
        network = model.trained.folded if form.precision == "int8" else None
        costs = summarize(network or model.trained.network)
        assert (about.model, about.precision, about.parameters, about.macs) == (
            name,
            form.precision,
            costs.parameters,
            costs.macs,
        )
        assert (about.test_accuracy, about.test_images) == (reported[form.name].value, 10_000)
        assert f"`{about.weights_sha256}`" in section(card, "Files")
        assert about.temperature == (model.summary.temperature or {}).get(form.precision, 1.0)
        shown = f"{about.temperature:g}" if about.temperature != 1.0 else "none"
        row = next(line for line in section(card, "Calibration").splitlines() if line.startswith(f"| {form.name} "))
        assert row.endswith(f"| {shown} |")


@released
def test_a_released_model_keeps_its_promise(name: str) -> None:
    model, _ = read(name)
    assert model.forms[0].parameters < 50_000
    assert model.summary.parameters == model.forms[0].parameters
    assert model.summary.macs == model.forms[0].macs
    assert model.summary.test_accuracy == model.report["rows"][0]["accuracy"]["value"]


@released
def test_the_confusion_matrix_of_a_card_agrees_with_its_accuracy(name: str) -> None:
    model, card = read(name)
    evaluation = printed_evaluation(card, model.trained.labels)
    assert evaluation.confusion.sum(axis=1).tolist() == [1_000] * 10
    row = next(row for row in model.report["rows"] if row["name"] == model.deployed.name)
    assert evaluation.accuracy.value == row["accuracy"]["value"]
    assert section(card, "Classes") == measured_sections.classes(model, evaluation)
    weakest = evaluation.labels[int(evaluation.recall.argmin())]
    finds = f"- It finds {evaluation.recall.min():.1%} of what is {weakest}, "
    assert finds in section(card, "Intended use and limits")


@released
def test_a_card_counts_what_the_files_take_rightly_in_the_sample(name: str, sample: Dataset) -> None:
    model, card = read(name)
    right = cards.right_of_sample(model, sample)
    said = measured_sections.sample_check(model, right, len(sample.test_labels))
    assert section(card, "Accuracy and size").endswith(said)


@released
def test_the_recorded_trainings_begin_with_the_released_one(name: str) -> None:
    model, card = read(name)
    if not model.trainings:
        assert "how much of it is chance is not known" in section(card, "Seeds")
        return
    own = model.trainings[0]
    assert (own.model, own.seed, own.epochs, own.holdout) == (name, 0, model.recipe.epochs, 0)
    assert own.accuracy == {row["name"]: row["accuracy"]["value"] for row in model.report["rows"]}
    assert f"`{own.weights_sha256}`" in section(card, "Files")


def test_gn_cnn_holds_what_it_promises() -> None:
    model, _ = read("gn-cnn")
    int8 = model.forms[-1]
    assert int8.file is not None
    assert max(form.parameters for form in model.forms) <= 50_000
    assert int8.file.stat().st_size <= 60_000
    assert model.report["rows"][-1]["accuracy"]["value"] >= 0.895


def test_gn_cnn_nano_fits_the_smallest_devices() -> None:
    model, _ = read("gn-cnn-nano")
    int8 = model.forms[-1]
    assert int8.file is not None
    assert max(form.parameters for form in model.forms) <= 16_000
    assert int8.file.stat().st_size <= 21_000
    costs = IntegerNetwork.from_onnx(int8.file).summary()
    assert costs.macs <= 1_200_000
    assert costs.activation_bytes <= 4_000
    assert model.report["rows"][-1]["accuracy"]["value"] >= 0.82


# How a card is made: of a network that is hardly trained, by the sample.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Path:
    """A folder with models/s8-group, as if it had been released, and its export."""
    root = tmp_path_factory.mktemp("zoo")
    folder = write_run(root / "models" / "s8-group", "s8-group", sample)
    (folder / RECIPE).write_text(default_recipe("s8-group").to_toml())
    summary = {
        **json.loads((folder / SUMMARY).read_text()),
        "train_images": 500,
        "train_accuracy": 0.25,
        "device": "cpu",
        "threads": 1,
        "seconds": 5.0,
        "versions": {"torch": "2"},
    }
    (folder / SUMMARY).write_text(json.dumps(summary))
    export_network(load_network(folder), sample, root / "export" / "s8-group", quantize=True, max_drop=50)
    return root


@pytest.fixture
def zoo(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `made` that is taken for what is released; fewer corruptions."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    for module in (facts, trainings):
        monkeypatch.setattr(module, "released", lambda path: tmp_path / path)
    monkeypatch.setattr(cards, "zoo", lambda: tmp_path)
    quick = tuple(replace(each, strengths=each.strengths[:5:4]) for each in CORRUPTIONS[:2])
    monkeypatch.setattr(facts, "CORRUPTIONS", quick)
    monkeypatch.setattr(measured_sections, "CORRUPTIONS", quick)
    return tmp_path


def test_a_card_is_written_from_what_is_measured(zoo: Path, sample: Dataset) -> None:
    result = CliRunner().invoke(cards.main, ["--data", "sample"])
    assert result.exit_code == 0, result.output
    text = (zoo / "models" / "s8-group" / "README.md").read_text()
    model = facts.read("s8-group")
    logits = run(load(zoo / "export" / "s8-group" / "s8-group.fp32.onnx").session, sample.test_images)
    right = np.count_nonzero(logits.argmax(axis=1) == sample.test_labels)
    assert f"| fp32 | 11,104 | {model.forms[0].macs:,} |" in section(text, "Accuracy and size")
    assert f"{right} (fp32)" in section(text, "Accuracy and size")
    deployed = printed_evaluation(text, sample.labels)
    by_form = {form.name: form.logits(sample.test_images) for form in model.forms}
    truly = by_form[model.deployed.name].argmax(axis=1) == sample.test_labels
    assert deployed.accuracy.value == np.mean(truly)
    error = expected_calibration_error(by_form["fp32"], sample.test_labels)
    assert f"| fp32 | {error:.4f} | - |" in section(text, "Calibration")
    noisy = corrupt(sample.test_images, CORRUPTIONS[0], CORRUPTIONS[0].strengths[4])
    worst = np.mean(model.deployed.logits(noisy).argmax(axis=1) == sample.test_labels)
    noise = next(line for line in section(text, "Corruptions").splitlines() if line.startswith("| Gaussian noise"))
    assert noise.split(" | ")[3] == f"{worst:.1%}"
    assert "5 seconds on a CPU (threads: 1) with PyTorch 2" in section(text, "Training")


def test_a_card_is_refused_where_the_report_says_otherwise(zoo: Path) -> None:
    path = zoo / "export" / "s8-group" / "report.json"
    report = json.loads(path.read_text())
    report["rows"][0]["accuracy"]["value"] = 0.999
    path.write_text(json.dumps(report))
    result = CliRunner().invoke(cards.main, ["s8-group", "--data", "sample"])
    assert result.exit_code == 1
    assert re.search(r"^Error: s8-group, fp32: .* 99.90% of 250; export it again$", result.output, re.MULTILINE)
    assert not (zoo / "models" / "s8-group" / "README.md").exists()


def test_other_trainings_are_judged_by_images_they_have_not_seen(zoo: Path, sample: Dataset, tmp_path: Path) -> None:
    twin = shutil.copytree(zoo / "models" / "s8-group", tmp_path / "twin")
    (twin / RECIPE).write_text(default_recipe("s8-group").with_values(holdout=100, seed=3).to_toml())
    teacher = write_run(tmp_path / "teacher", "s8-batch", sample)
    (teacher / RECIPE).write_text(default_recipe("s8-batch").with_values(holdout=50).to_toml())
    command = ["s8-group", str(twin), str(teacher), "--data", "sample"]
    result = CliRunner().invoke(trainings.main, command)
    assert result.exit_code == 0, result.output
    folder = zoo / "models" / "s8-group"
    own, second, third = trainings.read(folder)
    assert (own.model, own.seed, own.holdout, own.images) == ("s8-group", 0, 0, 250)
    assert (second.model, second.seed, second.holdout, second.images) == ("s8-group", 3, 100, 100)
    assert (third.model, third.images, list(third.accuracy)) == ("s8-batch", 50, ["fp32"])
    about = facts.read("s8-group")
    assert own.accuracy == {row["name"]: row["accuracy"]["value"] for row in about.report["rows"]}
    temperatures = json.loads((folder / SUMMARY).read_text())["temperature"]
    assert set(temperatures) == {"fp32", "int8"}
    order = torch.randperm(500, generator=torch.Generator().manual_seed(12345))[:100].numpy()
    logits = about.forms[0].logits(sample.train_images[order])  # they have the same weights
    assert temperatures["fp32"] == pytest.approx(fit_temperature(logits, sample.train_labels[order]), abs=1e-3)
    assert second.accuracy["fp32"] == np.mean(logits.argmax(axis=1) == sample.train_labels[order])
    assert about.twin == second
