"""`cifar-edge data` looks at an image folder before anything is trained."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from image_folder_helpers import of_class, write_images
from make_tiny_model import METADATA, tiny_model
from PIL import ExifTags, Image

from cifar_edge.cli.main import main
from cifar_edge.data import Dataset


def data(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


@pytest.fixture
def root(tmp_path: Path, sample: Dataset) -> Path:
    """Two classes; among the files a broken one, a small one, a copy in another class and a brighter copy."""
    folders = {f"{split}/{label}": of_class(sample, label, 6, start) for split, start in (("train", 0), ("test", 6))
               for label in ("cat", "dog")}  # fmt: skip
    root = write_images(tmp_path / "pets", folders, sample)
    cat = next((root / "train" / "cat").iterdir())
    shutil.copy(cat, root / "train" / "dog" / "copied.png")
    (root / "test" / "cat" / "broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (7, 9), (200, 30, 30)).save(root / "test" / "dog" / "small.png")
    dog = np.asarray(Image.open(next(path for path in (root / "train" / "dog").iterdir() if path.stem != "copied")))
    brighter = (dog * 0.9 + 12).astype(np.uint8)
    Image.fromarray(brighter).save(root / "test" / "dog" / "brighter.png")
    return root


def test_what_should_be_looked_at_is_named(root: Path) -> None:
    result = data("--data", root)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "  sizes     7x9 to 32x32 pixels, median 32x32" in lines
    assert lines[lines.index("files that cannot be read: 1") + 1].startswith("  test/cat/broken.jpg: not an image")
    assert lines[lines.index("smaller than 32 pixels, and enlarged: 1") + 1] == "  test/dog/small.png"
    equal = lines[lines.index("files of equal pixels: 1") + 1]
    assert equal.startswith("  train/cat/")
    assert equal.endswith("train/dog/copied.png (in several classes)")
    near = lines[lines.index("near duplicates, by a perceptual hash, not looked for among the small files: 1") + 1]
    assert near.startswith("  test/dog/brighter.png ~ train/dog/")
    assert near.endswith("(in training and test images)")
    check = json.loads(data("--data", root, "--json").stdout)["check"]
    assert check["small"] == ["test/dog/small.png"]
    assert check["near"][0]["across"] is True
    assert check["equal"][0]["labels"] == ["cat", "dog"]


def test_what_is_not_read_is_all_named(root: Path) -> None:
    for number in range(4):
        (root / "train" / "cat" / f"IMG_{number}.HEIC").touch()
        (root / "train" / "dog" / f"{number}.txt").touch()
    lines = data("--data", root).stdout.splitlines()
    unread = lines.index("photographs of a format that is not read, convert them to JPEG: 4")
    assert lines[unread + 1 : unread + 5] == [f"  train/cat/IMG_{number}.HEIC" for number in range(4)]
    ignored = lines.index("not an image in a class, and ignored: 4")
    assert lines[ignored + 1 : ignored + 5] == [f"  train/dog/{number}.txt" for number in range(4)]
    check = json.loads(data("--data", root, "--json").stdout)["check"]
    assert (len(check["unread"]), len(check["ignored"])) == (4, 4)


def test_panoramas_are_named_since_most_of_them_is_not_seen(root: Path) -> None:
    Image.new("RGB", (800, 40), (200, 30, 30)).save(root / "train" / "dog" / "wide.jpg")
    Image.new("RGB", (40, 800), (30, 30, 200)).save(root / "train" / "cat" / "high.jpg")
    lines = data("--data", root).stdout.splitlines()
    at = lines.index("mostly cut away, since only the centre square is seen: 2")
    assert lines[at + 1 : at + 3] == ["  train/cat/high.jpg", "  train/dog/wide.jpg"]


def test_a_clean_folder_says_none(tmp_path: Path, sample: Dataset) -> None:
    folders = {label: of_class(sample, label, 8) for label in ("cat", "ship")}
    result = data("--data", write_images(tmp_path / "x", folders, sample), "--holdout", "0.25")
    for line in ("files that cannot be read: none", "files of equal pixels: none"):
        assert line in result.stdout.splitlines()
    assert "check" not in json.loads(data("--data", "sample", "--json").stdout)


def test_labels_that_a_model_contradicts_are_named(tmp_path: Path, sample: Dataset) -> None:
    folders = {f"{split}/{label}": of_class(sample, label, 12, start) for split, start in (("train", 0), ("test", 12))
               for label in sample.labels}  # fmt: skip
    root = write_images(tmp_path / "own", folders, sample)
    for number, moved in enumerate(sorted((root / "test" / "ship").iterdir())[:4]):
        moved.rename(root / "test" / "frog" / f"in truth a ship {number}.png")
    result = data("--data", root, "--model", "gn-cnn")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("ship, not frog?  test/frog/in truth a ship") >= 3
    records = json.loads(data("--data", root, "--model", "gn-cnn", "--json").stdout)["disagreements"]
    assert {"side", "file", "label", "predicted", "score", "index"} == records[0].keys()
    result = data("--data", root.parent / "own" / "train", "--holdout", "0.2", "--model", "gn-cnn")
    assert result.exit_code == 0
    shutil.rmtree(root / "test" / "ship")
    shutil.rmtree(root / "train" / "ship")
    result = data("--data", root, "--model", "gn-cnn")
    assert result.exit_code == 1
    assert "has other classes" in result.stderr.splitlines()[-1]


def test_images_are_shown_at_the_size_of_the_model(tmp_path: Path, sample: Dataset) -> None:
    folders = {label: of_class(sample, label, 4) for label in METADATA.labels}
    root = write_images(tmp_path / "own", folders, sample)
    large = tmp_path / "large.onnx"
    large.write_bytes(tiny_model(replace(METADATA, size=64).to_json(), input_shape=("batch", 64, 64, 3)))
    result = data("--data", root, "--holdout", "0.25", "--model", large)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].endswith("64x64 RGB")


def test_sizes_are_of_upright_images_that_can_be_read(tmp_path: Path, sample: Dataset) -> None:
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    root = tmp_path / "photos"
    for label in METADATA.labels:
        (root / label).mkdir(parents=True)
        for number, pixels in enumerate(sample.train_images[of_class(sample, label, 3)]):
            Image.fromarray(pixels).resize((64, 48)).save(root / label / f"{number}.jpg", exif=turned)
    torn = root / METADATA.labels[0] / "torn.png"
    Image.new("RGB", (400, 20)).save(torn)
    torn.write_bytes(torn.read_bytes()[:60])
    large = tmp_path / "large.onnx"
    large.write_bytes(tiny_model(replace(METADATA, size=64).to_json(), input_shape=("batch", 64, 64, 3)))
    for more in ((), ("--model", large)):
        lines = data("--data", root, "--holdout", "0.34", *more).stdout.splitlines()
        assert "  sizes     48x64 to 48x64 pixels, median 48x64" in lines
        assert "files that cannot be read: 1" in lines
        assert "smaller than 32 pixels, and enlarged: none" in lines


def test_tiny_images_that_look_alike_are_no_copies(tmp_path: Path) -> None:
    """The digits of scikit-learn have 8x8 pixels: their hashes chain half of a class together."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:60], digits.target, strict=False)):
        (tmp_path / "digits" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype(np.uint8)).save(tmp_path / "digits" / str(label) / f"{number}.png")
    lines = data("--data", tmp_path / "digits", "--holdout", "0.2").stdout.splitlines()
    assert "smaller than 32 pixels, and enlarged: 60" in lines
    assert lines[-1] == "near duplicates, by a perceptual hash, not looked for among the small files: none"
