"""Models from strangers: what cifar-edge exports is loaded, all else is refused before onnxruntime sees it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_tiny_model import tiny_model
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tiny import TINY

from benchmarks.attacks.models import ATTACKS, SECRET, SECRET_FILE, all_that_is_allowed, poisoned
from cifar_edge import Classifier
from cifar_edge.errors import ContractError, ModelError
from cifar_edge.model_file.onnx_file import OnnxFile
from cifar_edge.model_file.operators import OPERATORS, check_graph
from cifar_edge.model_file.protobuf import DamagedError
from cifar_edge.model_file.reading import BATCH
from cifar_edge.runs.resolve import released_exports
from cifar_edge.runtime.model import load

RELEASED = [file for files in released_exports().values() for file in files]
BRIEF = 400
"""Characters of a message."""


def refused(content: bytes) -> str:
    with pytest.raises(ModelError) as caught:
        load(content)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < BRIEF
    return message


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_attacks_are_refused_in_one_line(
    attack: Callable[[], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / SECRET_FILE).write_bytes(SECRET)
    monkeypatch.chdir(tmp_path)
    refused(attack())


def test_a_model_as_large_as_is_allowed_is_loaded() -> None:
    load(all_that_is_allowed())


def test_a_file_that_names_another_file_is_refused_as_such(tmp_path: Path) -> None:
    model = onnx.load(TINY)
    path = tmp_path / "tiny.onnx"
    onnx.save(model, path, save_as_external_data=True, location="tiny.data", size_threshold=0)
    assert (tmp_path / "tiny.data").exists()
    with pytest.raises(ContractError, match="it contains external data"):
        load(path)
    with pytest.raises(ContractError, match="it contains external data"):
        Classifier(path.read_bytes())


@pytest.mark.parametrize("place", range(2))
def test_only_a_location_of_zero_is_none(place: int) -> None:
    """The field that says where data lies is itself refused, unless it says: here."""
    model = poisoned([], {"extra": np.zeros(10, np.float32)})
    model.graph.initializer[-1].data_location = place
    if place == TensorProto.EXTERNAL:
        assert "it contains external data" in refused(model.SerializeToString())
    else:
        load(model.SerializeToString())


@pytest.mark.parametrize("file", [*RELEASED, TINY], ids=lambda file: file.name)
def test_the_shapes_of_released_models_are_those_of_onnxruntime(file: Path) -> None:
    model = onnx.load(file)
    assert_shapes(model, check_graph(OnnxFile.from_bytes(file.read_bytes()), 2), {"image": (np.uint8, (2, 32, 32, 3))})


def assert_shapes(
    model: ModelProto, shapes: dict[str, tuple[int, ...]], inputs: dict[str, tuple[Any, tuple[int, ...]]]
) -> None:
    """Let onnxruntime make every tensor of ``model``, and compare."""
    made = [name for node in model.graph.node for name in node.output]
    inferred = onnx.shape_inference.infer_shapes(model)
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    kinds |= {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, kinds[name], None) for name in made)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(made, {name: np.zeros(shape, kind) for name, (kind, shape) in inputs.items()})
    shapes_found = {name: value.shape for name, value in zip(made, found, strict=True)}
    assert shapes_found == {name: shapes[name] for name in made}


SCALE, ZERO = np.float32(0.5), np.uint8(0)


def _of(shape: tuple[int, ...], kind: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.ones(shape, kind)


FORMS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Add", [_of((2, 3, 1, 5)), _of((4, 1))], {}),
    ("Mul", [_of((3, 1)), _of((2, 1, 7))], {}),
    ("AveragePool", [_of((2, 3, 9, 8))], {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 0, 1]}),
    ("AveragePool", [_of((2, 3, 9, 8))], {"kernel_shape": [2, 2], "strides": [2, 3], "ceil_mode": 1}),
    ("MaxPool", [_of((2, 3, 11, 11))], {"kernel_shape": [3, 3], "strides": [2, 2], "dilations": [2, 1]}),
    ("MaxPool", [_of((2, 3, 11, 10))], {"kernel_shape": [3, 3], "strides": [3, 3], "ceil_mode": 1}),
    ("Cast", [_of((2, 3))], {"to": TensorProto.INT32}),
    ("Concat", [_of((2, 3, 4)), _of((2, 1, 4)), _of((2, 2, 4)), _of((2, 3, 4))], {"axis": 1}),
    ("Clip", [_of((2, 3)), SCALE, np.float32(6)], {}),
    ("Conv", [_of((2, 4, 9, 8)), _of((6, 2, 3, 2))], {"group": 2, "strides": [2, 1], "pads": [1, 0, 1, 1]}),
    ("Conv", [_of((2, 4, 9, 8)), _of((4, 1, 3, 3))], {"group": 4, "dilations": [2, 3]}),
    ("ConvInteger", [_of((2, 4, 9, 8), np.uint8), _of((6, 4, 3, 3), np.int8)], {"strides": [2, 2]}),
    (
        "QLinearConv",
        [_of((2, 4, 9, 8), np.uint8), SCALE, ZERO, _of((6, 4, 3, 3), np.int8), SCALE, np.int8(0), SCALE, ZERO],
        {"pads": [1, 1, 1, 1]},
    ),
    ("Flatten", [_of((2, 3, 4, 5))], {}),
    ("Flatten", [_of((2, 3, 4, 5))], {"axis": 3}),
    ("Gemm", [_of((2, 3)), _of((5, 3))], {"transB": 1}),
    ("Gemm", [_of((2, 3)), _of((2, 5))], {"transA": 1}),
    ("GlobalAveragePool", [_of((2, 3, 4, 5))], {}),
    ("MatMul", [_of((2, 1, 3, 4)), _of((5, 4, 6))], {}),
    ("MatMulInteger", [_of((2, 3), np.uint8), _of((3, 4), np.int8)], {}),
    ("QLinearMatMul", [_of((2, 3), np.uint8), SCALE, ZERO, _of((3, 4), np.uint8), SCALE, ZERO, SCALE, ZERO], {}),
    ("Pad", [_of((2, 3, 4, 5)), np.array([0, 0, 1, 2, 0, 0, 3, 4])], {"mode": "reflect"}),
    ("ReduceMean", [_of((2, 3, 4, 5)), np.array([-1, 2])], {"keepdims": 0}),
    ("ReduceMean", [_of((2, 3, 4, 5)), np.array([2, 3])], {}),
    ("ReduceMean", [_of((2, 3, 4, 5))], {"keepdims": 0}),
    ("Reshape", [_of((2, 3, 4, 5)), np.array([0, -1, 10])], {}),
    ("Transpose", [_of((2, 3, 4))], {}),
    ("Transpose", [_of((2, 3, 4))], {"perm": [1, 2, 0]}),
    ("Sub", [_of((2, 3)), _of((3,))], {}),
    ("Relu", [_of((2, 3))], {}),
    ("QuantizeLinear", [_of((2, 3)), SCALE, ZERO], {}),
    ("com.microsoft.QGemm", [_of((2, 3), np.uint8), SCALE, ZERO, _of((3, 4), np.uint8), SCALE, ZERO], {}),
    (
        "com.microsoft.QLinearAdd",
        [_of((2, 3), np.uint8), SCALE, ZERO, _of((3,), np.uint8), SCALE, ZERO, SCALE, ZERO],
        {},
    ),
    (
        "com.microsoft.QLinearAveragePool",
        [_of((2, 3, 9, 8), np.uint8), SCALE, ZERO, SCALE, ZERO],
        {"kernel_shape": [3, 2], "strides": [2, 2]},
    ),
    ("com.microsoft.QLinearGlobalAveragePool", [_of((2, 3, 9, 8), np.uint8), SCALE, ZERO, SCALE, ZERO], {}),
]


def single(operator: str, inputs: list[Any], attributes: dict[str, Any]) -> ModelProto:
    """A model of one node, whose first input is that of the graph."""
    domain, _, name = operator.rpartition(".")
    arrays = [np.asarray(value) for value in inputs]
    names = ["x", *(f"c{place}" for place in range(1, len(arrays)))]
    kind = helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
    output = {"com.microsoft.QGemm": 1, "MatMulInteger": 6, "ConvInteger": 6, "QuantizeLinear": 2, "Cast": 6}
    graph = helper.make_graph(
        [helper.make_node(name, names, ["y"], domain=domain, **attributes)],
        "single",
        [helper.make_tensor_value_info("x", kind, ["batch", *arrays[0].shape[1:]])],
        [helper.make_tensor_value_info("y", output.get(operator, kind), None)],
        [numpy_helper.from_array(value, name) for name, value in zip(names[1:], arrays[1:], strict=True)],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets)


@pytest.mark.parametrize(("operator", "inputs", "attributes"), FORMS)
def test_the_shapes_of_operators_are_those_of_onnxruntime(
    operator: str, inputs: list[Any], attributes: dict[str, Any]
) -> None:
    model = single(operator, inputs, attributes)
    shapes = check_graph(OnnxFile.from_bytes(model.SerializeToString()), inputs[0].shape[0])
    assert_shapes(model, shapes, {"x": (inputs[0].dtype, inputs[0].shape)})


def test_every_operator_that_is_run_was_compared() -> None:
    in_files = {node.op_type for file in RELEASED for node in onnx.load(file).graph.node}
    assert in_files | {operator for operator, _, _ in FORMS} == set(OPERATORS)


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"),
    [
        ("Add", [_of((2, 3)), _of((2, 4))], {}),
        ("Conv", [_of((2, 4, 9, 8)), _of((6, 3, 3, 3))], {}),
        ("Conv", [_of((2, 4, 2, 2)), _of((6, 4, 3, 3))], {}),
        ("Conv", [_of((2, 4, 9, 8)), _of((6, 4, 3, 3))], {"pads": [-1, 0, 0, 0]}),
        ("Conv", [_of((2, 4, 9, 8)), _of((6, 4, 3, 3))], {"kernel_shape": [3, 4]}),
        ("Conv", [_of((2, 4, 9, 8)), _of((6, 4, 3, 3))], {"group": -1}),
        ("Conv", [_of((2, 4, 9, 8)), _of((6, 4, 3, 3))], {"auto_pad": "SAME_UPPER"}),
        ("Conv", [_of((2, 4, 9, 8)), _of((6, 4, 3, 3))], {"strides": 2}),
        ("Conv", [_of((2, 4, 9, 8)), _of((6, 4, 3, 3))], {"colour": 2}),
        ("MaxPool", [_of((2, 4, 9, 8))], {"kernel_shape": [1 << 40, 1], "pads": [1 << 40, 0, 0, 0]}),
        ("MaxPool", [_of((2, 4, 9, 8))], {}),
        ("MatMul", [_of((2, 3)), _of((4, 3))], {}),
        ("Gemm", [_of((2, 3)), _of((3, 3, 3))], {}),
        ("Flatten", [_of((2, 3))], {"axis": 7}),
        ("Transpose", [_of((2, 3))], {"perm": [0, 0]}),
        ("Reshape", [_of((2, 3)), np.array([7])], {}),
        ("Reshape", [_of((2, 3)), np.array([-1, -1])], {}),
        ("Reshape", [_of((2, 3)), np.array([-3, -1, 2])], {}),
        ("Reshape", [_of((2, 3)), np.array([0, 0, 0])], {}),
        ("Reshape", [_of((2, 3)), np.array([2.0, 3.0], np.float32)], {}),
        ("Reshape", [_of((2, 3))], {}),
        ("Pad", [_of((2, 3)), np.array([0, 0, 0, -1])], {}),
        ("Pad", [_of((2, 3)), np.array([0, 0, 0, 1 << 62])], {}),
        ("ReduceMean", [_of((2, 3)), np.array([5])], {}),
        ("Concat", [_of((2, 3))] * 4, {}),
        ("Concat", [_of((2, 3))] * 4, {"axis": -1}),
        ("Concat", [_of((2, 3))] * 4, {"axis": 2}),
        ("Concat", [_of((2, 3))] * 3, {"axis": 0}),
        ("Concat", [_of((2, 3))] * 5, {"axis": 0}),
        ("Concat", [_of((2, 3)), _of((2, 4)), _of((2, 3)), _of((2, 3))], {"axis": 0}),
        ("Concat", [_of((2, 3)), _of((2, 3, 1)), _of((2, 3)), _of((2, 3))], {"axis": 0}),
        ("Cast", [_of((2, 3))], {"to": TensorProto.STRING}),
        ("Abs", [_of((2, 3))], {}),
        ("com.microsoft.Relu", [_of((2, 3))], {}),
    ],
)
def test_nodes_that_do_not_fit_are_refused(operator: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    file = OnnxFile.from_bytes(single(operator, inputs, attributes).SerializeToString())
    with pytest.raises(ContractError) as caught:
        check_graph(file, BATCH)
    assert str(caught.value).isprintable()


def test_versions_are_those_of_the_contract() -> None:
    for change, words in (
        (lambda model: model.opset_import.append(helper.make_opsetid("own", 1)), "the domain 'own'"),
        (lambda model: model.opset_import.append(helper.make_opsetid("", 18)), "the same operator set twice"),
        (lambda model: setattr(model.opset_import[0], "version", 21), "opset 21"),
        (lambda model: setattr(model.opset_import[0], "version", 12), "opset 12"),
        (lambda model: setattr(model, "ir_version", 11), "IR version 11"),
        (lambda model: model.graph.node.extend([model.graph.node[0]] * 2000), "2,005 nodes"),
        (lambda model: model.graph.node.append(model.graph.node[0]), "two tensors called 'float'"),
        (lambda model: model.graph.input.append(model.graph.input[0]), "its input is"),
        (lambda model: model.graph.initializer.append(model.graph.initializer[0]), "the same constant twice"),
        (lambda model: setattr(model.metadata_props.add(), "key", "cifar_edge"), "the same metadata twice"),
    ):
        model = ModelProto.FromString(tiny_model())
        change(model)
        assert words in refused(model.SerializeToString())


SEEDS = [TINY.read_bytes(), next(file for file in RELEASED if file.name == "gn-cnn.int8.onnx").read_bytes()]
CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.integers(0, 3)), max_size=3)


def changed(content: bytes, changes: list[tuple[float, int, int]]) -> bytes:
    """``content`` with some bytes replaced, put in, or taken out."""
    found = bytearray(content)
    for where, byte, kind in changes:
        at = int(where * len(found))
        found[at : at + (kind != 1)] = b"" if kind == 2 else bytes([byte])
    return bytes(found)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.sampled_from(SEEDS), CHANGES)
def test_damaged_files_are_read_as_protobuf_itself_reads_them_or_refused(
    seed: bytes, changes: list[tuple[float, int, int]]
) -> None:
    content = changed(seed, changes)
    try:
        file = OnnxFile.from_bytes(content)
    except (DamagedError, ContractError, UnicodeDecodeError):
        return
    graph = ModelProto.FromString(content).graph
    assert [(node.op_type, tuple(node.input), tuple(node.output)) for node in graph.node] == [
        (node.operator.removeprefix(f"{theirs.domain}."), node.inputs, node.outputs)
        for node, theirs in zip(file.nodes, graph.node, strict=True)
    ]
    assert {tensor.name: tuple(tensor.dims) for tensor in graph.initializer} == {
        name: tensor.shape for name, tensor in file.constants.items()
    }
    for node, theirs in zip(file.nodes, graph.node, strict=True):
        values = {each.name: helper.get_attribute_value(each) for each in theirs.attribute}
        assert node.attributes == {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}
    assert not any(tensor.external_data or tensor.data_location for tensor in graph.initializer)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.sampled_from(SEEDS), CHANGES)
def test_damaged_models_answer_or_are_refused(seed: bytes, changes: list[tuple[float, int, int]]) -> None:
    try:
        model = load(changed(seed, changes))
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert len(model.metadata.labels) == 10


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        load(content)
