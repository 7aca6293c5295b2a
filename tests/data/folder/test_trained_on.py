"""A picture that a run was trained on never counts as a test picture of that run, wherever it lies by then."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from image_folder_helpers import of_class, write_images
from make_tiny_model import changed_metadata, tiny_model
from PIL import Image

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset, load_dataset
from cifar_edge.data.folder.trained_on import TRAINED_ON, without_trained_on, write_trained_on
from cifar_edge.data.reference import reference_to
from cifar_edge.errors import ModelError
from cifar_edge.models import build
from cifar_edge.runs.recipe import Recipe
from cifar_edge.training.checkpoint import save_weights
from cifar_edge.training.run import fold_run, train

LABELS = ("frog", "ship")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pets(tmp_path: Path, sample: Dataset) -> Path:
    """Two classes, 8 training and 4 test pictures of each."""
    folders = {f"train/{label}": of_class(sample, label, 8) for label in LABELS}
    folders |= {f"test/{label}": of_class(sample, label, 4, start=8) for label in LABELS}
    return write_images(tmp_path / "pets", folders, sample)


@pytest.fixture
def own(tmp_path: Path, pets: Path) -> Path:
    """A run that was trained on them, as far as it says, and its export."""
    dataset = load_dataset(pets)
    folder = tmp_path / "runs" / "own"
    (folder / "export").mkdir(parents=True)
    about = {"finished": "2026-01-01T00:00:00+00:00", "data": reference_to(dataset).to_record()}
    (folder / "summary.json").write_text(json.dumps(about))
    write_trained_on(folder, dataset)
    content = tiny_model(changed_metadata(labels=LABELS), output_shape=("batch", 2), classes=2)
    (folder / "export" / "tiny.fp32.onnx").write_bytes(content)
    return folder


def moved(pets: Path, count: int, label: str = "ship") -> None:
    """So many training pictures of a class become test pictures, in other files of the same pixels."""
    for path in sorted((pets / "train" / label).iterdir())[:count]:
        with Image.open(path) as picture:
            picture.save(pets / "test" / label / f"{path.stem}.bmp")
        path.unlink()


def cifar_edge(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_evaluate_leaves_out_what_was_trained_on_and_says_so(pets: Path, own: Path) -> None:
    done = cifar_edge("evaluate", own, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["images"] == 8
    assert "left out" not in done.stderr
    assert json.loads(done.stdout)["source"] == "image folder"
    moved(pets, 3)
    done = cifar_edge("evaluate", own, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["images"] == 8
    assert f"left out: 3 of 11 test images of pets, which {own} was trained on" in done.stderr
    assert json.loads(done.stdout)["source"] == "image folder, 3 test images left out, since they were trained on"


def test_it_is_so_of_another_folder_too(pets: Path, own: Path, tmp_path: Path, sample: Dataset) -> None:
    others = {f"test/{label}": of_class(sample, label, 6, start=6) for label in LABELS}
    write_images(tmp_path / "more", others | {f"train/{label}": [0] for label in LABELS}, sample)
    for number, label in enumerate(LABELS):  # one picture of each class, and not the same
        (tmp_path / "more" / "train" / label / "0.png").unlink()
        picture = Image.fromarray(sample.test_images[sample.test_labels == sample.labels.index(label)][number])
        picture.save(tmp_path / "more" / "train" / label / "new.png")
    done = cifar_edge("evaluate", own, "--data", tmp_path / "more", "--json")
    assert done.exit_code == 0, done.stderr
    assert f"left out: 4 of 12 test images of more, which {own} was trained on" in done.stderr
    assert json.loads(done.stdout)["accuracy"]["images"] == 8


def test_export_leaves_out_what_was_trained_on(pets: Path, own: Path) -> None:
    torch.manual_seed(0)
    save_weights(own / "model.safetensors", build("s8-batch", 2).state_dict(), "s8-batch", LABELS)
    shutil.rmtree(own / "export")
    moved(pets, 3)
    done = cifar_edge("export", own)
    assert done.exit_code == 0, done.stderr
    assert f"left out: 3 of 11 test images of pets, which {own} was trained on" in done.stderr
    assert "judged by 8 test images of pets" in done.stderr
    report = json.loads((own / "export" / "report.json").read_text())
    assert report["rows"][0]["accuracy"]["images"] == 8
    assert report["data"] == "pets (image folder, 3 test images left out, since they were trained on)"


def test_nothing_is_left_to_test_on(pets: Path, own: Path) -> None:
    for label in LABELS:
        for path in (pets / "test" / label).iterdir():
            path.unlink()
        moved(pets, 2, label)
    done = cifar_edge("evaluate", own)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        f"Error: {own} was trained on every test image of pets; give others with --data DIR"
    )


def test_a_run_of_an_earlier_version_says_so_where_it_matters(pets: Path, own: Path) -> None:
    (own / TRAINED_ON).unlink()
    assert "earlier version" not in cifar_edge("evaluate", own).stderr
    moved(pets, 3)
    done = cifar_edge("evaluate", own)
    assert done.exit_code == 0, done.stderr
    assert (
        done.stderr.count(
            f"note: {own} is a run of an earlier version, without a record of its training images: test images"
        )
        == 1
    )
    assert "11 test images" in done.stdout


def test_a_damaged_record_is_one_line(pets: Path, own: Path) -> None:
    (own / TRAINED_ON).write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"trained-on\.bin is damaged"):
        without_trained_on(load_dataset(pets), own)


def test_training_and_folding_keep_the_record(pets: Path, tmp_path: Path, sample: Dataset) -> None:
    dataset, folder = load_dataset(pets), tmp_path / "runs" / "trained"
    train(Recipe(epochs=1, batch_size=8, holdout=4), dataset, folder)
    kept = (folder / TRAINED_ON).read_bytes()
    assert len(kept) == 8 * 16, "eight bytes a picture, those held out included"
    moved(pets, 8, "frog")
    write_images(pets, {"train/frog": of_class(sample, "frog", 1, start=20)}, sample)
    assert without_trained_on(load_dataset(pets), folder)[1] == 8
    assert without_trained_on(sample, folder) == (sample, 0)
    (folder / TRAINED_ON).unlink()
    fold_run(folder, dataset, epochs=1)
    assert (folder / TRAINED_ON).read_bytes() == kept
