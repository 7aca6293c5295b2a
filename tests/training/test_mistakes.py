"""The picture of a network's mistakes: originals, their names, and maps of what spoke for the mistake."""

from pathlib import Path

import numpy as np
import pytest
import torch
from image_folder_helpers import SPLIT, write_images
from PIL import Image

from cifar_edge.data import Dataset, load_dataset
from cifar_edge.models import build
from cifar_edge.training.activation_map import activation_maps
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.loop import logits_of
from cifar_edge.training.mistakes import draw_misclassified, mistakes, scores


@pytest.fixture(scope="module")
def released() -> "list[torch.nn.Module]":
    trained = load_network(Path(__file__).parents[2] / "models" / "gn-cnn")
    assert trained.folded is not None
    return [trained.network, trained.folded]


def test_a_map_adds_up_to_the_logits(released: "list[torch.nn.Module]", sample: Dataset) -> None:
    images = sample.test_images[:70]
    for network in [*released, build("gn-cnn-max", 10).eval(), build("gn-cnn-nano", 10).eval()]:
        maps = activation_maps(network, images)
        assert maps is not None
        assert maps.shape == (70, 10, 8, 8)
        with torch.inference_mode():
            logits = logits_of(network, torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(maps.mean(axis=(2, 3)), logits, atol=1e-4)


def test_a_map_is_bright_where_the_object_is(released: "list[torch.nn.Module]", sample: Dataset) -> None:
    """A plain half says nothing: what speaks for the class lies in the half with the object, squeezed into it."""
    found = []
    for image in sample.test_images[:60]:
        half = np.full((32, 32, 3), 128, np.uint8)
        half[:, :16] = np.asarray(Image.fromarray(image).resize((16, 32)))
        maps = activation_maps(released[1], half[None])
        assert maps is not None
        best = maps[0, maps[0].mean(axis=(1, 2)).argmax()]
        found.append(np.unravel_index(best.argmax(), best.shape)[1] < 4)
    assert np.mean(found) > 0.75


def test_other_ends_have_no_map(sample: Dataset) -> None:
    assert activation_maps(build("s8-group", 10).eval(), sample.test_images[:2]) is None


def test_mistakes_come_surest_first(released: "list[torch.nn.Module]", sample: Dataset) -> None:
    with torch.inference_mode():
        logits = logits_of(released[0], torch.from_numpy(sample.test_images)).numpy()
    wrong = mistakes(sample, logits)
    assert set(wrong) == set(np.flatnonzero(logits.argmax(1) != sample.test_labels))
    assert (np.diff(scores(logits)[wrong]) <= 0).all()


def test_a_folder_knows_its_files_and_shows_the_originals(
    released: "list[torch.nn.Module]", sample: Dataset, tmp_path: Path
) -> None:
    root = write_images(tmp_path / "data", SPLIT, sample)
    large = Image.fromarray(sample.train_images[11]).resize((300, 300), Image.Resampling.NEAREST)
    large.save(root / "test" / "dog" / "11.png")
    dataset = load_dataset(root)
    names = dataset.names_of(dataset.test_images)
    assert sorted(map(str, names)) == ["test/cat/10.png", "test/cat/9.png", "test/dog/11.png"]
    assert sample.names_of(sample.test_images[:2]) == [None, None]
    wrong = np.eye(2, dtype=np.float32)[1 - dataset.test_labels]
    network = build("gn-cnn", 2).eval()
    with_maps, without = tmp_path / "maps.png", tmp_path / "plain.png"
    draw_misclassified(with_maps, dataset, wrong, "gn-cnn", network)
    draw_misclassified(without, dataset, wrong, "gn-cnn")
    with Image.open(with_maps) as wide, Image.open(without) as narrow:
        assert wide.width > narrow.width
    (root / "test" / "cat" / "9.png").unlink()  # an original that has gone is shown as the network saw it
    draw_misclassified(tmp_path / "gone.png", dataset, wrong, "gn-cnn", network)
    assert (tmp_path / "gone.png").exists()


def test_the_title_of_a_long_name_is_not_cut_off(sample: Dataset, tmp_path: Path) -> None:
    wrong = np.eye(10, dtype=np.float32)[(sample.test_labels + 1) % 10]
    draw_misclassified(
        tmp_path / "long.png", sample, wrong, "runs/20260301-120000-gn-cnn/export/" * 3 + "gn-cnn.int8.onnx"
    )
    with Image.open(tmp_path / "long.png") as picture:
        top = np.asarray(picture.convert("L"))[:60]
    assert (top < 128).any()
    assert (top[:, :10] == 255).all()
    assert (top[:, -10:] == 255).all()
