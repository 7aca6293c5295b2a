"""The graph of a ``.tflite`` file while its tensors and operators are added."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from cifar_edge.integer import (
    AveragePool,
    Conv,
    Layer,
    Linear,
    MaxPool,
    Quantization,
    Residual,
    Shape,
)
from cifar_edge.integer.layers import Padding, Pair, places
from cifar_edge.spec import IMAGE_CHANNELS, INPUT_NAME, OUTPUT_NAME, SCORES_NAME

_IDENTIFIER, _VERSION = b"TFL3", 3  # of the format
_TO_INT8 = 128  # an activation is its uint8 code minus this
_ALIGNMENT = 16  # of constants, as the schema demands
_DEPTHWISE_TAPS = 25
"""Weights a channel up to which XNNPACK has depthwise kernels. It computes others as a matrix product for each channel,
which takes 25 times as long as 5x5 does."""
_GROUP = 8
"""Channels of a group in place of these. 16 are as fast, and make the file larger."""

_Operator = schema.BuiltinOperator
_Options = schema.BuiltinOptions
_Type = schema.TensorType
_NO_FUNCTION: int = schema.ActivationFunctionType.NONE
_RELU6: int = schema.ActivationFunctionType.RELU6
_VERSIONS = {
    _Operator.ADD: 2,
    _Operator.CONV_2D: 3,
    _Operator.DEPTHWISE_CONV_2D: 3,
    _Operator.DEQUANTIZE: 2,
    _Operator.MAX_POOL_2D: 2,
    _Operator.MEAN: 2,
    _Operator.MINIMUM: 2,
    _Operator.PAD: 2,
    _Operator.PADV2: 2,
}
"""Operator -> the first version that takes int8; 1 if it is not here."""


class _Activation(NamedTuple):
    """An activation in the graph: its tensor, int8 NHWC of one image, quantization, and height, width, channels."""

    tensor: int
    quantization: Quantization
    shape: Shape


class Graph:
    """A graph; it begins with the image, and each call adds to what is its output so far.

    Args:
        size: height and width of the image.
        image: the quantization of its pixels.
        grouped: whether large depthwise kernels become grouped ones; see `cifar_edge.export.targets.litert`.
    """

    def __init__(self, size: int, image: Quantization, *, grouped: bool = True) -> None:
        self._grouped = grouped
        self._buffers: list[Any] = [schema.BufferT()]  # the first one is empty, for tensors that are computed
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[int, int] = {}
        self._metadata: list[Any] = []
        shape = size, size, IMAGE_CHANNELS
        self._input = self._tensor(INPUT_NAME, (1, *shape), _Type.UINT8, self._quantized(image, shift=0))
        pixels = self._codes_of("pixels", shape, image)
        self._add(_Operator.QUANTIZE, [self._input], pixels.tensor)
        self._last = pixels
        self._output = pixels.tensor

    def chain(self, layers: Sequence[Layer]) -> None:
        """Add ``layers``."""
        self._last = self._chain(layers, self._last)

    def head(self, head: Linear, logit_scale: np.float32) -> None:
        """Add the last layer: the codes as floats, times float weights."""
        height, width, channels = self._last.shape
        features = self._tensor("features", (1, *self._last.shape), _Type.FLOAT32)
        self._add(_Operator.DEQUANTIZE, [self._last.tensor], features)
        # PyTorch flattens channel, row, column; LiteRT row, column, channel.
        by_place = head.weights.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(head.bias), -1)
        weights = by_place.astype(np.float64) * (float(logit_scale) / float(self._last.quantization.scale))
        bias = head.bias.astype(np.float64) * float(logit_scale)
        constants = [
            self._constant("head.weight", weights.astype(np.float32)),
            self._constant("head.bias", bias.astype(np.float32)),
        ]
        self._output = self._tensor(OUTPUT_NAME, (1, len(bias)), _Type.FLOAT32)
        options = schema.FullyConnectedOptionsT()
        self._add(_Operator.FULLY_CONNECTED, [features, *constants], self._output, "FullyConnectedOptions", options)

    def softmax(self, temperature: float) -> None:
        """Add the softmax of the output over ``temperature``."""
        logits, classes = self._output, self._tensors[self._output].shape[1]
        self._output = self._tensor(SCORES_NAME, (1, classes), _Type.FLOAT32)
        self._add(_Operator.SOFTMAX, [logits], self._output, "SoftmaxOptions", schema.SoftmaxOptionsT(1 / temperature))

    def metadata(self, name: str, content: bytes) -> None:
        """Add ``content`` to the file by the key ``name``."""
        self._metadata.append(schema.MetadataT(name, self._buffer(content)))

    def to_bytes(self, description: str) -> bytes:
        """The whole file."""
        graph = schema.SubGraphT(self._tensors, [self._input], [self._output], self._operators, "main")
        codes = [schema.OperatorCodeT(min(code, 127), None, _VERSIONS.get(code, 1), code) for code in self._codes]
        model = schema.ModelT(_VERSION, codes, [graph], description, self._buffers, metadata=self._metadata)
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _chain(self, layers: Sequence[Layer], x: _Activation) -> _Activation:
        for layer in layers:
            x = self._layer(layer, x)
        return x

    def _layer(self, layer: Layer, x: _Activation) -> _Activation:
        shape = layer.output_shape(x.shape)
        if isinstance(layer, Conv):
            return self._convolution(
                x, layer.weights, layer.scales, layer.bias, layer.stride, layer.padding, layer.groups, layer.output
            )
        if isinstance(layer, Linear):  # a convolution of the size of its input
            kernel, (scales, output) = layer.as_kernel(x.shape), layer.requantization()
            return self._convolution(x, kernel, scales, layer.bias, (1, 1), (0, 0, 0, 0), 1, output)
        if isinstance(layer, MaxPool):
            x, padding = self._padded(x, layer.kernel, layer.stride, layer.padding, shape, least=True)
            y = self._codes_of("max", shape, x.quantization)
            options = schema.Pool2DOptionsT(padding, layer.stride[1], layer.stride[0], layer.kernel[1], layer.kernel[0])
            self._add(_Operator.MAX_POOL_2D, [x.tensor], y.tensor, "Pool2DOptions", options)
            return y
        if isinstance(layer, Residual):
            branches = [self._chain(branch, x).tensor for branch in (layer.layers, layer.shortcut)]
            y, activation = self._codes_of("sum", shape, layer.output), self._activation(layer.output)
            self._add(_Operator.ADD, branches, y.tensor, "AddOptions", schema.AddOptionsT(activation))
            return self._limited(y, activation)
        if isinstance(layer, AveragePool):
            if layer.kernel is None:
                y = self._codes_of("mean", shape, layer.output)
                axes = self._constant("axes", np.array([1, 2], np.int32))
                self._add(_Operator.MEAN, [x.tensor, axes], y.tensor, "ReducerOptions", schema.ReducerOptionsT(True))
                return self._limited(y)
            # A convolution with ones, because LiteRT's average pool leaves out padding and keeps the scale.
            ones, scales = np.ones((shape[2], 1, *layer.kernel), np.int8), np.full(shape[2], layer.weight)
            bias = np.zeros(shape[2], np.int32)
            return self._convolution(x, ones, scales, bias, layer.stride, layer.padding, shape[2], layer.output)
        raise TypeError(f"a {type(layer).__name__} has no form in LiteRT here")

    def _convolution(
        self,
        x: _Activation,
        weights: npt.NDArray[np.int8],
        scales: npt.NDArray[np.float32],
        bias: npt.NDArray[np.int32],
        stride: Pair,
        padding: Padding,
        groups: int,
        output: Quantization,
    ) -> _Activation:
        """The output of a convolution of ``x``; it is depthwise if each channel is a group."""
        channels, kernel = len(bias), weights.shape[2:]
        shape = (*places(x.shape, kernel, stride, padding), channels)
        if self._grouped and groups == x.shape[2] == channels and kernel[0] * kernel[1] > _DEPTHWISE_TAPS:
            weights, groups = _in_groups(weights)
        depthwise = groups == x.shape[2] and groups > 1
        factors = scales * x.quantization.scale
        x, same = self._padded(x, kernel, stride, padding, shape)
        by_channel = weights.transpose(1, 2, 3, 0) if depthwise else weights.transpose(0, 2, 3, 1)
        inputs = [
            x.tensor,
            self._constant("weight", by_channel, scales, axis=3 if depthwise else 0),
            self._constant("bias", bias, factors),
        ]
        y, activation = self._codes_of("conv", shape, output), self._activation(output)
        if depthwise:
            options = schema.DepthwiseConv2DOptionsT(same, stride[1], stride[0], channels // groups, activation)
            self._add(_Operator.DEPTHWISE_CONV_2D, inputs, y.tensor, "DepthwiseConv2DOptions", options)
        else:
            options = schema.Conv2DOptionsT(same, stride[1], stride[0], activation)
            self._add(_Operator.CONV_2D, inputs, y.tensor, "Conv2DOptions", options)
        return self._limited(y, activation)

    def _padded(
        self, x: _Activation, kernel: Sequence[int], stride: Pair, padding: Padding, shape: Shape, least: bool = False
    ) -> tuple[_Activation, int]:
        """``x``, padded by an operator if no mode of LiteRT pads so, and the mode.

        Args:
            x: the input of a layer with windows.
            kernel: height and width of a window.
            stride: vertical, horizontal.
            padding: top, left, bottom, right.
            shape: of the layer's output.
            least: pad with the least code instead of the zero point.
        """
        ends = []  # of each axis: before, and as much behind as the last window reaches
        same = True
        for axis in (0, 1):
            total = (shape[axis] - 1) * stride[axis] + kernel[axis] - x.shape[axis]
            ends.append((padding[axis], max(total - padding[axis], 0)))
            same &= padding[axis] == max(total, 0) // 2 and shape[axis] == -(-x.shape[axis] // stride[axis])
        if same:
            return x, schema.Padding.SAME
        if ends == [(0, 0), (0, 0)]:
            return x, schema.Padding.VALID
        height, width = (size + sum(end) for size, end in zip(x.shape, ends, strict=False))
        y = self._codes_of("padded", (height, width, x.shape[2]), x.quantization)
        inputs = [x.tensor, self._constant("padding", np.array([(0, 0), *ends, (0, 0)], np.int32))]
        if least:
            value = self._quantized(x.quantization)
            inputs.append(self._tensor("least", (), _Type.INT8, value, np.int8(-_TO_INT8).tobytes()))
            self._add(_Operator.PADV2, inputs, y.tensor, "PadV2Options", schema.PadV2OptionsT())
        else:
            self._add(_Operator.PAD, inputs, y.tensor, "PadOptions", schema.PadOptionsT())
        return y, schema.Padding.VALID

    def _activation(self, output: Quantization) -> int:
        """The activation function of a layer whose codes ``output`` limits: RELU6 if that is the limit, else NONE."""
        six = np.floor(6 / np.float64(output.scale) + 0.5)  # as LiteRT rounds it
        relu6 = output.largest < 255 and output.zero_point == 0 and output.largest == six
        return _RELU6 if relu6 else _NO_FUNCTION

    def _limited(self, y: _Activation, activation: int = _NO_FUNCTION) -> _Activation:
        """``y`` without codes above the largest of its quantization, unless its ``activation`` limits them."""
        if y.quantization.largest == 255 or activation == _RELU6:
            return y
        limit = np.int8(y.quantization.largest - _TO_INT8).tobytes()
        largest = self._tensor("largest", (1, 1, 1, 1), _Type.INT8, self._quantized(y.quantization), limit)
        z = self._codes_of("limited", y.shape, y.quantization)
        options = schema.MaximumMinimumOptionsT()
        self._add(_Operator.MINIMUM, [y.tensor, largest], z.tensor, "MaximumMinimumOptions", options)
        return z

    def _codes_of(self, name: str, shape: Shape, quantization: Quantization) -> _Activation:
        """A tensor of int8 codes."""
        index = len(self._tensors)
        tensor = self._tensor(f"{name}{index}", (1, *shape), _Type.INT8, self._quantized(quantization))
        return _Activation(tensor, quantization, shape)

    @staticmethod
    def _quantized(of: Quantization, shift: int = _TO_INT8) -> Any:
        """``of`` in the schema's form, for codes minus ``shift``."""
        scale, zero_point = np.array([of.scale], np.float32), np.array([of.zero_point - shift], np.int64)
        return schema.QuantizationParametersT(scale=scale, zeroPoint=zero_point)

    def _constant(
        self,
        name: str,
        value: npt.NDArray[Any],
        scales: npt.NDArray[np.float32] | None = None,
        axis: int = 0,
    ) -> int:
        """A tensor that holds ``value``, with one scale for each position of ``axis``."""
        kind = {np.dtype(np.int8): _Type.INT8, np.dtype(np.int32): _Type.INT32}.get(value.dtype, _Type.FLOAT32)
        quantization = None
        if scales is not None:
            zero_points = np.zeros(len(scales), np.int64)
            quantization = schema.QuantizationParametersT(scale=scales, zeroPoint=zero_points, quantizedDimension=axis)
        return self._tensor(f"{name}{len(self._tensors)}", value.shape, kind, quantization, value.tobytes())

    def _tensor(
        self, name: str, shape: Sequence[int], kind: int, quantization: Any = None, content: bytes | None = None
    ) -> int:
        """Add a tensor; returns its number."""
        buffer = 0 if content is None else self._buffer(content)
        tensor = schema.TensorT(list(shape), kind, buffer, name, quantization)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _buffer(self, content: bytes) -> int:
        self._buffers.append(_Buffer(content))
        return len(self._buffers) - 1

    def _add(self, operator: int, inputs: list[int], output: int, kind: str = "NONE", options: Any = None) -> None:
        """Add an operator with the ``options`` of the schema's type ``kind``."""
        code = self._codes.setdefault(operator, len(self._codes))
        number = getattr(_Options, kind)
        self._operators.append(schema.OperatorT(code, inputs, [output], number, options))


def _in_groups(weights: npt.NDArray[np.int8]) -> tuple[npt.NDArray[np.int8], int]:
    """A depthwise convolution with groups of several channels, and their number.

    Args:
        weights: ``[channels, 1, kernel height, kernel width]``; the others of a group become 0.
    """
    channels = len(weights)
    size = max(size for size in range(1, _GROUP + 1) if channels % size == 0)
    found = np.zeros((channels, size, *weights.shape[2:]), np.int8)
    found[np.arange(channels), np.arange(channels) % size] = weights[:, 0]
    return found, channels // size


class _Buffer:
    """A constant, aligned as the schema demands; the generated ``BufferT`` does not align it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def pack(self, builder: flatbuffers.Builder) -> int:
        """Write it; returns its place."""
        builder.StartVector(1, len(self._content), _ALIGNMENT)
        builder.head -= len(self._content)
        builder.Bytes[builder.head : builder.head + len(self._content)] = self._content
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))

    Pack = pack  # the name that ModelT calls
