"""What a hostile ``.onnx`` file costs: each is given to ``cifar-edge predict`` in a process of its own.

    python -m benchmarks.attacks.models

Every file is the released gn-cnn, with something beside it whose result is added to the logits. Needs the packages of
the extra ``train``, and Linux. It takes some seconds where files are refused, and stops by itself where they are not.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, load, numpy_helper

from benchmarks.attacks.bounded_process import attempt
from cifar_edge.files import released
from cifar_edge.spec import METADATA_KEY

SECRET = b"TOKEN=e4d909c290d0fb1ca068ffaddf22cbd0=="
"""40 bytes: ten floats."""
SECRET_FILE = ".env"

Constants = Mapping[str, np.ndarray[Any, Any]]


def poisoned(nodes: Sequence[NodeProto], constants: Constants, extra: str = "extra") -> ModelProto:
    """The released gn-cnn, whose logits have the tensor ``extra`` added that ``nodes`` make of ``constants``."""
    model = load(released("export/gn-cnn/gn-cnn.int8.onnx"))
    model.opset_import[0].version = 18
    graph = model.graph
    graph.node[-1].output[0] = "honest"
    graph.node.extend([*nodes, helper.make_node("Add", ["honest", extra], ["logits"])])
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return model


def content_of(message: ModelProto | TensorProto) -> bytes:
    """The bytes of a file that holds it."""
    content: bytes = message.SerializeToString()
    return content


def _node(operator: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def _mean(of: str) -> NodeProto:
    """All numbers of a tensor as one, so that a tensor of any size can be added to the logits."""
    return _node("ReduceMean", of, "extra", keepdims=0)


def _ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def another_file() -> bytes:
    """Ten numbers that are read from a file in the current folder, which come out as the differences of the logits."""
    model = poisoned([], {"extra": np.zeros(10, np.float32)})
    tensor = model.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=SECRET_FILE)
    return content_of(model)


def another_file_in_disguise() -> bytes:
    """The same, with a location that is one only for readers that keep 32 bits of a number."""
    content = another_file()
    honest, disguised = b"\x70\x01", b"\x70\x81\x80\x80\x80\x10"
    assert content.count(honest) == 1
    model = ModelProto.FromString(content)
    (tensor,) = [each for each in model.graph.initializer if each.name == "extra"]
    body = content_of(tensor).replace(honest, disguised)
    model.graph.initializer.remove(tensor)
    # A second graph field: readers of protocol buffers join the two.
    return content_of(model) + _field(7, _field(5, body))


def _field(number: int, body: bytes) -> bytes:
    """A field of a protocol buffer that holds ``body``."""
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def large_constants() -> bytes:
    """Operators that make a large tensor of a few bytes."""
    shape, nodes = _ints(1 << 28), []
    for index in range(4):
        nodes += [_node("ConstantOfShape", "shape", f"big{index}"), _node("ReduceMean", f"big{index}", f"m{index}")]
    total = [_node("Add", "m0 m1", "s1"), _node("Add", "s1 m2", "s2"), _node("Add", "s2 m3", "all")]
    return content_of(poisoned([*nodes, *total, _mean("all")], {"shape": shape}))


def endless_loop() -> bytes:
    """A loop of 2^62 rounds."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [_node("Identity", "condition", "on"), _node("Add", "before before", "after")],
        "body",
        [value("i", TensorProto.INT64, []), value("condition", TensorProto.BOOL, []), value("before", 1, [1])],
        [value("on", TensorProto.BOOL, []), value("after", 1, [1])],
    )
    constants = {"rounds": np.int64(1 << 62), "true": np.array(True), "zero": np.zeros(1, np.float32)}
    loop = _node("Loop", "rounds true zero", "looped", body=body)
    return content_of(poisoned([loop, _mean("looped")], {k: np.asarray(v) for k, v in constants.items()}))


def hidden_in_a_function() -> bytes:
    """An operator that no list names, inside a function of the file's own that is called like one that is listed."""
    model = poisoned([_node("Relu", "shape", "big", domain="own"), _mean("big")], {"shape": _ints(1 << 28)})
    model.opset_import.append(helper.make_opsetid("own", 1))
    function = FunctionProto(name="Relu", domain="own", input=["x"], output=["y"])
    function.node.append(_node("ConstantOfShape", "x", "y"))
    function.opset_import.append(helper.make_opsetid("", 18))
    model.functions.append(function)
    return content_of(model)


def padding() -> bytes:
    """A pooling of one pixel with a border of 30,000."""
    pool = _node("MaxPool", "pixel", "padded", kernel_shape=[30_000] * 2, pads=[29_999] * 4)
    return content_of(poisoned([pool, _mean("padded")], {"pixel": np.ones((1, 1, 1, 1), np.float32)}))


def product_of_vectors() -> bytes:
    """Two vectors of 30,000 numbers and their product, of 900 million."""
    row, column = np.ones((1, 30_000), np.float32), np.ones((30_000, 1), np.float32)
    return content_of(poisoned([_node("Mul", "row column", "big"), _mean("big")], {"row": row, "column": column}))


def many_constants() -> bytes:
    """Thirty such products of 100 MB, all of which are kept from the start."""
    row, column = np.ones((1, 5_000), np.float32), np.ones((5_000, 1), np.float32)
    nodes = [_node("Mul", "row column", f"m{index}") for index in range(30)]
    nodes += [_node("ReduceMean", f"m{index}", f"r{index}") for index in range(30)]
    nodes += [
        _node("Add", f"{'r0' if index == 1 else f's{index - 1}'} r{index}", f"s{index}") for index in range(1, 30)
    ]
    return content_of(poisoned([*nodes, _mean("s29")], {"row": row, "column": column}))


def four_times_again_and_again() -> bytes:
    """A number four times, that four times, and so on."""
    nodes = [_node("Concat", f"{f'c{index} ' * 4}", f"c{index + 1}", axis=0) for index in range(20)]
    return content_of(poisoned([*nodes, _mean("c20")], {"c0": np.zeros(1, np.float32)}))


def the_same_weights_again_and_again() -> bytes:
    """1,500 products with one matrix of 1,024 x 1,024."""
    nodes = [_node("MatMul", f"m{index} m0", f"m{index + 1}") for index in range(1500)]
    return content_of(poisoned([*nodes, _mean("m1500")], {"m0": np.zeros((1024, 1024), np.float32)}))


def all_that_is_allowed() -> bytes:
    """Thirteen convolutions of 256 channels at 32x32: nearly as much as a model may ask for, and so it is run."""
    nodes = [
        _node("Cast", "image", "float", to=TensorProto.FLOAT),
        _node("Transpose", "float", "planes", perm=[0, 3, 1, 2]),
        _node("Conv", "planes first", "c0x"),
        *(_node("Conv", f"c{index}x wide", f"c{index + 1}x", pads=[1] * 4) for index in range(13)),
        _node("GlobalAveragePool", "c13x", "pooled"),
    ]
    constants = {
        "first": np.full((256, 3, 1, 1), 1e-3, np.float32),
        "wide": np.full((256, 256, 3, 3), 1e-4, np.float32),
    }
    return content_of(poisoned([*nodes, _mean("pooled")], constants))


def grows_with_the_batch() -> bytes:
    """Nothing for one image; for a batch of 64 each number of each image times each of each other."""
    nodes = [
        _node("Cast", "image", "float", to=TensorProto.FLOAT),
        _node("Reshape", "float column_shape", "column"),
        _node("Reshape", "float row_shape", "row"),
        _node("Mul", "column row", "big"),
    ]
    constants = {"column_shape": _ints(-1, 1), "row_shape": _ints(1, -1)}
    return content_of(poisoned([*nodes, _mean("big")], constants))


def no_stride() -> bytes:
    """A convolution that divides by zero."""
    model = poisoned([], {"extra": np.zeros(1, np.float32)})
    (strides,) = [each for each in _first(model, "Conv").attribute if each.name == "strides"]
    strides.ints[:] = [0, 0]
    return content_of(model)


def no_groups() -> bytes:
    """Another one."""
    model = poisoned([], {"extra": np.zeros(1, np.float32)})
    (group,) = [each for each in _first(model, "Conv").attribute if each.name == "group"]
    group.i = 0
    return content_of(model)


def _first(model: ModelProto, operator: str) -> NodeProto:
    found: NodeProto = next(node for node in model.graph.node if node.op_type == operator)
    return found


def fewer_weights_than_said() -> bytes:
    """A constant whose shape says more elements than it has."""
    model = poisoned([], {"extra": np.zeros(10, np.float32)})
    model.graph.initializer[-1].dims[:] = [1 << 31]
    return content_of(model)


def millions_of_fields() -> bytes:
    """60 MB of nodes without anything."""
    return content_of(poisoned([], {"extra": np.zeros(1, np.float32)})) + _field(7, b"\x0a\x00" * 30_000_000)


def millions_of_classes() -> bytes:
    """60 MB of names of classes."""
    model = poisoned([], {"extra": np.zeros(1, np.float32)})
    metadata = json.loads(model.metadata_props[0].value)
    metadata["labels"] = [str(number) for number in range(6_000_000)]
    helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
    return content_of(model)


ATTACKS: Sequence[Callable[[], bytes]] = (
    another_file,
    another_file_in_disguise,
    large_constants,
    endless_loop,
    hidden_in_a_function,
    padding,
    product_of_vectors,
    many_constants,
    four_times_again_and_again,
    the_same_weights_again_and_again,
    grows_with_the_batch,
    no_stride,
    no_groups,
    fewer_weights_than_said,
    millions_of_fields,
    millions_of_classes,
)


def main() -> None:
    """Print a line an attack."""
    argparse.ArgumentParser("python -m benchmarks.attacks.models", description=__doc__.partition("\n")[0]).parse_args()
    with tempfile.TemporaryDirectory(prefix="cifar-edge-") as temporary:
        folder = Path(temporary)
        (folder / SECRET_FILE).write_bytes(SECRET)
        cat = Path(__file__).parents[2] / "docs" / "images" / "cat.png"
        for attack in (*ATTACKS, all_that_is_allowed):
            file = folder / "model.onnx"
            file.write_bytes(attack())
            outcome = attempt(["-m", "cifar_edge", "predict", "--quiet", "--model", file.name, cat], folder)
            print(f"{attack.__name__:<33}{file.stat().st_size / 1e3:>8,.0f} kB {outcome}", flush=True)


if __name__ == "__main__":
    main()
