"""An image that a run was trained on never counts as a test image of that run, wherever its file is."""

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
    """Two classes, 8 training and 4 test images of each."""
    folders = {f"train/{label}": of_class(sample, label, 8) for label in LABELS}
    folders |= {f"test/{label}": of_class(sample, label, 4, start=8) for label in LABELS}
    return write_images(tmp_path / "pets", folders, sample)


@pytest.fixture
def trained(tmp_path: Path, pets: Path) -> Path:
    """A run whose record says that it was trained on them, and its export."""
    dataset = load_dataset(pets)
    folder = tmp_path / "runs" / "trained"
    (folder / "export").mkdir(parents=True)
    about = {"finished": "2026-01-01T00:00:00+00:00", "data": reference_to(dataset).to_record()}
    (folder / "summary.json").write_text(json.dumps(about))
    write_trained_on(folder, dataset)
    content = tiny_model(changed_metadata(labels=LABELS), output_shape=("batch", 2), classes=2)
    (folder / "export" / "tiny.fp32.onnx").write_bytes(content)
    return folder


def moved(pets: Path, count: int, label: str = "ship") -> None:
    """Turn ``count`` training images of a class into test images, in other files of the same pixels."""
    for path in sorted((pets / "train" / label).iterdir())[:count]:
        with Image.open(path) as image:
            image.save(pets / "test" / label / f"{path.stem}.bmp")
        path.unlink()


def cifar_edge(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_evaluate_leaves_out_what_was_trained_on_and_says_so(pets: Path, trained: Path) -> None:
    done = cifar_edge("evaluate", trained, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["images"] == 8
    assert "left out" not in done.stderr
    assert json.loads(done.stdout)["source"] == "image folder"
    moved(pets, 3)
    done = cifar_edge("evaluate", trained, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["images"] == 8
    assert f"left out: 3 of 11 test images of pets, which {trained} was trained on" in done.stderr
    assert json.loads(done.stdout)["source"] == "image folder, 3 test images left out, since they were trained on"


def test_evaluate_leaves_it_out_of_another_folder_too(
    pets: Path, trained: Path, tmp_path: Path, sample: Dataset
) -> None:
    others = {f"test/{label}": of_class(sample, label, 6, start=6) for label in LABELS}
    write_images(tmp_path / "more", others | {f"train/{label}": [0] for label in LABELS}, sample)
    for number, label in enumerate(LABELS):  # a different image for each class
        (tmp_path / "more" / "train" / label / "0.png").unlink()
        image = Image.fromarray(sample.test_images[sample.test_labels == sample.labels.index(label)][number])
        image.save(tmp_path / "more" / "train" / label / "new.png")
    done = cifar_edge("evaluate", trained, "--data", tmp_path / "more", "--json")
    assert done.exit_code == 0, done.stderr
    assert f"left out: 4 of 12 test images of more, which {trained} was trained on" in done.stderr
    assert json.loads(done.stdout)["accuracy"]["images"] == 8


def test_export_leaves_out_what_was_trained_on(pets: Path, trained: Path) -> None:
    torch.manual_seed(0)
    save_weights(trained / "model.safetensors", build("s8-batch", 2).state_dict(), "s8-batch", LABELS)
    shutil.rmtree(trained / "export")
    moved(pets, 3)
    done = cifar_edge("export", trained)
    assert done.exit_code == 0, done.stderr
    assert f"left out: 3 of 11 test images of pets, which {trained} was trained on" in done.stderr
    assert "judged by 8 test images of pets" in done.stderr
    report = json.loads((trained / "export" / "report.json").read_text())
    assert report["rows"][0]["accuracy"]["images"] == 8
    assert report["data"] == "pets (image folder, 3 test images left out, since they were trained on)"


def test_no_test_image_is_left(pets: Path, trained: Path) -> None:
    for label in LABELS:
        for path in (pets / "test" / label).iterdir():
            path.unlink()
        moved(pets, 2, label)
    done = cifar_edge("evaluate", trained)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        f"Error: {trained} was trained on every test image of pets; give others with --data DIR"
    )


def test_a_run_of_an_earlier_version_says_so_if_it_matters(pets: Path, trained: Path) -> None:
    (trained / TRAINED_ON).unlink()
    assert "earlier version" not in cifar_edge("evaluate", trained).stderr
    moved(pets, 3)
    done = cifar_edge("evaluate", trained)
    assert done.exit_code == 0, done.stderr
    assert (
        done.stderr.count(
            f"note: {trained} is a run of an earlier version, without a record of its training images: test images"
        )
        == 1
    )
    assert "11 test images" in done.stdout


def test_a_damaged_record_is_one_line(pets: Path, trained: Path) -> None:
    (trained / TRAINED_ON).write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"trained-on\.bin is damaged"):
        without_trained_on(load_dataset(pets), trained)


def test_training_and_folding_keep_the_record(pets: Path, tmp_path: Path, sample: Dataset) -> None:
    dataset, folder = load_dataset(pets), tmp_path / "runs" / "trained"
    train(Recipe(epochs=1, batch_size=8, holdout=4), dataset, folder)
    kept = (folder / TRAINED_ON).read_bytes()
    assert len(kept) == 16 * 16, "sixteen bytes an image, validation images included"
    moved(pets, 8, "frog")
    write_images(pets, {"train/frog": of_class(sample, "frog", 1, start=20)}, sample)
    assert without_trained_on(load_dataset(pets), folder)[1] == 8
    assert without_trained_on(sample, folder) == (sample, 0)
    (folder / TRAINED_ON).unlink()
    fold_run(folder, dataset, epochs=1)
    assert (folder / TRAINED_ON).read_bytes() == kept


def test_it_is_known_at_another_size_by_its_file(pets: Path, trained: Path) -> None:
    for path in sorted((pets / "train" / "ship").iterdir())[:3]:
        path.rename(pets / "test" / "ship" / f"moved {path.name}")
    assert without_trained_on(load_dataset(pets, size=48), trained)[1] == 3


def test_each_file_of_one_image_is_known_at_a_size_where_they_differ(tmp_path: Path, sample: Dataset) -> None:
    """Two files that are equal at 32x32 count as one image there; at 128x128 either may be a test image."""
    folder = tmp_path / "twins"
    (folder / "cat").mkdir(parents=True)
    write_images(folder, {"dog": of_class(sample, "dog", 8)}, sample)
    for number, pixels in enumerate(of_class(sample, "cat", 8)):
        large = sample.train_images[pixels].repeat(4, axis=0).repeat(4, axis=1)
        Image.fromarray(large).save(folder / "cat" / f"{number}.png")
        large[9, 9] ^= 1
        Image.fromarray(large).save(folder / "cat" / f"{number} again.png")
    small = load_dataset(folder, size=32, holdout=0.2)
    assert len(small.train_images) + len(small.test_images) == 16
    write_trained_on(tmp_path, small)
    large_size = load_dataset(folder, size=128, holdout=0.4)
    assert len(large_size.train_images) + len(large_size.test_images) == 24
    names = [str(name) for name in large_size.names_of(large_size.test_images)]
    trained = {str(name).replace(" again", "") for name in small.names_of(small.train_images)}
    known = [name.replace(" again", "") in trained for name in names]
    assert any("again" in name for name in names)
    assert without_trained_on(large_size, tmp_path)[1] == sum(known)


def test_what_a_run_was_made_from_counts_as_trained_on(
    pets: Path, trained: Path, tmp_path: Path, sample: Dataset
) -> None:
    later = tmp_path / "runs" / "later"
    later.mkdir()
    for path in (pets / "train" / "ship").iterdir():
        path.rename(pets / "test" / "ship" / f"moved {path.name}")
    write_images(pets, {"train/ship": of_class(sample, "ship", 1, start=20)}, sample)
    dataset = load_dataset(pets)
    write_trained_on(later, dataset, [trained])
    assert without_trained_on(dataset, later)[1] == 8
