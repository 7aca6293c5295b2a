"""Networks of other sizes, from an image folder to predictions, through the real command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import RunCommand
from image_folder_helpers import SPLIT, write_images
from PIL import Image

from cifar_edge import Classifier
from cifar_edge.data import Dataset
from cifar_edge.integer import IntegerNetwork
from cifar_edge.runtime.transform import to_pixels


@pytest.mark.parametrize(("model", "size"), [("gn-cnn", 48), ("gn-cnn-nano", 64), ("s8-layer", 64)])
def test_photographs_at_another_size_from_training_to_prediction(
    cifar_edge: RunCommand, tmp_path: Path, sample: Dataset, model: str, size: int
) -> None:
    folder = write_images(tmp_path / "pets", SPLIT, sample)
    options = ("--size", str(size), "--epochs", "1", "--set", "batch_size=4", "--set", "holdout=0")
    done = cifar_edge("train", "--data", folder, "--model", model, "--name", "pets", *options)
    assert done.returncode == 0, done.stderr
    done = cifar_edge("export", "pets", "--quantize", "--max-drop", "100", "--keep", "none", "--json")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "runs" / "pets" / "export" / "pets.int8.onnx"
    classifier = Classifier(path)
    assert (classifier.size, classifier.metadata.contract) == (size, 2)
    photo = tmp_path / "photo.jpg"
    Image.fromarray(sample.test_images[0]).resize((200, 150)).save(photo)
    pixels = classifier.read(photo)
    assert np.array_equal(pixels, to_pixels(Image.open(photo), size))
    if model != "s8-layer":  # its norms stay in floating point
        integers = IntegerNetwork.from_onnx(path)
        assert integers.size == size
        logits = integers(pixels[None]).astype(np.float32) * integers.logit_scale
        assert classifier.predict(photo).logits == tuple(logits[0].tolist())
    done = cifar_edge("predict", "--model", path, photo, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["label"] == classifier.predict(photo).label
    done = cifar_edge("evaluate", "pets", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["images"] == 3
    assert cifar_edge("web", path, "--out", tmp_path / "site").returncode == 0
    assert json.loads((tmp_path / "site" / "model.json").read_text())[0]["size"] == size
