"""Checks a graph before it is run: its operators must be those that `cifar-edge export` writes, its cost limited.

All shapes follow from that of the image, so that the cost of a graph is known beforehand. A small file may be costly:
by padding, by a product of two vectors, or by using the same weights a thousand times.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cifar_edge.errors import ContractError
from cifar_edge.model_file.onnx_file import FLOAT, INT8, INT32, UINT8, Node, OnnxFile, Tensor
from cifar_edge.spec import MAX_IR_VERSION, MAX_OPSET

MAX_NODES = 2_000
MAX_WORK = 1 << 33
"""Most multiply-adds for one image; gn-cnn needs 11 million."""
MAX_ELEMENTS = 1 << 28
"""Most numbers that are in memory at once for a batch: 1 GiB, as floats."""
MIN_OPSET = 13
"""The first opset whose DequantizeLinear takes a scale per channel; the attributes below mean the same since."""

Shape = tuple[int, ...]


class Call(NamedTuple):
    """A node with the shapes and constants among its inputs.

    Attributes:
        node: the node itself.
        shapes: shapes of the inputs in `Operator.inputs`.
        constants: the integers of each input; None if it is omitted or not an int64 constant.
    """

    node: Node
    shapes: Sequence[Shape]
    constants: Sequence[tuple[int, ...] | None]

    def get(self, attribute: str, default: Any) -> Any:
        """The value of the attribute, of the type of ``default``."""
        value = self.node.attributes.get(attribute, default)
        if type(value) is not type(default):
            raise _Unfit(f"its attribute {attribute} is {value!r}")
        return value


Result = tuple[Shape, int]
"""The shape of the output, and the multiply-adds per element of it."""


class Operator(NamedTuple):
    """An operator: its inputs, its attributes, and the shape of its output.

    Attributes:
        rule: computes the result of a call.
        inputs: indices of the inputs whose shapes matter.
        attributes: names of the attributes that it may have.
    """

    rule: Callable[[Call], Result]
    inputs: tuple[int, ...]
    attributes: frozenset[str]


class _Unfit(ValueError):
    """A node does not fit its inputs."""


def check_graph(file: OnnxFile, batch: int) -> dict[str, Shape]:
    """Check that the graph of ``file`` may be run with ``batch`` images at a time.

    Returns:
        The shape of each of its tensors, by name.

    Raises:
        ContractError: an operator is not one that `cifar-edge export` writes, or does not fit its inputs; the graph is
            too costly; or the contract does not allow its version of ONNX.
    """
    _check_versions(file)
    if len(file.nodes) > MAX_NODES:
        raise ContractError(f"it has {len(file.nodes):,} nodes; at most {MAX_NODES:,} are run")
    shapes = {name: tensor.shape for name, tensor in file.constants.items()}
    shapes |= {end.name: tuple(batch if size is None else size for size in end.shape) for end in file.inputs}
    fixed = set(file.constants)
    last_use = {name: index for index, node in enumerate(file.nodes) for name in node.inputs}
    held = work = 0
    passing: dict[str, int] = {}
    for index, node in enumerate(file.nodes):
        shape, each = _result(node, shapes, file.constants)
        output, size = node.outputs[0], math.prod(shape)
        if output in shapes or not output:
            raise ContractError(f"it has two tensors called {output!r}")
        held, work = held + size, work + size * max(each, 1)
        # A convolution may be computed as a product of matrices, from a copy of its input, one image at a time.
        if held + each * math.prod(shape[2:]) > MAX_ELEMENTS:
            raise ContractError(f"it needs more than {MAX_ELEMENTS * 4 >> 30} GiB of memory for {batch} images")
        if work > MAX_WORK * batch:
            raise ContractError(f"it needs more than {MAX_WORK:,} multiply-adds for an image")
        shapes[output] = shape
        if fixed.issuperset(filter(None, node.inputs)):
            fixed.add(output)  # onnxruntime folds it: it is computed once, and stays in memory
        else:
            passing[output] = size
        for name in (*node.inputs, output):
            if last_use.get(name, index) == index:
                held -= passing.pop(name, 0)
    for end in file.outputs:
        if end.name not in shapes:
            raise ContractError(f"no node of it computes {end.name!r}")
    return shapes


def _check_versions(file: OnnxFile) -> None:
    if not 0 < file.ir_version <= MAX_IR_VERSION:
        raise ContractError(f"it has IR version {file.ir_version}; the contract allows at most {MAX_IR_VERSION}")
    version = file.opsets.get("", 0)
    if not MIN_OPSET <= version <= MAX_OPSET:
        raise ContractError(f"it has opset {version}; `cifar-edge export` writes {MIN_OPSET} to {MAX_OPSET}")
    for domain in file.opsets.keys() - {"", _MICROSOFT}:
        raise ContractError(f"it has operators of the domain {domain!r}, which `cifar-edge export` never writes")


def _result(node: Node, shapes: Mapping[str, Shape], constants: Mapping[str, Tensor]) -> Result:
    operator = OPERATORS.get(node.operator)
    if operator is None:
        raise ContractError(f"it has an operator {node.operator!r}, which `cifar-edge export` never writes")
    for attribute in node.attributes.keys() - operator.attributes:
        raise ContractError(f"its {node.operator} has {attribute!r}, which `cifar-edge export` never writes")
    if len(node.outputs) != 1:
        raise ContractError(f"its {node.operator} has {len(node.outputs)} outputs; `cifar-edge export` writes one")
    for name in filter(None, node.inputs):
        if name not in shapes:
            raise ContractError(f"its {node.operator} reads {name!r}, which no node before it computes")
    known = [shapes.get(name) for name in node.inputs]
    wanted = [known[place] if place < len(known) else None for place in operator.inputs]
    integers = [constants[name].integers if name in constants else None for name in node.inputs]
    try:
        given = [shape for shape in wanted if shape is not None]
        if len(given) != len(wanted):
            raise _Unfit("an input is missing")
        shape, each = operator.rule(Call(node, given, integers))
        if min(shape, default=1) < 1:
            raise _Unfit("the output is empty")
    except _Unfit as error:
        sizes = ", ".join(str(list(shape or ())) for shape in wanted)
        raise ContractError(f"its {node.operator} does not fit its inputs {sizes}: {error}") from error
    return shape, each


def _same(call: Call) -> Result:
    return call.shapes[0], 1


def _broadcast(call: Call) -> Result:
    return _broadcast_shape(*call.shapes), 1


def _broadcast_shape(first: Shape, second: Shape) -> Shape:
    """The shape after broadcasting, as in numpy."""
    rank = max(len(first), len(second))
    pairs = zip((1,) * (rank - len(first)) + first, (1,) * (rank - len(second)) + second, strict=True)
    joined = []
    for one, other in pairs:
        if one != other and 1 not in (one, other):
            raise _Unfit("their sizes differ")
        joined.append(max(one, other))
    return tuple(joined)


def _convolution(call: Call) -> Result:
    image, kernel = call.shapes
    groups = call.get("group", 1)
    if len(image) < 3 or len(kernel) != len(image) or groups < 1:
        raise _Unfit(f"{groups} groups")
    if image[1] != kernel[1] * groups or kernel[0] % groups:
        raise _Unfit(f"{groups} groups of {kernel[1]} channels")
    if call.get("kernel_shape", list(kernel[2:])) != list(kernel[2:]):
        raise _Unfit("another kernel_shape")
    return (image[0], kernel[0], *_window(call, image[2:], kernel[2:])), math.prod(kernel[1:])


def _pool(call: Call) -> Result:
    (image,) = call.shapes
    kernel = tuple(call.get("kernel_shape", [0]))
    if len(image) != len(kernel) + 2:
        raise _Unfit(f"a kernel_shape {list(kernel)}")
    return (*image[:2], *_window(call, image[2:], kernel)), math.prod(kernel)


def _window(call: Call, sizes: Shape, kernel: Shape) -> Shape:
    """The output sizes of a sliding window of size ``kernel`` over ``sizes``."""
    rank = len(sizes)
    strides, dilations = call.get("strides", [1] * rank), call.get("dilations", [1] * rank)
    pads, up = call.get("pads", [0] * 2 * rank), call.get("ceil_mode", 0)
    if call.get("auto_pad", "NOTSET") != "NOTSET" or up not in (0, 1):
        raise _Unfit("padding that is never written")
    if not len(strides) == len(dilations) == len(pads) / 2 == rank:
        raise _Unfit("not one stride, dilation and pair of pads per axis")
    if min(*strides, *dilations, *kernel) < 1 or min(pads) < 0:
        raise _Unfit("a stride, dilation, kernel or pad that is too small")
    outputs = []
    for axis in range(rank):
        if max(pads[axis], pads[axis + rank]) >= sizes[axis] + kernel[axis]:
            raise _Unfit("more padding than image")
        left = sizes[axis] + pads[axis] + pads[axis + rank] - dilations[axis] * (kernel[axis] - 1) - 1
        outputs.append((left + up * (strides[axis] - 1)) // strides[axis] + 1)
    return tuple(outputs)


def _global_pool(call: Call) -> Result:
    (image,) = call.shapes
    if len(image) < 3 or call.get("channels_last", 0) != 0:
        raise _Unfit("the image is not channels first")
    return (*image[:2], *[1] * (len(image) - 2)), math.prod(image[2:])


def _product(call: Call) -> Result:
    first, second = call.shapes
    if len(first) < 2 or len(second) < 2 or first[-1] != second[-2]:
        raise _Unfit("not a product of matrices")
    return (*_broadcast_shape(first[:-2], second[:-2]), first[-2], second[-1]), first[-1]


def _gemm(call: Call) -> Result:
    first, second = call.shapes
    first = first[::-1] if call.get("transA", 0) else first
    second = second[::-1] if call.get("transB", 0) else second
    if len(first) != 2 or len(second) != 2 or first[1] != second[0]:
        raise _Unfit("not a product of matrices")
    return (first[0], second[1]), first[1]


def _flatten(call: Call) -> Result:
    (shape,) = call.shapes
    axis = call.get("axis", 1)
    if not 0 <= axis <= len(shape):
        raise _Unfit(f"axis {axis}")
    return (math.prod(shape[:axis]), math.prod(shape[axis:])), 1


def _transpose(call: Call) -> Result:
    (shape,) = call.shapes
    order = call.get("perm", list(range(len(shape)))[::-1])
    if sorted(order) != list(range(len(shape))):
        raise _Unfit(f"perm {order}")
    return tuple(shape[place] for place in order), 1


def _reshape(call: Call) -> Result:
    shape, wanted = call.shapes[0], _constant(call, 1)
    if len(wanted) > len(shape) + 8 or (0 in wanted and call.get("allowzero", 0)):
        raise _Unfit("a shape that is never written")
    sizes = [shape[place] if size == 0 and place < len(shape) else size for place, size in enumerate(wanted)]
    if sizes.count(-1) == 1:
        known = -math.prod(sizes)
        sizes[sizes.index(-1)] = math.prod(shape) // known if known > 0 else 0
    if min(sizes, default=1) < 1 or math.prod(sizes) != math.prod(shape):
        raise _Unfit("another number of elements")
    return tuple(sizes), 1


def _mean(call: Call) -> Result:
    (shape,) = call.shapes
    if "axes" in call.node.attributes:
        axes = call.get("axes", [0])
    else:
        axes = list(_constant(call, 1)) if len(call.node.inputs) > 1 else list(range(len(shape)))
    reduced = {axis % len(shape) for axis in axes if shape and -len(shape) <= axis < len(shape)}
    if len(reduced) != len(axes):
        raise _Unfit(f"axes {axes}")
    kept = [1 if place in reduced else size for place, size in enumerate(shape)]
    if not call.get("keepdims", 1):
        kept = [size for place, size in enumerate(shape) if place not in reduced]
    return tuple(kept), math.prod(shape[place] for place in reduced)


def _pad(call: Call) -> Result:
    shape, pads = call.shapes[0], _constant(call, 1)
    rank = len(shape)
    if len(pads) != 2 * rank or min(pads, default=0) < 0 or len(call.node.inputs) > 3:
        raise _Unfit("not one pair of pads per axis")
    return tuple(size + pads[axis] + pads[axis + rank] for axis, size in enumerate(shape)), 1


def _concatenation(call: Call) -> Result:
    axis, first = call.get("axis", -1), call.shapes[0]
    if len(call.node.inputs) != len(call.shapes) or not 0 <= axis < len(first):
        raise _Unfit(f"{len(call.node.inputs)} of them along axis {axis}")
    around = {(len(shape), shape[:axis], shape[axis + 1 :]) for shape in call.shapes}
    if len(around) > 1:
        raise _Unfit("their sizes differ")
    return (*first[:axis], sum(shape[axis] for shape in call.shapes), *first[axis + 1 :]), 1


def _constant(call: Call, place: int) -> tuple[int, ...]:
    found = call.constants[place] if place < len(call.constants) else None
    if found is None:
        raise _Unfit("an input is not an int64 constant")
    return found


def _cast(call: Call) -> Result:
    if call.get("to", 0) not in (FLOAT, UINT8, INT8, INT32):
        raise _Unfit("a type that is never written")
    return call.shapes[0], 1


_MICROSOFT = "com.microsoft"
"""The domain of onnxruntime's own operators."""


def _operator(rule: Callable[[Call], Result], *inputs: int, attributes: str = "") -> Operator:
    return Operator(rule, inputs, frozenset(attributes.split()))


_WINDOW = "auto_pad dilations kernel_shape pads strides"
_POOL = f"{_WINDOW} ceil_mode count_include_pad storage_order"

OPERATORS: Mapping[str, Operator] = {
    "Add": _operator(_broadcast, 0, 1),
    "AveragePool": _operator(_pool, 0, attributes=_POOL),
    "BatchNormalization": _operator(_same, 0, attributes="epsilon momentum"),
    "Cast": _operator(_cast, 0, attributes="to"),
    "Clip": _operator(_same, 0),
    "Concat": _operator(_concatenation, 0, 1, 2, 3, attributes="axis"),
    "Conv": _operator(_convolution, 0, 1, attributes=f"{_WINDOW} group"),
    "ConvInteger": _operator(_convolution, 0, 1, attributes=f"{_WINDOW} group"),
    "DequantizeLinear": _operator(_same, 0, attributes="axis"),
    "Flatten": _operator(_flatten, 0, attributes="axis"),
    "Gemm": _operator(_gemm, 0, 1, attributes="alpha beta transA transB"),
    "GlobalAveragePool": _operator(_global_pool, 0),
    "InstanceNormalization": _operator(_same, 0, attributes="epsilon"),
    "LayerNormalization": _operator(_same, 0, attributes="axis epsilon stash_type"),
    "MatMul": _operator(_product, 0, 1),
    "MatMulInteger": _operator(_product, 0, 1),
    "MaxPool": _operator(_pool, 0, attributes=_POOL),
    "Mul": _operator(_broadcast, 0, 1),
    "Pad": _operator(_pad, 0, attributes="mode"),
    "QLinearConv": _operator(_convolution, 0, 3, attributes=f"{_WINDOW} group"),
    "QLinearMatMul": _operator(_product, 0, 3),
    "QuantizeLinear": _operator(_same, 0, attributes="axis"),
    "ReduceMean": _operator(_mean, 0, attributes="axes keepdims"),
    "Relu": _operator(_same, 0),
    "Reshape": _operator(_reshape, 0, attributes="allowzero"),
    "Sub": _operator(_broadcast, 0, 1),
    "Transpose": _operator(_transpose, 0, attributes="perm"),
    f"{_MICROSOFT}.QGemm": _operator(_gemm, 0, 3, attributes="alpha transA transB"),
    f"{_MICROSOFT}.QLinearAdd": _operator(_broadcast, 0, 3),
    f"{_MICROSOFT}.QLinearAveragePool": _operator(_pool, 0, attributes=f"{_POOL} channels_last"),
    f"{_MICROSOFT}.QLinearGlobalAveragePool": _operator(_global_pool, 0, attributes="channels_last"),
}
"""Name -> operator: those that `cifar-edge export` writes or has written, and their integer forms."""
