"""The int8 graph of the target ``onnx`` in QDQ form, which onnxruntime computes in integers from pixels to logits.

Convolutions, pools and sums stand between DequantizeLinear and QuantizeLinear, which every runtime supports, and which
onnxruntime fuses with them. Its logits are those of the `cifar_edge.integer.IntegerNetwork`, bit for bit. docs/int8.md
compares this form with others. `IntegerNetwork.from_onnx` reads it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cifar_edge.export.graphs import TO_NCHW, TO_NHWC, logits_output, pixel_input
from cifar_edge.integer import (
    AveragePool,
    Conv,
    IntegerNetwork,
    Layer,
    Linear,
    MaxPool,
    Quantization,
    Residual,
    Shape,
    columns,
)
from cifar_edge.spec import IMAGE_CHANNELS, INPUT_NAME, OUTPUT_NAME

_OPSET = 13  # the first whose DequantizeLinear takes one scale a channel
_IR_VERSION = 7  # of the same ONNX release


class _Activation(NamedTuple):
    """An activation in the graph: the name of its uint8 codes in NCHW, their quantization, height, width, channels."""

    codes: str
    quantization: Quantization
    shape: Shape


def integer_graph(network: IntegerNetwork, float_head: bool = False) -> ModelProto:
    """The contract's int8 graph of ``network``.

    onnxruntime runs convolutions and pools in NHWC, and inserts a Transpose before the first and after the last of
    them. The first Transpose of this graph cancels one of these; so does the one before the last layer, which does not
    change the order of the numbers there. A first layer that `cifar_edge.integer.columns` suits is computed in columns.
    The int32 sums of the last layer are the logits, because rounded to uint8, the two largest logits of many images
    would be equal. With ``float_head``, for other runtimes, they are sums of floats, and no layer is in columns.
    """
    graph, size, head = _Graph(), network.size, network.head
    first, layers = network.layers[0], network.layers[:-1]
    if isinstance(first, Conv) and columns.suit(first, size) and not float_head:
        x, layers = graph.in_columns(first, network.pixels, size), layers[1:]
    else:
        pixels = graph.node("Transpose", [INPUT_NAME], "x", perm=TO_NCHW)
        x = _Activation(pixels, network.pixels, (size, size, IMAGE_CHANNELS))
    x = graph.chain(layers, x)
    codes = x.codes
    if float_head:
        scale = float(network.logit_scale)
        weights = head.weights.T.astype(np.float64) * (scale / float(x.quantization.scale))
        inputs = [graph.node("Flatten", [graph.reals(x)], "f")]
        inputs += [
            graph.constant("wh", weights.astype(np.float32)),
            graph.constant("bh", np.float32(head.bias * scale)),
        ]
        graph.node("Gemm", inputs, OUTPUT_NAME)
        return graph.model(len(head.bias), size)
    if x.shape[:2] == (1, 1):
        codes = graph.node("Transpose", [codes], "t", perm=TO_NHWC)
    codes = graph.node("Flatten", [codes], "f")
    zero_point = graph.quantization(x.quantization)[1:] if x.quantization.zero_point else []
    sums = graph.node("MatMulInteger", [codes, graph.constant("wh", head.weights.T), *zero_point], "m")
    sums = graph.node("Add", [sums, graph.constant("bh", head.bias)], "l")
    graph.node("DequantizeLinear", [sums, graph.constant("ls", network.logit_scale)], OUTPUT_NAME)
    return graph.model(len(head.bias), size)


class _Graph:
    """Nodes and constants of a graph while it is written. Names are short, because they are part of the file."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._scales: dict[np.float32, str] = {}
        self._reals: dict[str, str] = {}
        self._activations = 0

    def constant(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        """Add ``value`` as a constant; returns its name."""
        self._constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def chain(self, layers: Sequence[Layer], x: _Activation) -> _Activation:
        """The output of ``layers``."""
        for layer in layers:
            x = self.layer(layer, x)
        return x

    def layer(self, layer: Layer, x: _Activation) -> _Activation:
        """The output of ``layer``."""
        shape = layer.output_shape(x.shape)
        if isinstance(layer, Conv):
            window = _window(layer.weights.shape[2:], layer.stride, layer.padding) | {"group": layer.groups}
            return self.convolution(x, layer.weights, layer.scales, layer.bias, layer.output, shape, window)
        if isinstance(layer, Linear):  # a convolution of the size of its input; the missing pads mark it as a Linear
            kernel, (scales, output) = layer.as_kernel(x.shape), layer.requantization()
            return self.convolution(x, kernel, scales, layer.bias, output, shape, {"kernel_shape": kernel.shape[2:]})
        if isinstance(layer, MaxPool):
            window = _window(layer.kernel, layer.stride, layer.padding)
            codes = self.node("MaxPool", [x.codes], f"y{self._next()}", **window)
            return _Activation(codes, x.quantization, shape)
        if isinstance(layer, Residual):
            branches = [self.chain(branch, x) for branch in (layer.layers, layer.shortcut)]
            index = self._next()
            total = self.node("Add", [self.reals(branch) for branch in branches], f"c{index}")
            return self.activation(index, total, layer.output, shape)
        if isinstance(layer, AveragePool):
            if layer.kernel is None:
                index = self._next()
                values = self.node("GlobalAveragePool", [self.reals(x)], f"c{index}")
                return self.activation(index, values, layer.output, shape)
            # A convolution with ones, because onnxruntime's average pool adds floats.
            ones, scales = np.ones((shape[2], 1, *layer.kernel), np.int8), np.full(shape[2], layer.weight)
            window = _window(layer.kernel, layer.stride, layer.padding) | {"group": shape[2]}
            return self.convolution(x, ones, scales, None, layer.output, shape, window)
        raise TypeError(f"a {type(layer).__name__} has no form in ONNX here")

    def in_columns(self, layer: Conv, pixels: Quantization, size: int) -> _Activation:
        """The output of ``layer``, the first of a network, computed as `cifar_edge.integer.columns` says."""
        image_shape, shape = columns.image_shape(size), layer.output_shape((size, size, IMAGE_CHANNELS))
        image = self.padded(INPUT_NAME, columns.PADS, "xp", self.quantization(pixels)[1])
        image = self.node("Transpose", [self.reshaped(image, (0, *image_shape), "xr")], "x", perm=TO_NCHW)
        index = self._next()
        weights, bias = f"w{index}", f"b{index}"
        scales = self.in_fours(f"{weights}s", layer.scales)
        units = self.in_fours(f"{bias}s", layer.scales * pixels.scale)
        inputs = [
            self.reals(_Activation(image, pixels, image_shape)),
            self.node("DequantizeLinear", [self.wide(weights, layer.weights), scales], f"{weights}d", axis=0),
            self.node("DequantizeLinear", [self.in_fours(bias, layer.bias), units], f"{bias}d", axis=0),
        ]
        window = _window(columns.KERNEL, (1, 1), (0, 0, 0, 0))
        y = self.activation(index, self.node("Conv", inputs, f"c{index}", **window), layer.output, shape)
        codes = self.node("Transpose", [y.codes], f"{y.codes}t", perm=TO_NHWC)
        codes = self.reshaped(codes, (0, *shape), f"{y.codes}r")
        return y._replace(codes=self.node("Transpose", [codes], f"{y.codes}p", perm=TO_NCHW))

    def wide(self, name: str, weights: npt.NDArray[np.int8]) -> str:
        """`columns.wide` of ``weights``, which onnxruntime computes when it loads the file: it holds them once."""
        rows, ends = self.constant(name, columns.in_rows(weights)), map(columns.row_pads, range(columns.WIDTH))
        moved = [
            self.padded(rows, (0, 0, before, 0, 0, after), f"{name}p{place}")
            for place, (before, after) in enumerate(ends)
        ]
        kernels = self.reshaped(self.node("Concat", moved, f"{name}c", axis=0), (0, *columns.KERNEL, -1), f"{name}r")
        return self.node("Transpose", [kernels], f"{name}t", perm=TO_NCHW)

    def padded(self, values: str, pads: Sequence[int], output: str, value: str | None = None) -> str:
        """The tensor ``values`` with ``pads`` as ONNX takes them, of zeros or of the constant ``value``."""
        inputs = [values, self.constant(f"{output}s", np.array(pads, np.int64)), *([value] if value else [])]
        return self.node("Pad", inputs, output)

    def reshaped(self, values: str, shape: Sequence[int], output: str) -> str:
        """The tensor ``values`` in another shape, in which 0 stands for the size of before."""
        return self.node("Reshape", [values, self.constant(f"{output}s", np.array(shape, np.int64))], output)

    def in_fours(self, name: str, value: npt.NDArray[Any]) -> str:
        """The constant ``value``, one number a channel, for the channels of all pixels of a column."""
        return self.node("Concat", [self.constant(name, value)] * columns.WIDTH, f"{name}c", axis=0)

    def convolution(
        self,
        x: _Activation,
        weights: npt.NDArray[np.int8],
        scales: npt.NDArray[np.float32],
        bias: npt.NDArray[np.int32] | None,
        output: Quantization,
        shape: Shape,
        attributes: Mapping[str, Any],
    ) -> _Activation:
        """The output of a convolution of ``x``."""
        index = self._next()
        inputs = [self.reals(x), self.dequantized(f"w{index}", weights, scales)]
        if bias is not None:
            inputs.append(self.dequantized(f"b{index}", bias, scales * x.quantization.scale))
        return self.activation(index, self.node("Conv", inputs, f"c{index}", **attributes), output, shape)

    def activation(self, index: int, values: str, output: Quantization, shape: Shape) -> _Activation:
        """``values`` quantized to codes of ``output``, and so clipped."""
        codes = self.node("QuantizeLinear", [values, *self.quantization(output)], f"y{index}")
        if output.largest < 255:
            codes = self.node("Clip", [codes, "", self.constant(f"y{index}m", np.uint8(output.largest))], f"m{index}")
        return _Activation(codes, output, shape)

    def reals(self, x: _Activation) -> str:
        """The values of ``x`` as floats; onnxruntime's fused nodes read the codes instead."""
        if x.codes not in self._reals:
            inputs = [x.codes, *self.quantization(x.quantization)]
            self._reals[x.codes] = self.node("DequantizeLinear", inputs, f"{x.codes}d")
        return self._reals[x.codes]

    def dequantized(self, name: str, integers: npt.NDArray[np.integer], scales: npt.NDArray[np.float32]) -> str:
        """Constant ``integers``, output channels first, as floats with a scale a channel."""
        inputs = [self.constant(name, integers), self.constant(f"{name}s", scales)]
        return self.node("DequantizeLinear", inputs, f"{name}d", axis=0)

    def quantization(self, of: Quantization) -> list[str]:
        """The names of its scale and zero point."""
        scale = self._scales.setdefault(of.scale, f"s{len(self._scales)}")
        zero_point = f"z{of.zero_point}"
        return [self.constant(scale, of.scale), self.constant(zero_point, np.uint8(of.zero_point))]

    def model(self, classes: int, size: int) -> ModelProto:
        constants = list(self._constants.values())
        graph = helper.make_graph(self._nodes, "cifar-edge", [pixel_input(size)], [logits_output(classes)], constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)

    def _next(self) -> int:
        self._activations += 1
        return self._activations - 1


def _window(kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]) -> dict[str, Any]:
    return {"kernel_shape": kernel, "strides": stride, "pads": padding}
