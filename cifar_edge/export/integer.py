"""The int8 graph of an integer network, written node by node: integers from the pixels to the logits.

Convolutions, pools and sums stand between DequantizeLinear and QuantizeLinear, which every runtime knows and
onnxruntime fuses with them. What it runs are the integers of the `cifar_edge.integer.IntegerNetwork`, with the same
logits bit for bit. docs/int8.md compares this form with others.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from cifar_edge.export.calibration import SIGNED_ZERO_POINT
from cifar_edge.export.graphs import TO_NCHW, TO_NHWC, logits_output, pixel_input
from cifar_edge.export.rounding import QuantizedWeights
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.integer import PIXELS, AveragePool, Conv, IntegerNetwork, Layer, Linear, Quantization, Residual
from cifar_edge.spec import IMAGE_SIZE, INPUT_NAME, OUTPUT_NAME

_OPSET = 13  # the first whose DequantizeLinear takes one scale a channel
_IR_VERSION = 7  # of the same ONNX release


def integer_network(
    network: FoldedNetwork, scales: Sequence[float], weights: Sequence[QuantizedWeights]
) -> IntegerNetwork:
    """The integers of ``network``.

    Args:
        network: on the CPU.
        scales: of its activations, see `cifar_edge.export.calibration.activation_scales`.
        weights: of its layers, the last one too, see `cifar_edge.export.rounding`.
    """
    *output_scales, pool_scale = (np.float32(value) for value in scales)
    *convolutions, head = weights
    chain: list[Layer] = []
    ends: list[int] = []  # of `chain`, behind each convolution
    for index, layer in enumerate(network.convolutions):
        assert isinstance(layer, nn.Conv2d)
        residual, output = network.residuals[index], Quantization(output_scales[index])
        added = Quantization(output.scale, SIGNED_ZERO_POINT) if residual else output
        chain.append(_integer_convolution(layer, convolutions[index], added))
        if residual:
            start = ends[index - residual]
            chain[start:] = [Residual(tuple(chain[start:]), (), output)]
        ends.append(len(chain))
    chain.append(AveragePool(Quantization(pool_scale)))
    return IntegerNetwork(IMAGE_SIZE, tuple(chain), Linear(*head), head.scales * pool_scale)


def _integer_convolution(layer: nn.Conv2d, weights: QuantizedWeights, output: Quantization) -> Conv:
    rows, columns = layer.stride
    assert not isinstance(layer.padding, str)
    down, across = layer.padding
    return Conv(*weights, (rows, columns), (down, across, down, across), layer.groups, output)


def integer_graph(network: IntegerNetwork) -> ModelProto:
    """The contract's int8 graph of ``network``.

    onnxruntime runs convolutions and pools in NHWC, and puts a Transpose where that begins and ends. The two Transposes
    in this graph undo those, so that none is left of either. The last layer is written in integers, and its int32 sums
    are the logits: rounded to uint8, the two best logits of many an image would be equal.
    """
    graph = _Graph()
    graph.node("Transpose", [INPUT_NAME], "x", perm=TO_NCHW)
    pixel_quantization = [graph.constant("xs", PIXELS.scale), graph.constant("xz", np.uint8(PIXELS.zero_point))]
    x = graph.node("DequantizeLinear", ["x", *pixel_quantization], "xd")
    *layers, pool = network.layers
    assert isinstance(pool, AveragePool)
    x, _ = graph.chain(layers, x, PIXELS)
    pooled, _ = graph.quantized("p", graph.node("GlobalAveragePool", [x], "g"), pool.output)
    x = graph.node("Flatten", [graph.node("Transpose", [pooled], "pt", perm=TO_NHWC)], "f")
    head = network.head
    x = graph.node("MatMulInteger", [x, graph.constant("wh", head.weights.T)], "m")
    x = graph.node("Add", [x, graph.constant("bh", head.bias)], "l")
    graph.node("DequantizeLinear", [x, graph.constant("ls", network.logit_scales)], OUTPUT_NAME, axis=1)
    return graph.model(classes=len(head.bias))


class _Graph:
    """Nodes and constants of a graph while it is written. Names are short: they are bytes of the file."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._zero = self.constant("z", np.uint8(0))
        self._convolutions = 0

    def constant(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        self._constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def chain(self, layers: Sequence[Layer], x: str, given: Quantization) -> tuple[str, Quantization]:
        """The output of ``layers``, and its quantization; ``x`` and the output are floats between nodes."""
        for layer in layers:
            if isinstance(layer, Conv):
                x, given = self.convolution(layer, x, given)
            elif isinstance(layer, Residual):
                x, given = self.residual(layer, x, given)
            else:
                raise TypeError(f"a {type(layer).__name__} cannot be written inside a network")
        return x, given

    def convolution(self, layer: Conv, x: str, given: Quantization, letter: str = "y") -> tuple[str, Quantization]:
        """The output of ``layer``, and its quantization; its name begins with ``letter``."""
        index, self._convolutions = self._convolutions, self._convolutions + 1
        kernel = self.dequantized(f"w{index}", layer.weights, layer.scales)
        x = self.node(
            "Conv",
            [x, kernel, self.dequantized(f"b{index}", layer.bias, layer.scales * given.scale)],
            f"c{index}",
            kernel_shape=layer.weights.shape[2:],
            strides=layer.stride,
            pads=layer.padding,
            group=layer.groups,
        )
        return self.requantized(f"{letter}{index}", x, layer.output), layer.output

    def residual(self, layer: Residual, x: str, given: Quantization) -> tuple[str, Quantization]:
        """The output of ``layer``, and its quantization."""
        *before, last = layer.layers
        assert isinstance(last, Conv)
        inside, inner = self.chain(before, x, given)
        added, _ = self.convolution(last, inside, inner, "r")
        shortcut, _ = self.chain(layer.shortcut, x, given)
        index = self._convolutions - 1
        total = self.node("Add", [added, shortcut], f"a{index}")
        return self.requantized(f"y{index}", total, layer.output), layer.output

    def dequantized(self, name: str, integers: npt.NDArray[np.integer], scales: npt.NDArray[np.float32]) -> str:
        """Constant ``integers``, output channels first, as floats with a scale a channel."""
        inputs = [self.constant(name, integers), self.constant(f"{name}s", scales)]
        return self.node("DequantizeLinear", inputs, f"{name}d", axis=0)

    def quantized(self, name: str, x: str, output: Quantization) -> tuple[str, list[str]]:
        """``x`` as codes of ``output``, which clips; and the names of its scale and zero point."""
        zero_point = self.constant(f"{name}z", np.uint8(output.zero_point)) if output.zero_point else self._zero
        quantization = [self.constant(f"{name}s", output.scale), zero_point]
        return self.node("QuantizeLinear", [x, *quantization], name), quantization

    def requantized(self, name: str, x: str, output: Quantization) -> str:
        """``x`` as codes and back: what the next node reads as floats, and onnxruntime as codes."""
        codes, quantization = self.quantized(name, x, output)
        return self.node("DequantizeLinear", [codes, *quantization], f"{name[0]}d{name[1:]}")

    def model(self, classes: int) -> ModelProto:
        graph = helper.make_graph(self._nodes, "cifar-edge", [pixel_input()], [logits_output(classes)], self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
