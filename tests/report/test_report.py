"""`cifar-edge report`: what the page says is what the files say, and what a run lacks is told."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from image_folder_helpers import write_images
from run_helpers import unfinished

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.errors import ModelError
from cifar_edge.files import released
from cifar_edge.measure.metrics import accuracy_difference
from cifar_edge.report import classify, report_page, subject_of
from cifar_edge.report.exported import read_exported
from cifar_edge.report.figures import difference, percent
from cifar_edge.runs.resolve import located
from cifar_edge.training.checkpoint import load_network

HOSTILE = "<b>&'cat"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def called(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == code, result.output
    return result


class Text(HTMLParser):
    """What a page shows: its text, its images, and the elements that are still open at its end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        if tag == "img":
            self.images.append(dict(attrs))
        elif tag not in {"meta", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.parts.append(data)


def read(file: str | Path) -> Text:
    page = Text(Path(file).read_text())
    assert page.open == []
    return page


def test_a_released_model_with_all_it_has(sample: Dataset) -> None:
    assert called("report", "gn-cnn", "--data", "sample").stdout == "report.html\n"
    page = read("report.html")
    assert "Files left out" not in page.text
    trained = load_network("gn-cnn")
    tested = classify(trained, sample)
    wrong = int((~tested.right).sum())
    assert percent(tested.evaluation.accuracy.value) in page.text
    assert f"{wrong} test images are in a wrong class" in page.text
    assert len(page.images) == 2 * min(wrong, 40)  # each with its map
    report = json.loads((released("export/gn-cnn") / "report.json").read_text())
    for row in report["rows"]:
        assert percent(row["accuracy"]["value"]) in page.text
        assert f"{row['timing']['p50_seconds'] * 1e6:.1f} µs" in page.text
    for label, recall in zip(sample.labels, tested.evaluation.recall, strict=True):
        assert f"{label} " in page.text
        assert percent(float(recall), 1) in page.text
    assert all(image["alt"] for image in page.images)
    assert "cifar-edge train --recipe recipe.toml" in page.text
    assert f"{percent(report['rows'][-1]['accuracy']['value'])} on 10,000 images" in page.text  # not those of above
    assert "All answers on this page are those of the folded network, by PyTorch in fp32; int8 is" in page.text
    assert "runs/teacher-0 and runs/teacher-1 , which have to be there" in page.text


def test_everything_is_in_the_file() -> None:
    called("report", "gn-cnn", "--data", "sample")
    page = Path("report.html").read_text()
    assert {address[:5] for address in re.findall(r'(?:src|href)="([^"#][^"]*)"', page)} == {"data:"}
    assert not re.search(r"url\(|@import|https?:", page)
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_the_recipe_in_the_page_is_the_recipe(tmp_path: Path) -> None:
    called("report", "s8-group", "--data", "sample")
    (encoded,) = re.findall(r'href="data:text/plain;charset=utf-8;base64,([^"]+)"', Path("report.html").read_text())
    import base64

    from cifar_edge.runs.recipe import Recipe

    (tmp_path / "recipe.toml").write_bytes(base64.b64decode(encoded))
    assert Recipe.from_file(tmp_path / "recipe.toml") == located("s8-group")[0].recipe


def test_two_runs_side_by_side(sample: Dataset) -> None:
    called("report", "gn-cnn", "s8-group", "--data", "sample", "--out", "two.html")
    page = read("two.html")
    one, other = (classify(load_network(name), sample) for name in ("gn-cnn", "s8-group"))
    assert difference(accuracy_difference(one.right, other.right)) in page.text
    assert f"Only gn-cnn is right: {np.count_nonzero(one.right & ~other.right)} image" in page.text
    assert f"Only s8-group is right: {np.count_nonzero(other.right & ~one.right)} image" in page.text
    recipes = [located(name)[0].recipe for name in ("gn-cnn", "s8-group")]
    assert f"batch_size {recipes[0].batch_size} {recipes[1].batch_size}" in page.text


def test_runs_that_were_tested_on_other_images_are_not_paired(sample: Dataset, tmp_path: Path) -> None:
    run, export = located("gn-cnn")
    trained = load_network("gn-cnn")
    tested = classify(trained, sample)
    fewer = classify(
        trained,
        Dataset(
            sample.name,
            sample.labels,
            sample.train_images,
            sample.train_labels,
            sample.test_images[:50],
            sample.test_labels[:50],
            sample.source,
        ),
    )
    page = report_page([subject_of(run, export, tested), subject_of(run, export, fewer)])
    (tmp_path / "page.html").write_text(page)
    assert "was tested on other images than gn-cnn" in read(tmp_path / "page.html").text


def test_a_run_that_is_not_finished_shows_what_it_has() -> None:
    unfinished(Path("runs/my early"), 7, "2026-11-28T04:00:00")
    assert called("report", "my early").stdout == "runs/my early/report.html\n"
    page = read("runs/my early/report.html")
    assert "It is not finished, 7 epochs so far: cifar-edge train --resume 'runs/my early' goes on." in page.text
    assert "cifar-edge export 'runs/my early' --quantize makes it." in page.text
    assert "runs/my early was not tried on its test images" in page.text


def test_train_fold_and_export_write_it(sample: Dataset) -> None:
    """On photographs of classes whose names are HTML, kept larger than the network sees them."""
    cats, dogs = (np.flatnonzero(sample.train_labels == sample.labels.index(name)).tolist() for name in ("cat", "dog"))
    folders = {
        f"train/{HOSTILE}": cats[:12],
        "train/dog": dogs[:12],
        f"test/{HOSTILE}": cats[12:20],
        "test/dog": dogs[12:20],
    }
    root = write_images(Path("photos"), folders, sample)
    (root / "train/dog/torn.jpg").write_bytes(b"\xff\xd8\xff")
    for name in ("train/dog/IMG_1.HEIC", "train/dog/copied/1.png", "notes.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(next((root / "train/dog").glob("*.png")), root / name)
    shutil.copy(next((root / "train/dog").glob("*.png")), root / f"train/{HOSTILE}/dog too.png")
    arguments = ["--epochs", "1", "--fold-epochs", "1", "--set", "steps_per_epoch=1", "--set", "batch_size=8"]
    done = called("train", "--data", str(root), *arguments, "--set", "warmup=0", "--name", "pets", "--json")
    assert json.loads(done.stdout)["report"] == "runs/pets/report.html"
    page = read("runs/pets/report.html")
    assert "cifar-edge export runs/pets --quantize makes it." in page.text
    assert HOSTILE in page.text
    assert f"--data {(root).resolve()}" in page.text
    assert "Cannot be read: 1 train/dog/torn.jpg: " in page.text
    assert f"The same image in two classes: 2 train/{HOSTILE}/dog too.png train/dog/" in page.text
    assert "convert them to JPEG: 1 train/dog/IMG_1.HEIC Not an image in a class: 1 notes.txt" in page.text
    assert "not searched: 1 train/dog/copied Files and devices" in page.text
    done = called("export", "pets", "--quantize", "--keep", "0.8", "--max-drop", "5", "--json")
    assert json.loads(done.stdout)["report"] == "runs/pets/report.html"
    page = read("runs/pets/report.html")
    assert "pets.int8.onnx" in page.text
    assert "<h1>runs/pets</h1>" in Path("runs/pets/report.html").read_text(encoding="utf-8")
    assert "cifar-edge data --data DIR --model RUN lists them" in page.text
    assert "RAM on a microcontroller" in page.text
    assert "int8 says 'unknown' where it is not sure, that is where its largest logit is below " in page.text
    assert "cifar-edge evaluate runs/pets --mistakes FILE.png draws its mistakes." in page.text
    assert "cifar-edge export runs/pets --quantize --keep SHARE sets another threshold." in page.text
    assert "Undecided: so few images cannot prove that int8 loses at most 5 points" in page.text
    assert "test/dog/" in page.text or f"test/{HOSTILE}/" in page.text  # names of the files
    done = called("fold", "pets", "--epochs", "1")
    assert "report                runs/pets/report.html\n" in done.stdout
    shutil.rmtree(root)
    called("report", "pets")
    assert "the images it was trained on are no longer in" in read("runs/pets/report.html").text
    called("report", "pets", "--data", str(root), code=1)


def test_epochs_of_a_later_folding(tmp_path: Path) -> None:
    """They take the place of those of the first."""
    run = shutil.copytree(released("models/s8-group"), tmp_path / "run")
    head, first = (run / "metrics.csv").read_text().splitlines()[:2]
    fold = first.replace("train,", "fold,")
    (run / "metrics.csv").write_text("\n".join([head, first, fold, fold]))
    assert len(subject_of(*located(str(run)), None).records) == 1 + 2
    (run / "fold-metrics.csv").write_text("\n".join([head, fold, fold, fold]))
    assert len(subject_of(*located(str(run)), None).records) == 1 + 3


@pytest.mark.parametrize(("old", "new"), [("train,", "trial,"), (",0.", ",nan")])
def test_damaged_metrics_are_told(old: str, new: str, tmp_path: Path) -> None:
    run = shutil.copytree(released("models/s8-group"), tmp_path / "run")
    written = (run / "metrics.csv").read_text()
    (run / "metrics.csv").write_text(written.replace(old, new, 1))
    assert "metrics.csv does not hold the metrics of a training" in called("report", str(run), code=1).stderr
    (run / "metrics.csv").unlink()
    called("report", str(run), "--data", "sample")
    assert f"{run} has no metrics.csv" in read(run / "report.html").text


def test_a_file_that_is_no_report_is_not_written_over() -> None:
    Path("report.html").write_text("<p>mine</p>")
    assert "is not a report of cifar-edge" in called("report", "gn-cnn", "--data", "sample", code=1).stderr
    assert Path("report.html").read_text() == "<p>mine</p>"
    called("report", "gn-cnn", "--data", "sample", "--out", "other.html")
    called("report", "gn-cnn", "--data", "sample", "--out", "other.html")
    assert "a .html file" in called("report", "gn-cnn", "--out", "other.txt", code=2).stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [("rows", 3), ("rows", [{}]), ("machine", None), ("max_drop", "0.5"), ("target_gates", {"c": {"figures": []}})],
)
def test_a_damaged_report_of_an_export_is_told(key: str, value: object, tmp_path: Path) -> None:
    record = json.loads((released("export/gn-cnn") / "report.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps(record | {key: value}))
    with pytest.raises(ModelError, match=r"report.json is damaged: .*; export again"):
        read_exported(tmp_path)


def test_exports_of_all_released_models_are_read() -> None:
    for name in ("gn-cnn", "gn-cnn-nano", "s8-layer", "s8-group", "s8-batch"):
        exported = read_exported(released(f"export/{name}"))
        assert exported is not None
        assert exported.int8 is not None
        assert exported.int8.accuracy.images == 10000
    assert read_exported(released("models/gn-cnn")) is None
