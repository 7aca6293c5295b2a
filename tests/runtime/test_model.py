"""Loading models: what keeps the contract answers as it must, everything else is refused in one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TINY, tiny_logits

from cifar_edge import Classifier
from cifar_edge.data import Dataset
from cifar_edge.errors import ContractError, ModelError
from cifar_edge.model_file.reading import MAX_MODEL_BYTES
from cifar_edge.runs.resolve import released_exports
from cifar_edge.runtime.model import load, run
from cifar_edge.spec import CIFAR10_LABELS, METADATA_KEY, ModelMetadata


@pytest.fixture
def refusal(capfd: pytest.CaptureFixture[str]) -> Callable[[str | Path | bytes, type[ModelError]], str]:
    """The message with which a model is refused; neither Python nor C++ prints anything besides."""

    def refuse(source: str | Path | bytes, kind: type[ModelError]) -> str:
        with pytest.raises(ModelError) as caught:
            load(source)
        assert type(caught.value) is kind
        assert capfd.readouterr() == ("", "")
        message = str(caught.value)
        assert message.isprintable()
        assert len(message) < 500 + (0 if isinstance(source, bytes) else len(str(source)))
        return message

    return refuse


Refusal = Callable[[str | Path | bytes, type[ModelError]], str]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 7, 64, 150])
def test_the_tiny_model_answers_as_numpy_does(sample: Dataset, count: int, threads: int) -> None:
    session, metadata = load(TINY, threads)
    images = sample.test_images[:count]
    logits = run(session, images)
    assert logits.dtype == np.float32
    assert logits.shape == (count, 10)
    np.testing.assert_allclose(logits, tiny_logits(images), atol=1e-5)
    assert (metadata.model, metadata.labels) == ("tiny", CIFAR10_LABELS)


def test_every_released_model_answers_no_image() -> None:
    files = [file for found in released_exports().values() for file in found]
    assert len(files) >= 8
    for file in files:
        assert Classifier(file).classify(np.empty((0, 32, 32, 3), np.uint8)) == []


def test_a_model_is_loaded_from_bytes_too(sample: Dataset) -> None:
    session, metadata = load(TINY.read_bytes())
    assert metadata == load(str(TINY)).metadata
    np.testing.assert_allclose(run(session, sample.test_images[:3]), tiny_logits(sample.test_images[:3]), atol=1e-5)


def test_no_thread_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least one thread, not 0"):
        load(TINY, 0)


def test_what_is_no_model_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "there is no model file" in refusal(tmp_path / "missing.onnx", ModelError)
    assert "is a folder" in refusal(tmp_path, ModelError)
    assert "there is no model file /dev/zero" in refusal("/dev/zero", ModelError)
    # Since Python 3.14 a path that is too long is one where nothing is.
    assert refusal("long" * 1000, ModelError).startswith(("cannot read the model long", "there is no model file long"))
    path = tmp_path / "model.onnx"
    path.touch()
    assert "is empty" in refusal(path, ModelError)
    for content in (b"This is no model.", b"\x89PNG\r\n\x1a\n" + bytes(100), json.dumps([1, 2]).encode()):
        path.write_bytes(content)
        assert refusal(path, ModelError).startswith(f"{path} is damaged or not an ONNX model: ")
    with path.open("wb") as file:
        file.truncate(MAX_MODEL_BYTES + 1)
    assert "is larger than 64 MiB" in refusal(path, ModelError)


def test_a_truncated_model_is_refused_wherever_it_is_cut(refusal: Refusal) -> None:
    content = TINY.read_bytes()
    for length in range(0, len(content), 13):
        with pytest.raises(ModelError):
            load(content[:length])
    assert refusal(content[: len(content) // 2], ModelError).startswith("the given model is damaged")


def test_an_error_of_onnxruntime_is_made_printable(refusal: Refusal) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    model.graph.node[0].attribute[0].i = onnx.TensorProto.INT8
    model.graph.node[1].name = "sub\x07\ntract\x1b[2J"
    assert "bound to different types" in (message := refusal(model.SerializeToString(), ModelError))
    assert "(sub tract [2J)" in message


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (METADATA_KEY.encode(), b"something!", "it has no 'cifar_edge' metadata"),
        (b'"contract":1', b'"contract":7', "it has contract version 7, but this cifar-edge knows 1 and 2"),
        (b'"labels":', b'"lables":', "its metadata lacks labels"),
        (b'"model":"tiny"', b'"model":"\xff\xfe\xfd\xfc"', "its metadata or a name in it is not UTF-8"),
        (b"batch", b"ba\xffch", "its metadata or a name in it is not UTF-8"),
        (b'"contract":1', b'"contract" 1', "its metadata is not JSON"),
        (b'"model":"tiny"', b'"model":"../x"', "its metadata has model = '../x'"),
        (b'"model":"tiny"', b'"model":"*/ /"', "its metadata has model = '*/ /'"),
        (b'"temperature":1.0', b'"temperature":0.0', "its metadata has temperature = 0.0"),
        (b'"test_accuracy":null', b'"test_accuracy": NaN', "its metadata has test_accuracy = nan"),
    ],
)
def test_metadata_that_break_the_contract(old: bytes, new: bytes, reason: str, refusal: Refusal) -> None:
    content = TINY.read_bytes()
    assert old in content
    assert len(old) == len(new)
    assert reason in refusal(content.replace(old, new), ContractError)


def test_the_committed_model_is_what_its_script_makes() -> None:
    pytest.importorskip("onnx")
    from make_tiny_model import tiny_model

    assert TINY.read_bytes() == tiny_model()


def test_graphs_that_break_the_contract(refusal: Refusal) -> None:
    onnx = pytest.importorskip("onnx")
    from make_tiny_model import changed_metadata, tiny_model

    promise = "the contract requires 'image' tensor(uint8) [batch, 32, 32, 3]"
    assert promise in refusal(tiny_model(input_name="input"), ContractError)
    assert promise in refusal(tiny_model(input_type=onnx.TensorProto.FLOAT), ContractError)
    assert promise in refusal(tiny_model(input_shape=(1, 32, 32, 3)), ContractError)
    assert promise in refusal(tiny_model(input_shape=("batch", 28, 28, 3)), ContractError)
    assert promise in refusal(tiny_model(input_shape=("batch", "height", "width", 3)), ContractError)
    promise = "the contract requires 'logits' tensor(float) [batch, 10]"
    assert promise in refusal(tiny_model(output_name="output"), ContractError)
    assert promise in refusal(tiny_model(classes=7, output_shape=("batch", 7)), ContractError)
    assert "two images give logits of shape [1, 10]" in refusal(tiny_model(joined_images=True), ContractError)
    assert "fails on a batch of two images" in refusal(tiny_model(bias=float("nan")), ContractError)
    assert "knows 1" in refusal(tiny_model(metadata=changed_metadata(contract=True)), ContractError)
    assert "it has no 'cifar_edge' metadata" in refusal(tiny_model(metadata=None), ContractError)
    assert "labels" in refusal(tiny_model(metadata=changed_metadata(labels=["x" * 10_000] * 2)), ContractError)
    assert "not Unicode" in refusal(tiny_model(metadata=changed_metadata(model="\ud800")), ContractError)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("contract", 1.0),
        ("contract", True),
        ("contract", "1"),
        ("parameters", -1),
        ("macs", -(10**30)),
        ("test_images", -1),
        ("test_images", 1.0),
    ],
)
def test_numbers_that_count_nothing_are_refused(key: str, value: object) -> None:
    record = json.loads(load(TINY).metadata.to_json())
    with pytest.raises(ContractError, match=key):
        ModelMetadata.from_json(json.dumps(record | {key: value}))


def test_version_2_says_size_and_threshold_and_version_1_neither() -> None:
    metadata = load(TINY).metadata
    assert (metadata.contract, metadata.size, metadata.threshold) == (1, 32, None)
    assert not {"size", "threshold"} & json.loads(metadata.to_json()).keys()
    for changed in (replace(metadata, size=48), replace(metadata, threshold=-2.5)):
        assert changed.contract == 2
        assert ModelMetadata.from_json(changed.to_json()) == changed
    record = json.loads(replace(metadata, size=64).to_json())
    assert record["input_layout"] == "uint8 NHWC RGB [batch, 64, 64, 3]"
    assert "64x64 RGB passes" in record["resize_rule"]
    # A reader of version 1 knows no size, so a size beside it means nothing.
    assert ModelMetadata.from_json(json.dumps(json.loads(metadata.to_json()) | {"size": 64})) == metadata


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": 40}, "size = 40, which is not a multiple of 16 from 32 to 128"),
        ({"size": 0}, "size = 0"),
        ({"size": 64.0}, "size = 64.0"),
        ({"size": True}, "size = True"),
        ({"size": 48}, "input_layout"),
        ({"threshold": float("nan")}, "threshold = nan"),
        ({"threshold": "high"}, "threshold = 'high'"),
        ({"contract": 3}, "version 3, but this cifar-edge knows 1 and 2"),
    ],
)
def test_metadata_of_version_2_that_contradict_themselves(changes: dict[str, object], reason: str) -> None:
    record = json.loads(replace(load(TINY).metadata, size=64).to_json())
    with pytest.raises(ContractError, match=reason):
        ModelMetadata.from_json(json.dumps(record | changes))


def test_an_input_that_contradicts_the_size_is_refused(refusal: Refusal) -> None:
    pytest.importorskip("onnx")
    from make_tiny_model import changed_metadata, tiny_model

    of_64 = json.loads(replace(load(TINY).metadata, size=64).to_json())
    message = refusal(tiny_model(metadata=changed_metadata(**of_64)), ContractError)
    assert "its input is 'image' tensor(uint8) [batch, 32, 32, 3]" in message
    assert "the contract requires 'image' tensor(uint8) [batch, 64, 64, 3]" in message
    accepted = tiny_model(metadata=changed_metadata(**of_64), input_shape=("batch", 64, 64, 3))
    assert load(accepted).metadata.size == 64


def metadata_or_contract_error(text: str) -> None:
    try:
        metadata = ModelMetadata.from_json(text)
    except ContractError as error:
        assert "\n" not in str(error)
    else:
        assert ModelMetadata.from_json(metadata.to_json()).labels == metadata.labels


@settings(deadline=None, derandomize=True)
@given(st.text())
def test_any_text_gives_metadata_or_a_contract_error(text: str) -> None:
    metadata_or_contract_error(text)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(st.data())
def test_any_json_gives_metadata_or_a_contract_error(data: st.DataObject) -> None:
    record = json.loads(load(TINY).metadata.to_json())
    for key in data.draw(st.lists(st.sampled_from(sorted(record)), max_size=3)):
        record[key] = data.draw(json_values)
    metadata_or_contract_error(json.dumps(data.draw(st.sampled_from([record, *record.values()]))))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"contract":' * 50_000, "9" * 10_000, "NaN", "{}", "null", "\ud800"])
def test_hostile_json_gives_a_contract_error(text: str) -> None:
    with pytest.raises(ContractError):
        ModelMetadata.from_json(text)
