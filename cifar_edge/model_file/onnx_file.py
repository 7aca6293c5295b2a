"""Parses an ``.onnx`` file so that it can be checked before onnxruntime is given any of it.

The schema below is the part of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that `cifar-edge export` writes,
and harmless fields that other tools add. Everything else is refused, such as external data or a graph inside a node.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from cifar_edge.errors import ContractError
from cifar_edge.model_file.protobuf import Field, Message, RefusedError, Schema, decode

FLOAT, UINT8, INT8, INT32, INT64 = 1, 2, 3, 6, 7
"""Element types, numbered as ``TensorProto.DataType``."""
TYPES: Mapping[int, tuple[str, int]] = {
    FLOAT: ("float", 4),
    UINT8: ("uint8", 1),
    INT8: ("int8", 1),
    INT32: ("int32", 4),
    INT64: ("int64", 8),
}
"""Element type -> its name and its size in bytes."""

Shape = tuple[int | None, ...]
"""Sizes of a tensor; None if a size is not fixed."""


class Tensor(NamedTuple):
    """A constant of the graph.

    Attributes:
        type: element type, a key of `TYPES`.
        shape: all sizes are fixed, and the file holds as many elements.
        integers: the elements if they are int64, else None.
        raw: the elements as little-endian bytes; empty if the file holds them in another form.
    """

    type: int
    shape: tuple[int, ...]
    integers: tuple[int, ...] | None
    raw: bytes | memoryview = b""


class Node(NamedTuple):
    """A node of the graph.

    Attributes:
        operator: its type; in another domain than ONNX's own, after the domain and a dot.
        inputs: names of tensors; the name of an omitted optional input is empty.
        outputs: names of tensors.
        attributes: name -> float, int, text or list of int.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class End(NamedTuple):
    """An input or output of the graph.

    Attributes:
        name: of the tensor.
        type: of the tensor in onnxruntime's notation, such as ``tensor(uint8)``.
        shape: of the tensor.
    """

    name: str
    type: str
    shape: Shape


class OnnxFile(NamedTuple):
    """An ``.onnx`` file.

    Attributes:
        ir_version: version of the format.
        opsets: domain -> version of its operator set; ONNX's own domain is the empty string.
        metadata: key-value pairs.
        inputs: of the graph.
        outputs: of the graph.
        constants: name -> the tensor of that name.
        nodes: in the order of the file.
    """

    ir_version: int
    opsets: Mapping[str, int]
    metadata: Mapping[str, str]
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    constants: Mapping[str, Tensor]
    nodes: tuple[Node, ...]

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Parse the bytes of a file.

        Raises:
            DamagedError: it is not an ONNX model.
            UnicodeDecodeError: a string in it is not UTF-8.
            ContractError: it contains something that `cifar-edge export` never writes.
        """
        try:
            model = decode(content, _MODEL)
        except RefusedError as error:
            raise ContractError(f"it contains {error}, which `cifar-edge export` never writes") from error
        graph = model.get("graph", {"nodes": [], "tensors": [], "inputs": [], "outputs": []})
        return cls(
            ir_version=model.get("ir_version", 0),
            opsets=_unique(
                "operator set", [(each.get("domain", ""), each.get("version", 0)) for each in model["opsets"]]
            ),
            metadata=_unique("metadata", [(each.get("key", ""), each.get("value", "")) for each in model["metadata"]]),
            inputs=tuple(map(_end, graph["inputs"])),
            outputs=tuple(map(_end, graph["outputs"])),
            constants=_unique("constant", [(each.get("name", ""), _tensor(each)) for each in graph["tensors"]]),
            nodes=tuple(map(_node, graph["nodes"])),
        )


def _unique(what: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ContractError(f"it has the same {what} twice")
    return found


def _end(message: Message) -> End:
    tensor = message.get("type", {}).get("tensor", {})
    kind = tensor.get("type", 0)
    sizes = tensor.get("shape", {"sizes": []})["sizes"]
    return End(
        name=message.get("name", ""),
        type=f"tensor({TYPES[kind][0] if kind in TYPES else kind})",
        shape=tuple(None if "variable" in size else size.get("value") for size in sizes),
    )


def _tensor(message: Message) -> Tensor:
    name, kind, shape = message.get("name", ""), message.get("type", 0), tuple(message["shape"])
    if message.get("location", 0) != 0:
        raise ContractError("it contains external data, which `cifar-edge export` never writes")
    if kind not in TYPES:
        raise ContractError(f"its constant {name!r} is of type {kind}, which `cifar-edge export` never writes")
    size = TYPES[kind][1]
    held = [len(message[form]) * size for form in ("floats", "int32s", "int64s") if message[form]]
    raw = message.get("raw", b"")
    if min(shape, default=1) < 1 or [*held, *[len(raw)] * ("raw" in message)] != [math.prod(shape) * size]:
        raise ContractError(f"its constant {name!r} does not have the elements of its shape {list(shape)}")
    integers = None
    if kind == INT64:
        integers = tuple(message["int64s"] or np.frombuffer(raw, "<i8").tolist())
    return Tensor(kind, shape, integers, raw)


def _node(message: Message) -> Node:
    domain, operator = message.get("domain", ""), message.get("operator", "")
    attributes = [(each.get("name", ""), _value(each)) for each in message["attributes"]]
    return Node(
        operator=f"{domain}.{operator}" if domain else operator,
        inputs=tuple(message["inputs"]),
        outputs=tuple(message["outputs"]),
        attributes=_unique("attribute", attributes),
    )


def _value(message: Message) -> Any:
    kind = _ATTRIBUTE_TYPES.get(message.get("type", 0))
    present = {key for key in _ATTRIBUTE_TYPES.values() if message.get(key, []) != []}
    if kind is None or not present <= {kind}:
        raise ContractError(
            f"its attribute {message.get('name', '')!r} is of a type that `cifar-edge export` never writes"
        )
    return message.get(kind, 0)


_ATTRIBUTE_TYPES = {1: "float", 2: "int", 3: "text", 7: "ints"}
"""Numbered as ``AttributeProto.AttributeType``."""


def _many(name: str, kind: Any) -> Field:
    return Field(name, kind, repeated=True)


_NOTE = Field("note", "text")
_TENSOR = Schema(
    "TensorProto",
    {
        1: _many("shape", "int"),
        2: Field("type", "int"),
        4: _many("floats", "float"),
        5: _many("int32s", "int"),
        7: _many("int64s", "int"),
        8: Field("name", "text"),
        9: Field("raw", "data"),
        12: _NOTE,
        13: Field("external data", "refused"),
        14: Field("location", "int"),
    },
)
_ATTRIBUTE = Schema(
    "AttributeProto",
    {
        1: Field("name", "text"),
        2: Field("float", "float"),
        3: Field("int", "int"),
        4: Field("text", "text"),
        5: Field("a tensor inside a node", "refused"),
        6: Field("a graph inside a node", "refused"),
        8: _many("ints", "int"),
        10: Field("tensors inside a node", "refused"),
        11: Field("graphs inside a node", "refused"),
        13: _NOTE,
        20: Field("type", "int"),
    },
)
_NODE = Schema(
    "NodeProto",
    {
        1: _many("inputs", "text"),
        2: _many("outputs", "text"),
        3: Field("name", "text"),
        4: Field("operator", "text"),
        5: _many("attributes", _ATTRIBUTE),
        6: _NOTE,
        7: Field("domain", "text"),
    },
)
_SIZE = Schema("Dimension", {1: Field("value", "int"), 2: Field("variable", "text")})
_SHAPE = Schema("TensorShapeProto", {1: _many("sizes", _SIZE)})
_TENSOR_TYPE = Schema("TypeProto.Tensor", {1: Field("type", "int"), 2: Field("shape", _SHAPE)})
_TYPE = Schema("TypeProto", {1: Field("tensor", _TENSOR_TYPE)})
_END = Schema("ValueInfoProto", {1: Field("name", "text"), 2: Field("type", _TYPE), 3: _NOTE})
_GRAPH = Schema(
    "GraphProto",
    {
        1: _many("nodes", _NODE),
        2: Field("name", "text"),
        5: _many("tensors", _TENSOR),
        10: _NOTE,
        11: _many("inputs", _END),
        12: _many("outputs", _END),
        13: _many("values", _END),
        15: Field("sparse tensors", "refused"),
    },
)
_OPSET = Schema("OperatorSetIdProto", {1: Field("domain", "text"), 2: Field("version", "int")})
_ENTRY = Schema("StringStringEntryProto", {1: Field("key", "text"), 2: Field("value", "text")})
_MODEL = Schema(
    "ModelProto",
    {
        1: Field("ir_version", "int"),
        2: Field("producer", "text"),
        3: Field("producer_version", "text"),
        4: Field("domain", "text"),
        5: Field("model_version", "int"),
        6: _NOTE,
        7: Field("graph", _GRAPH),
        8: _many("opsets", _OPSET),
        14: _many("metadata", _ENTRY),
        20: Field("a training", "refused"),
        25: Field("functions", "refused"),
    },
)
