"""Checks the graph of a ``.tflite`` file before LiteRT sees it, whose kernels trust much of what a file says.

Tables and their numbers are those of LiteRT's schema, by the classes that ai-edge-litert generates of it.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from cifar_edge.errors import ContractError

_MOST = 4096
"""Tensors and operators of a graph; an export of a released model has some 30."""
_LARGEST_TENSOR = 2**26
"""Bytes, for one image."""
_LARGEST_STEP = 255
"""Of strides, windows and columns of padding, as in the integer network in C."""

_SCALES = (1e-15, 1e6)

_Type, _Operator, _Options = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions
_BYTES = {_Type.FLOAT32: 4, _Type.INT32: 4, _Type.UINT8: 1, _Type.INT8: 1}
_ZERO_POINTS = {_Type.UINT8: (0, 255), _Type.INT8: (-128, 127), _Type.INT32: (0, 0), _Type.FLOAT32: (0, 0)}


class _Form(NamedTuple):
    """What an operator of an export has.

    Attributes:
        computed: number of its inputs that are computed; they come first.
        constants: number of those behind, which are constants.
        options: the schema's type of its options.
    """

    computed: int
    constants: int
    options: str = "NONE"


_FORMS = {
    "ADD": _Form(2, 0, "AddOptions"),
    "CONV_2D": _Form(1, 2, "Conv2DOptions"),
    "DEPTHWISE_CONV_2D": _Form(1, 2, "DepthwiseConv2DOptions"),
    "DEQUANTIZE": _Form(1, 0),
    "FULLY_CONNECTED": _Form(1, 2, "FullyConnectedOptions"),
    "MAX_POOL_2D": _Form(1, 0, "Pool2DOptions"),
    "MEAN": _Form(1, 1, "ReducerOptions"),
    "MINIMUM": _Form(1, 1, "MaximumMinimumOptions"),
    "PAD": _Form(1, 1, "PadOptions"),
    "PADV2": _Form(1, 2, "PadV2Options"),
    "QUANTIZE": _Form(1, 0),
    "SOFTMAX": _Form(1, 0, "SoftmaxOptions"),
}
"""What `cifar_edge.export.targets.litert_graph` writes: name of an operator -> its form."""
_NUMBERS = {
    "Conv2DOptions": ("StrideW", "StrideH", "DilationWFactor", "DilationHFactor"),
    "DepthwiseConv2DOptions": ("StrideW", "StrideH", "DilationWFactor", "DilationHFactor", "DepthMultiplier"),
    "Pool2DOptions": ("StrideW", "StrideH", "FilterWidth", "FilterHeight"),
}
"""Type of options -> those of its numbers that are sizes."""
OPERATORS = tuple(_FORMS)


def check_graph(model: Any) -> None:
    """Refuse the first graph of ``model`` unless all its tensors and operators are such as an export has.

    Raises:
        ContractError: they are not.
        struct.error: a table leads out of the file, as do IndexError, TypeError, ValueError and AttributeError.
    """
    graph = model.Subgraphs(0)
    tensors, operators = graph.TensorsLength(), graph.OperatorsLength()
    if max(tensors, operators) > _MOST or model.SignatureDefsLength():
        raise ContractError(f"it has {tensors:,} tensors and {operators:,} operators, or signatures")
    constants = {index for index in range(tensors) if _checked_tensor(model, graph.Tensors(index))}
    if (graph.InputsLength(), graph.OutputsLength()) != (1, 1):
        raise ContractError("it has not one input and one output")
    made = {_index(graph.Inputs(0), tensors)}
    for index in range(operators):
        _check_operator(model, graph, graph.Operators(index), constants, made)
    if _index(graph.Outputs(0), tensors) not in made or made & constants:
        raise ContractError("its output is not computed, or a constant is")


def _checked_tensor(model: Any, tensor: Any) -> bool:
    """Whether ``tensor``, which is checked, is a constant."""
    kind, shape = tensor.Type(), [tensor.Shape(index) for index in range(tensor.ShapeLength())]
    size = math.prod(shape) * _BYTES.get(kind, 0)
    if not 0 < size <= _LARGEST_TENSOR or min(shape, default=1) < 1 or len(shape) > 4:
        raise ContractError(f"it has a tensor of type {kind} and shape {shape}")
    if tensor.IsVariable() or tensor.Sparsity() is not None or tensor.ShapeSignatureLength():
        raise ContractError("it has a tensor that is variable, sparse or of any shape")
    buffer = model.Buffers(_index(tensor.Buffer(), model.BuffersLength()))
    if buffer.DataLength() not in (0, size) or buffer.Offset() or buffer.Size():
        raise ContractError(f"it has a constant of {buffer.DataLength():,} bytes for {size:,}")
    _check_quantization(tensor.Quantization(), kind, shape)
    return bool(buffer.DataLength())


def _check_quantization(quantization: Any, kind: int, shape: list[int]) -> None:
    if quantization is None:
        if kind in (_Type.UINT8, _Type.INT8):
            raise ContractError("it has codes without a scale")
        return
    scales = np.atleast_1d(quantization.ScaleAsNumpy())  # of a table without any it is 0
    zero_points = np.atleast_1d(quantization.ZeroPointAsNumpy())
    least, largest = _ZERO_POINTS[kind]
    if not ((scales >= _SCALES[0]) & (scales <= _SCALES[1])).all():
        raise ContractError(f"it has a scale that is not from {_SCALES[0]:g} to {_SCALES[1]:g}")
    if ((zero_points < least) | (zero_points > largest)).any():
        raise ContractError(f"it has a zero point that is not from {least} to {largest}")
    axis = quantization.QuantizedDimension()
    counts = {1, shape[axis]} if 0 <= axis < len(shape) else {1}
    if len(scales) not in counts or len(zero_points) != len(scales) or quantization.DetailsType():
        raise ContractError(f"it has {len(scales)} scales and {len(zero_points)} zero points for a shape of {shape}")


def _check_operator(model: Any, graph: Any, operator: Any, constants: set[int], made: set[int]) -> None:
    """Refuse ``operator`` unless it has the form of its kind; else note what it makes in ``made``."""
    code = model.OperatorCodes(_index(operator.OpcodeIndex(), model.OperatorCodesLength())).BuiltinCode()
    name = next(name for name in OPERATORS if getattr(_Operator, name) == code)
    form, tensors = _FORMS[name], graph.TensorsLength()
    inputs = [_index(operator.Inputs(index), tensors) for index in range(operator.InputsLength())]
    outputs = [_index(operator.Outputs(index), tensors) for index in range(operator.OutputsLength())]
    computed, rest = inputs[: form.computed], inputs[form.computed :]
    if not (set(computed) <= made and set(rest) <= constants and len(inputs) == form.computed + form.constants):
        raise ContractError(f"it has a {name} of other inputs than `cifar-edge export` writes")
    if len(outputs) != 1 or outputs[0] in made or operator.IntermediatesLength():
        raise ContractError(f"it has a {name} of other outputs than `cifar-edge export` writes")
    if operator.BuiltinOptionsType() != getattr(_Options, form.options):
        raise ContractError(f"it has a {name} of other options than `cifar-edge export` writes")
    if form.options in _NUMBERS:
        table = operator.BuiltinOptions()
        options = getattr(schema, form.options)()
        options.Init(table.Bytes, table.Pos)
        numbers = [getattr(options, number)() for number in _NUMBERS[form.options]]
        if not all(1 <= number <= _LARGEST_STEP for number in numbers) or options.Padding() not in (0, 1):
            raise ContractError(f"it has a {name} of sizes {numbers}")
    if name in ("MEAN", "PAD", "PADV2"):
        values = model.Buffers(graph.Tensors(rest[0]).Buffer()).DataAsNumpy().view(np.int32)
        if not ((values >= 0) & (values <= _LARGEST_STEP)).all():
            raise ContractError(f"it has a {name} of sizes {values.tolist()}")
    made.add(outputs[0])


def _index(index: int, count: int) -> int:
    """``index`` if it is one of ``count``."""
    if not 0 <= index < count:
        raise ContractError(f"it refers to number {index:,} of {count:,}")
    return index
