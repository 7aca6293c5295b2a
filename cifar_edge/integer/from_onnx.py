"""Reading an integer network from the int8 file that it was written to.

The nodes are read in their order, as `cifar_edge.export.targets.onnx_graph` writes them. The two branches of a residual
begin at an activation that both read, and end in an Add.
"""

import os
from dataclasses import astuple, replace
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import ContractError
from cifar_edge.integer import columns
from cifar_edge.integer.layers import AveragePool, Conv, Layer, Linear, MaxPool, Padding, Pair, Residual
from cifar_edge.integer.network import IntegerNetwork
from cifar_edge.integer.quantization import PIXELS, Quantization
from cifar_edge.messages import display_name, reason
from cifar_edge.model_file.onnx_file import FLOAT, INT8, INT32, UINT8, Node, OnnxFile
from cifar_edge.model_file.reading import read_graph
from cifar_edge.spec import IMAGE_CHANNELS, INPUT_NAME, OUTPUT_NAME

_FOLDED = ("Concat", "Pad", "Reshape", "Transpose")
"""Operators that make a constant of others."""
_TYPES = {FLOAT: "<f4", UINT8: "u1", INT8: "i1", INT32: "<i4"}


def read_network(path: str | os.PathLike[str]) -> IntegerNetwork:
    """The integer network in the file at ``path``.

    Raises:
        ModelError: the file is missing, damaged, or not an ONNX model.
        ContractError: it does not keep the edge contract, or its graph is not that of an integer network.
    """
    file, _ = read_graph(path)
    try:
        return network_of(file)
    except ContractError as error:
        raise ContractError(f"{display_name(os.fspath(path))}: {reason(error)}") from error


def network_of(file: OnnxFile) -> IntegerNetwork:
    """The integer network in a file that was read and checked.

    Raises:
        ContractError: its graph is not that of an integer network.
    """
    try:
        return _Reader(file).network()
    except (_OtherGraph, IndexError, TypeError, ValueError) as error:  # a graph can differ in many ways
        raise ContractError(
            f"it is not an integer network: {reason(error)}; `cifar-edge export --quantize` of a network without norms "
            "writes one"
        ) from error


class _OtherGraph(Exception):
    """The graph differs from those that `cifar-edge export` writes for integer networks."""


class _Activation(NamedTuple):
    """An activation of the graph.

    Attributes:
        layers: from the image to it, each with the name of its output.
        quantization: of its codes.
    """

    layers: tuple[tuple[str, Layer], ...]
    quantization: Quantization

    def then(self, codes: str, layer: Layer, output: Quantization) -> "_Activation":
        """The output of ``layer`` for this input, in the tensor ``codes``."""
        return _Activation((*self.layers, (codes, layer)), output)


class _Reader:
    """A graph while its nodes are read."""

    def __init__(self, file: OnnxFile) -> None:
        self._file = file
        self._activations: dict[str, _Activation] = {}
        self._producers: dict[str, Node] = {}
        self._folded: dict[str, npt.NDArray[Any]] = {}
        self._image = PIXELS

    def network(self) -> IntegerNetwork:
        """The integer network of the graph."""
        for node in self._file.nodes:
            self._read(node)
        last = self._producer(OUTPUT_NAME, "DequantizeLinear")
        total = self._producer(last.inputs[0], "Add")
        product = self._producer(total.inputs[0], "MatMulInteger")
        weights, scale = self._constant(product.inputs[1]), self._constant(last.inputs[1])
        if scale.ndim:
            raise _OtherGraph("its logits have one scale a class, as earlier versions wrote it")
        head = Linear(np.ascontiguousarray(weights.T), None, self._constant(total.inputs[1]), None)
        layers = tuple(layer for _, layer in self._activation(product.inputs[0]).layers)
        return IntegerNetwork(self._size, (*layers, head), np.float32(scale), self._image)

    @property
    def _size(self) -> int:
        """Height and width of the image."""
        (image,) = self._file.inputs
        assert image.shape[1] is not None
        return image.shape[1]

    def _read(self, node: Node) -> None:
        """Note the output of ``node``; it is an activation, or a later node makes one of it."""
        first, output = node.inputs[0], node.outputs[0]
        if node.operator in _FOLDED and (first in self._file.constants or first in self._folded):
            self._folded[output] = self._fold(node)
        elif node.operator == "Pad" and first == INPUT_NAME:
            self._activations[output] = self._padded(node)
        elif node.operator == "Reshape":
            self._activations[output] = self._reshaped(node)
        elif node.operator == "Transpose" and first == INPUT_NAME:
            self._activations[output] = _Activation((), self._pixels(output))
        elif node.operator in ("Transpose", "Flatten"):
            self._activations[output] = self._activation(first)
        elif node.operator == "MaxPool":
            x = self._activation(first)
            self._activations[output] = x.then(output, MaxPool(*_window(node)), x.quantization)
        elif node.operator == "Clip":
            x, largest = self._activation(first), int(self._constant(node.inputs[2]))
            *before, (_, last) = x.layers
            if not isinstance(last, Conv | Linear | AveragePool | Residual):
                raise _OtherGraph("it has a Clip after a layer that cannot clip")
            clipped = replace(x.quantization, largest=largest)
            before_it = _Activation(tuple(before), x.quantization)
            self._activations[output] = before_it.then(output, replace(last, output=clipped), clipped)
        elif node.operator == "QuantizeLinear":
            self._activations[output] = self._quantized(self._producer(first), self._quantization(node), output)
        elif node.operator == "DequantizeLinear" and first in self._activations:
            x, (scale, zero_point, _) = self._activation(first), astuple(self._quantization(node))
            if (x.quantization.scale, x.quantization.zero_point) != (scale, zero_point):
                raise _OtherGraph(f"the scale of {first!r} changes")
            self._activations[output] = x
        self._producers[output] = node

    def _quantized(self, node: Node, output: Quantization, codes: str) -> _Activation:
        """The output of ``node``, quantized to the tensor ``codes``."""
        x = self._activation(node.inputs[0])
        if node.operator == "Add":
            other = self._activation(node.inputs[1])
            pairs = zip(x.layers, other.layers, strict=False)
            shared = sum(1 for _ in takewhile(lambda pair: pair[0][0] == pair[1][0], pairs))
            branches = [tuple(layer for _, layer in end.layers[shared:]) for end in (x, other)]
            residual = Residual(branches[0], branches[1], output)
            residual.numerator(x.quantization, other.quantization)  # or a ValueError
            return _Activation(x.layers[:shared], output).then(codes, residual, output)
        if node.operator == "GlobalAveragePool":
            return x.then(codes, AveragePool(output), output)
        if node.operator != "Conv":
            raise _OtherGraph(f"it has a {node.operator} before a QuantizeLinear")
        weights, scales = self._weights(node.inputs[1])
        if len(node.inputs) == 2:
            return x.then(codes, AveragePool(output, *_window(node)), output)
        bias, _ = self._weights(node.inputs[2])
        if "pads" not in node.attributes:
            return x.then(codes, Linear(weights.reshape(len(bias), -1), scales, bias, output), output)
        _, stride, padding = _window(node)
        if not x.layers and weights.shape[2:] == columns.KERNEL and self._in_columns(node.inputs[0]):
            if (stride, padding) != ((1, 1), (0, 0, 0, 0)):
                raise _OtherGraph("the window of its first layer is not that of columns")
            layer = Conv(columns.narrow(weights), _once(scales), _once(bias), (1, 1), (1, 1, 1, 1), 1, output)
            return x.then(codes, layer, output)
        groups = node.attributes.get("group", 1)
        return x.then(codes, Conv(weights, scales, bias, stride, padding, groups, output), output)

    def _padded(self, node: Node) -> _Activation:
        """The image padded for columns, by the zero point of its pixels."""
        if len(node.inputs) != 3 or self._integers(node.inputs[1]) != columns.PADS or node.attributes:
            raise _OtherGraph("its image is padded in another way than for columns")
        self._image = replace(PIXELS, zero_point=int(self._constant(node.inputs[2])))
        return _Activation((), self._image)

    def _reshaped(self, node: Node) -> _Activation:
        """The padded image as columns, or the output of the first layer as pixels again."""
        x = self._activation(node.inputs[0])
        if x.layers:
            ((_, layer),) = x.layers
            shape = layer.output_shape((self._size, self._size, IMAGE_CHANNELS))
        else:
            self._producer(node.inputs[0], "Pad")
            shape = columns.image_shape(self._size)
        if self._integers(node.inputs[1]) != (0, *shape):
            raise _OtherGraph("it has a Reshape that is not one of columns")
        return x

    def _in_columns(self, name: str) -> bool:
        """Whether the tensor ``name``, made of the image alone, is its columns, dequantized."""
        codes = self._producer(name, "DequantizeLinear").inputs[0]
        return self._producer(self._producer(codes, "Transpose").inputs[0]).operator == "Reshape"

    def _fold(self, node: Node) -> npt.NDArray[Any]:
        """What ``node`` makes of constants."""
        values = self._constant(node.inputs[0])
        if node.operator == "Concat":
            return np.concatenate([self._constant(name) for name in node.inputs], node.attributes["axis"])
        if node.operator == "Transpose":
            return values.transpose(node.attributes.get("perm"))
        numbers = self._integers(node.inputs[1])
        if node.operator == "Reshape":
            return values.reshape([number or values.shape[place] for place, number in enumerate(numbers)])
        if len(node.inputs) > 2 or node.attributes:
            raise _OtherGraph("a constant of it is padded by something else than zeros")
        return np.pad(values, list(zip(numbers[: values.ndim], numbers[values.ndim :], strict=True)))

    def _pixels(self, codes: str) -> Quantization:
        """The quantization of the image, whose tensor is ``codes``."""
        readers = [node for node in self._file.nodes if node.operator == "DequantizeLinear" and node.inputs[0] == codes]
        if readers:
            self._image = self._quantization(readers[0])
        if self._image.scale != PIXELS.scale:
            raise _OtherGraph("its pixels have another scale than 1 / 64")
        return self._image

    def _activation(self, name: str) -> _Activation:
        if name not in self._activations:
            raise _OtherGraph(f"{name!r} is not made of 8-bit integers")
        return self._activations[name]

    def _producer(self, name: str, operator: str | None = None) -> Node:
        """The node whose output is the tensor ``name``."""
        node = self._producers.get(name)
        if node is None or operator not in (None, node.operator):
            raise _OtherGraph(f"{name!r} comes from {node.operator if node else 'no node'}")
        return node

    def _weights(self, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """The constant integers of the dequantized tensor ``name``, and their scales."""
        node = self._producer(name, "DequantizeLinear")
        return self._constant(node.inputs[0]), self._constant(node.inputs[1])

    def _quantization(self, node: Node) -> Quantization:
        """The quantization in a QuantizeLinear or DequantizeLinear of an activation."""
        scale, zero_point = (self._constant(name) for name in node.inputs[1:3])
        if scale.ndim or zero_point.dtype != np.uint8:
            raise _OtherGraph("an activation has another type than uint8, or several scales")
        return Quantization(np.float32(scale), int(zero_point))

    def _integers(self, name: str) -> tuple[int, ...]:
        """The int64 constant ``name``: a shape, or pads."""
        tensor = self._file.constants.get(name)
        if tensor is None or tensor.integers is None:
            raise _OtherGraph(f"{name!r} is not a constant of int64")
        return tensor.integers

    def _constant(self, name: str) -> npt.NDArray[Any]:
        if name in self._folded:
            return self._folded[name]
        tensor = self._file.constants.get(name)
        if tensor is None or not tensor.raw or tensor.type not in _TYPES:
            raise _OtherGraph(f"{name!r} is not a constant of integers or floats")
        return np.frombuffer(tensor.raw, _TYPES[tensor.type]).reshape(tensor.shape)


def _once(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One number a channel, from the same numbers for each pixel of a column."""
    first, *others = values.reshape(columns.WIDTH, -1)
    if any(not np.array_equal(first, other) for other in others):
        raise _OtherGraph("the channels of its first layer differ from pixel to pixel")
    return first


def _window(node: Node) -> tuple[Pair, Pair, Padding]:
    """Kernel, stride and padding of a node."""
    kernel, stride, padding = (node.attributes.get(name) for name in ("kernel_shape", "strides", "pads"))
    if kernel is None or stride is None or padding is None or len(kernel) != 2:
        raise _OtherGraph(f"a {node.operator} has no window of two dimensions")
    top, left, bottom, right = padding
    return (kernel[0], kernel[1]), (stride[0], stride[1]), (top, left, bottom, right)
