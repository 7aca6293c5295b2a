"""Models as .tflite files: they answer as the .onnx file does; other files are refused in one line."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar_edge import Classifier
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.errors import ContractError, MissingExtra, ModelError, PageError
from cifar_edge.export.targets import litert
from cifar_edge.integer import IntegerNetwork
from cifar_edge.model_file.reading import read_graph
from cifar_edge.runs.resolve import resolve_model
from cifar_edge.runtime.model import load, run
from cifar_edge.spec import ModelMetadata
from cifar_edge.web.site import site_files

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

PHOTO = Path(__file__).parents[2] / "docs" / "images" / "cat.png"


def written(*, scores: bool = False, **about: Any) -> bytes:
    """The released gn-cnn as a .tflite file, with other metadata for ``about``."""
    path = resolve_model("gn-cnn").path
    metadata = replace(read_graph(path)[1], **about)
    (content,) = litert.write(IntegerNetwork.from_onnx(path), metadata, litert.LitertOptions(scores)).values()
    return content


@pytest.fixture(scope="module")
def content() -> bytes:
    return written()


@pytest.fixture
def model(content: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "gn-cnn.int8.tflite"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [(("predict", PHOTO, "--model"), "cat"), (("evaluate", "--data", "sample"), "accuracy"), (("benchmark",), "p50")],
)
def test_a_command_prints_nothing_of_litert(model: Path, arguments: tuple[str, ...], printed: str) -> None:
    command = [sys.executable, "-m", "cifar_edge", *map(str, arguments), str(model), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert printed in done.stdout
    assert done.stderr == ""


def test_it_answers_as_the_onnx_file_does(content: bytes, sample: Dataset) -> None:
    classifier, reference = Classifier(content), Classifier("gn-cnn")
    assert classifier.metadata == reference.metadata
    answer, wanted = classifier.predict(PHOTO), reference.predict(PHOTO)
    assert answer.label == wanted.label
    assert np.allclose(answer.logits, wanted.logits, atol=1e-4)
    answers = classifier.predict_batch(sample.test_images)
    assert [each.label for each in answers] == [each.label for each in reference.predict_batch(sample.test_images)]
    assert pickle.loads(pickle.dumps(classifier)).predict(PHOTO) == answer
    assert classifier.classify(sample.test_images[:0]) == []


def test_threads_share_a_classifier(content: bytes, sample: Dataset) -> None:
    classifier, images = Classifier(content), list(sample.test_images[:100])
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(classifier.predict, images))
    assert answers == [classifier.predict(image) for image in images]


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_of_any_size(content: bytes, sample: Dataset, threads: int) -> None:
    session, _ = load(content, threads)
    every = run(session, sample.test_images)
    for count in (1, 7, 64, 3, 1, 65):
        assert np.array_equal(run(session, sample.test_images[:count]), every[:count])


def test_commands_take_it(model: Path, sample: Dataset) -> None:
    def output(*arguments: str | Path) -> str:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    assert output("predict", PHOTO, "--model", model).startswith("cat")
    right = run(load(resolve_model("gn-cnn").path).session, sample.test_images).argmax(axis=1) == sample.test_labels
    assert f"{right.mean():.2%}" in output("evaluate", model, "--data", "sample")
    assert "gn-cnn.int8.tflite" in output("benchmark", model)


def test_commands_that_run_onnx_alone_say_so(model: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    with pytest.raises(PageError, match=r"the page runs \.onnx files, and .*tflite is a \.tflite file"):
        site_files(page, [model])
    with pytest.raises(ModelError, match=r"is a \.tflite file; give the \.onnx file beside it"):
        IntegerNetwork.from_onnx(model)


def without_our_metadata(content: bytes) -> bytes:
    """Somebody else's file."""
    return content.replace(b"cifar_edge\0", b"cifar_else\0")


def with_other_operator(content: bytes) -> bytes:
    """With a custom operator in place of the first."""
    model = schema.ModelT.InitFromPackedBuf(content)
    model.operatorCodes[0] = schema.OperatorCodeT(32, "Theirs", 1, schema.BuiltinOperator.CUSTOM)
    return packed(model)


def with_other_input(content: bytes) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(content)
    model.subgraphs[0].tensors[0].name = "pixels"
    return packed(model)


def with_tensor(**changes: Any) -> Callable[[bytes], bytes]:
    """With other fields of the first tensor of codes."""

    def change(content: bytes) -> bytes:
        model = schema.ModelT.InitFromPackedBuf(content)
        tensor = model.subgraphs[0].tensors[1]
        for name, value in changes.items():
            setattr(tensor if hasattr(tensor, name) else tensor.quantization, name, value)
        return packed(model)

    return change


def with_operator(**changes: Any) -> Callable[[bytes], bytes]:
    """With other fields of the first convolution."""

    def change(content: bytes) -> bytes:
        model = schema.ModelT.InitFromPackedBuf(content)
        operator = model.subgraphs[0].operators[1]
        for name, value in changes.items():
            setattr(operator if hasattr(operator, name) else operator.builtinOptions, name, value)
        return packed(model)

    return change


def with_two_graphs(content: bytes) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(content)
    model.subgraphs *= 2
    return packed(model)


def packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            without_our_metadata,
            ContractError,
            "it has no 'cifar_edge' metadata; make the file with `cifar-edge export`",
        ),
        (with_other_operator, ContractError, "it has CUSTOM, which `cifar-edge export` never writes"),
        (
            with_other_input,
            ContractError,
            r"its input is 'pixels' uint8 \[1, 32, 32, 3\]; the contract requires 'image'",
        ),
        (with_two_graphs, ContractError, "it has 2 graphs"),
        (with_tensor(zeroPoint=[262144]), ContractError, "it has a zero point that is not from -128 to 127"),
        (with_tensor(scale=[1e-43]), ContractError, "it has a scale that is not from 1e-15 to 1e"),
        (with_tensor(scale=[1.0, 1.0]), ContractError, "it has 2 scales and 1 zero points for a shape of"),
        (with_tensor(shape=[1, 2**20, 2**20, 3]), ContractError, "it has a tensor of type 9 and shape"),
        (with_tensor(buffer=999), ContractError, "it refers to number 999 of 2"),
        (with_tensor(buffer=1), ContractError, "it has a constant of 1,536 bytes for 3,072"),
        (with_tensor(isVariable=True), ContractError, "it has a tensor that is variable"),
        (with_operator(inputs=[1, 2]), ContractError, "it has a CONV_2D of other inputs"),
        (with_operator(inputs=[30, 2, 3]), ContractError, "it has a CONV_2D of other inputs"),
        (with_operator(inputs=[1, 2, -1]), ContractError, r"it refers to number -1 of \d+"),
        (with_operator(outputs=[0]), ContractError, "it has a CONV_2D of other outputs"),
        (with_operator(strideW=0), ContractError, r"it has a CONV_2D of sizes \[0, 2, 1, 1\]"),
        (lambda content: written(scores=True), ContractError, "its output is scores.* export it without --scores"),
        (lambda content: written(size=48), ContractError, r"the contract requires 'image' uint8 \[1, 48, 48, 3\]"),
        (lambda content: content[:30_000], ModelError, "damaged or not a LiteRT model"),
        (lambda content: content.replace(b'"model"', b'"\xff\xfe\xfd\xfc\xfb"'), ContractError, "is not UTF-8"),
        (lambda content: content[:8], ModelError, "damaged or not a LiteRT model"),
        (lambda content: content[:8] + b"\xff" * 1000, ModelError, "damaged or not a LiteRT model"),
    ],
)
def test_other_files_are_one_line(
    content: bytes, change: Callable[[bytes], bytes], kind: type[ModelError], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load(change(content))
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_changed_bytes_are_refused_or_answered(content: bytes, data: st.DataObject) -> None:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        near = data.draw(st.sampled_from([len(content), 400]))
        changed[data.draw(st.integers(8, near - 1))] = data.draw(st.integers(0, 255))
    try:
        metadata = load(bytes(changed)).metadata
    except ModelError as error:
        assert str(error).isprintable()
    else:
        assert isinstance(metadata, ModelMetadata)


def test_without_litert_it_is_one_line(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.delitem(sys.modules, "ai_edge_litert.interpreter", raising=False)
    monkeypatch.delitem(sys.modules, "ai_edge_litert.schema_py_generated", raising=False)
    with pytest.raises(MissingExtra, match=r"a \.tflite file needs LiteRT: pip install 'cifar-edge\[litert\]'"):
        load(content)
    result = CliRunner().invoke(main, ["export", "gn-cnn", "--quantize", "--target", "litert"])
    assert result.exit_code == 1
    assert "pip install 'cifar-edge[litert]'" in result.stderr
