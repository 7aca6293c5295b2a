"""The classifier: one answer for an image however it comes in, and results that hold what they promise."""

import dataclasses
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import RunCommand
from PIL import Image
from tiny import TINY, tiny_logits

from cifar_edge import Classifier, ClassScore, ImageError, ModelError, Prediction
from cifar_edge.data import Dataset
from cifar_edge.runtime.images import ImageSource
from cifar_edge.runtime.results import ANSWER_FIELDS, prediction
from cifar_edge.runtime.transform import to_pixels
from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.openapi import document
from cifar_edge.spec import CIFAR10_LABELS


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(TINY)


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits - logits.max())
    scores: npt.NDArray[np.float64] = powers / powers.sum()
    return scores


def test_it_says_what_the_model_says(classifier: Classifier, sample: Dataset) -> None:
    for image, logits in zip(sample.test_images[:50], tiny_logits(sample.test_images[:50]), strict=True):
        answer = classifier.predict(image)
        assert answer.index == logits.argmax()
        assert answer.label == CIFAR10_LABELS[answer.index]
        assert answer.score == pytest.approx(softmax(logits).max(), abs=1e-5)
        np.testing.assert_allclose(answer.logits, logits, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        lambda path: path,
        str,
        Path.read_bytes,
        lambda path: io.BytesIO(path.read_bytes()),
        Image.open,
        lambda path: np.asarray(Image.open(path)),
    ],
    ids=["path", "str", "bytes", "file", "PIL", "array"],
)
def test_an_image_has_one_answer_however_it_comes(
    classifier: Classifier, sample: Dataset, tmp_path: Path, given: Callable[[Path], ImageSource]
) -> None:
    for size in ((32, 32), (70, 55)):
        path = tmp_path / "image.png"
        Image.fromarray(sample.test_images[3]).resize(size).save(path)
        with Image.open(path) as image:
            assert classifier.predict(given(path)) == classifier.predict(image)


def test_a_batch_answers_as_its_images_do_one_by_one(classifier: Classifier, sample: Dataset) -> None:
    images = sample.test_images[:130]
    singly = [classifier.predict(image) for image in images]
    for batch in (classifier.predict_batch(images), classifier.predict_batch(image for image in images)):
        assert [answer.index for answer in batch] == [answer.index for answer in singly]
        np.testing.assert_allclose([answer.logits for answer in batch], [answer.logits for answer in singly], atol=1e-5)
    assert classifier.predict_batch([]) == []


def test_a_batch_may_mix_sizes_and_kinds(classifier: Classifier, sample: Dataset) -> None:
    image = sample.test_images[0]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    answers = classifier.predict_batch(
        [image, file.getvalue(), Image.fromarray(image), image.repeat(2, 0).repeat(2, 1)]
    )
    assert len({answer.logits for answer in answers}) == 1


def test_an_array_need_not_lie_contiguously_in_memory(classifier: Classifier, sample: Dataset) -> None:
    image = sample.test_images[0]
    assert classifier.predict(image[:, ::-1]) == classifier.predict(np.ascontiguousarray(image[:, ::-1]))


def test_a_bad_image_is_named(classifier: Classifier, sample: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"missing\.png: no such file"):
        classifier.predict(tmp_path / "missing.png")
    with pytest.raises(ImageError, match=r"the array: it is float64 \[32, 32, 3\]"):
        classifier.predict(sample.test_images[0] / 255)
    with pytest.raises(ImageError, match=r"image 70 of the batch: the given bytes: not an image"):
        classifier.predict_batch([*sample.test_images[:70], b"text"])


def test_top_k(classifier: Classifier, sample: Dataset) -> None:
    answer = classifier.predict(sample.test_images[0])
    everything = answer.top(99)
    assert everything[0] == ClassScore(answer.label, answer.index, answer.score)
    assert sorted(candidate.index for candidate in everything) == list(range(10))
    scores = [candidate.score for candidate in everything]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1.0)
    expected = softmax(np.array(answer.logits))
    assert all(candidate.score == pytest.approx(expected[candidate.index]) for candidate in everything)
    assert all(candidate.label == CIFAR10_LABELS[candidate.index] for candidate in everything)
    assert answer.top(3) == everything[:3]
    with pytest.raises(ValueError, match="k must be at least 1"):
        answer.top(0)


def test_scores_survive_extreme_logits() -> None:
    labels = ("a", "b", "c")
    assert prediction([-1e30, 3e38, 0.0], labels).top(3)[0] == ClassScore("b", 1, 1.0)
    assert prediction([5.0, 5.0, 5.0], labels).score == pytest.approx(1 / 3)
    assert prediction([5.0, 5.0, 5.0], labels).label == "a"
    for logit in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(ValueError, match="not finite"):
            prediction([0.0, logit, 0.0], labels)


def test_results_are_values(classifier: Classifier, sample: Dataset) -> None:
    answer = classifier.predict(sample.test_images[0])
    assert answer == classifier.predict(sample.test_images[0].copy())
    assert len({answer, pickle.loads(pickle.dumps(answer))}) == 1
    assert repr(answer) == f"Prediction(label={answer.label!r}, index={answer.index}, score={answer.score!r})"
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.label = "cat"  # type: ignore[misc] # that is what is tested


@pytest.fixture(scope="module")
def overflowing() -> bytes:
    """The tiny model, with an infinite logit for what is bright red, which black test images do not show."""
    pytest.importorskip("onnx")
    from make_tiny_model import tiny_model
    from tiny import BIAS, WEIGHTS

    content = tiny_model()
    for value, large in ((WEIGHTS[0, 0], 1.5e38), (BIAS[0], 2e38)):
        assert content.count(value.tobytes()) == 1
        content = content.replace(value.tobytes(), np.float32(large).tobytes())
    return content


def test_what_overflows_a_model_is_an_error_that_names_it_and_the_others_go_on(overflowing: bytes) -> None:
    white = np.full((32, 32, 3), 255, np.uint8)
    black = np.zeros((70, 32, 32, 3), np.uint8)
    classifier = Classifier(overflowing)
    with pytest.raises(ModelError, match=r"^the given bytes: the model's output is not finite$"):
        classifier.predict(white)
    with pytest.raises(ModelError, match=r"^image 70 of the batch: the model's output is not finite$"):
        classifier.predict_batch([*black, white, *black])
    answers = [answer for _, answer in classifier.predict_iter([*black, white, *black])]
    assert [isinstance(answer, Prediction) for answer in answers] == [True] * 70 + [False] + [True] * 70
    assert isinstance(answers[70], ImageError)
    assert str(answers[70]) == "the array: the model's output is not finite"


def test_a_command_goes_on_after_it(overflowing: bytes, tmp_path: Path, cifar_edge: RunCommand) -> None:
    (tmp_path / "model.onnx").write_bytes(overflowing)
    for name, colour in (("1.png", "black"), ("2.png", "white"), ("3.png", "black")):
        Image.new("RGB", (32, 32), colour).save(tmp_path / name)
    done = cifar_edge("predict", "--model", "model.onnx", "1.png", "2.png", "3.png", "--jsonl", "-q")
    assert done.returncode == 1
    assert done.stderr == "Error: 2.png: the model's output is not finite\n"
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(record["input"], record.get("error")) for record in records] == [
        ("1.png", None),
        ("2.png", "2.png: the model's output is not finite"),
        ("3.png", None),
    ]


def test_it_knows_its_model() -> None:
    classifier = Classifier(str(TINY))
    assert classifier.labels == CIFAR10_LABELS
    assert classifier.metadata.model == "tiny"
    assert classifier.source == str(TINY)
    assert Classifier(TINY.read_bytes(), threads=2).source == "the given bytes"


def test_the_temperature_softens_scores_and_moves_no_class() -> None:
    labels = ("a", "b", "c")
    sharp, soft = prediction([1.0, 3.0, 2.0], labels), prediction([1.0, 3.0, 2.0], labels, 4.0)
    assert [score.label for score in sharp.top(3)] == [score.label for score in soft.top(3)] == ["b", "c", "a"]
    expected = np.exp([0.75, 0.5, 0.25]) / np.exp([0.75, 0.5, 0.25]).sum()
    assert [score.score for score in soft.top(3)] == pytest.approx(expected)
    assert soft.score == pytest.approx(expected[0])
    assert soft.score < sharp.score


@pytest.mark.parametrize("size", [32, 48, 128])
def test_a_model_of_another_size_takes_images_of_every_size(sample: Dataset, size: int) -> None:
    pytest.importorskip("onnx")
    from make_tiny_model import METADATA, tiny_model

    content = tiny_model(dataclasses.replace(METADATA, size=size).to_json(), input_shape=("batch", size, size, 3))
    with Classifier(content) as classifier:
        classifier.warmup()
        assert classifier.size == size
        photo = Image.fromarray(sample.test_images[1]).resize((300, 200))
        images: list[ImageSource] = [sample.test_images[0], photo]
        pixels = np.stack([to_pixels(image, size) for image in (Image.fromarray(sample.test_images[0]), photo)])
        expected = classifier.classify(pixels)
        assert [answer.logits for answer in classifier.predict_batch(images)] == [each.logits for each in expected]
        assert [classifier.predict(image).logits for image in images] == [each.logits for each in expected]
        streamed = [answer for _, answer in classifier.predict_iter(images)]
        assert [answer.logits for answer in streamed if isinstance(answer, Prediction)] == [e.logits for e in expected]
        with pytest.raises(ImageError, match=r"this model takes uint8 \[N, " + str(size)):
            classifier.classify(np.zeros((2, 33, 33, 3), np.uint8))


def test_a_models_threshold_makes_answers_unknown_in_every_output(tmp_path: Path, cifar_edge: RunCommand) -> None:
    pytest.importorskip("onnx")
    from make_tiny_model import METADATA, tiny_model

    path = tmp_path / "unsure.onnx"
    path.write_bytes(tiny_model(dataclasses.replace(METADATA, threshold=1e6).to_json()))
    Image.new("RGB", (40, 40), (10, 200, 90)).save(tmp_path / "image.png")
    classifier = Classifier(path)
    answer = classifier.predict(tmp_path / "image.png")
    assert (classifier.threshold, answer.sure) == (1e6, False)
    record = answer.to_record(2)
    assert record.keys() == {*ANSWER_FIELDS, "top"}
    assert (record["label"], record["index"], record["top"][0]["label"]) == ("unknown", None, answer.label)
    assert answer.to_record(threshold=0)["label"] == answer.label
    arguments = ("predict", "--model", path, "image.png")
    assert json.loads(cifar_edge(*arguments, "--json").stdout)[0]["label"] == "unknown"
    assert cifar_edge(*arguments).stdout.startswith(f"unknown ({answer.label}?)")
    assert json.loads(cifar_edge(*arguments, "--json", "--threshold", "none").stdout)[0]["label"] == answer.label
    schema = document({"tiny": classifier}, ServiceLimits(), secured=False)["components"]["schemas"]
    assert schema["Prediction"]["properties"]["label"]["enum"] == [*classifier.labels, "unknown"]
    assert schema["Prediction"]["properties"].keys() == {"image", *record}
