"""The int8 graph of a folded network, written node by node: integers from the pixels to the logits.

Activations are uint8 with zero point 0, so that clipping at 0 is the ReLU; weights are int8 with one scale an output
channel; sums and biases are int32. What a residual's layer adds to its shortcut has zero point 128, and the scale of
the shortcut and of their sum, so that the sum rounds nothing. Convolutions and pool stand between DequantizeLinear and
QuantizeLinear, which every runtime knows and onnxruntime fuses with them: what it runs are integers. docs/int8.md
compares this form with others.
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
from cifar_edge.models.folded import FoldedNetwork
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME, PIXEL_SCALE, PIXEL_ZERO_POINT

_OPSET = 13  # the first whose DequantizeLinear takes one scale a channel
_IR_VERSION = 7  # of the same ONNX release


def integer_graph(network: FoldedNetwork, scales: Sequence[float], weights: Sequence[QuantizedWeights]) -> ModelProto:
    """The contract's int8 graph of ``network``.

    onnxruntime runs convolutions and pools in NHWC, and puts a Transpose where that begins and ends. The two Transposes
    in this graph undo those, so that none is left of either. The last layer is written in integers, and its int32 sums
    are the logits: rounded to uint8, the two best logits of many an image would be equal.

    Args:
        network: on the CPU.
        scales: of its activations, see `cifar_edge.export.calibration.activation_scales`.
        weights: of its layers, the last one too, see `cifar_edge.export.rounding`.
    """
    graph = _Graph()
    scale = np.float32(PIXEL_SCALE)
    graph.node("Transpose", [INPUT_NAME], "x", perm=TO_NCHW)
    pixel_quantization = [graph.constant("xs", scale), graph.constant("xz", np.uint8(PIXEL_ZERO_POINT))]
    x = graph.node("DequantizeLinear", ["x", *pixel_quantization], "xd")
    *output_scales, pool_scale = (np.float32(value) for value in scales)
    *convolutions, head = weights
    inputs = [x]  # of each layer
    layers = zip(network.convolutions, network.residuals, convolutions, output_scales, strict=True)
    for index, (layer, residual, (codes, channel_scales, bias), output_scale) in enumerate(layers):
        assert isinstance(layer, nn.Conv2d)
        kernel = graph.dequantized(f"w{index}", codes, channel_scales)
        x = graph.node(
            "Conv",
            [x, kernel, graph.dequantized(f"b{index}", bias, channel_scales * scale)],
            f"c{index}",
            kernel_shape=layer.kernel_size,
            strides=layer.stride,
            pads=[*layer.padding, *layer.padding],
            group=layer.groups,
        )
        if residual:
            added = graph.requantized(f"r{index}", x, output_scale, np.uint8(SIGNED_ZERO_POINT))
            x = graph.node("Add", [added, inputs[-residual]], f"a{index}")
        x = graph.requantized(f"y{index}", x, output_scale)
        inputs.append(x)
        scale = output_scale
    pooled, _ = graph.quantized("p", graph.node("GlobalAveragePool", [x], "g"), pool_scale)
    x = graph.node("Flatten", [graph.node("Transpose", [pooled], "pt", perm=TO_NHWC)], "f")
    x = graph.node("MatMulInteger", [x, graph.constant("wh", head.codes.T)], "m")
    x = graph.node("Add", [x, graph.constant("bh", head.bias)], "l")
    graph.node("DequantizeLinear", [x, graph.constant("ls", head.scales * pool_scale)], OUTPUT_NAME, axis=1)
    return graph.model(classes=network.head.out_features)


class _Graph:
    """Nodes and constants of a graph while it is written. Names are short: they are bytes of the file."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._zero = self.constant("z", np.uint8(0))

    def constant(self, name: str, value: npt.NDArray[Any] | np.generic) -> str:
        self._constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def dequantized(self, name: str, integers: npt.NDArray[np.integer], scales: npt.NDArray[np.float32]) -> str:
        """Constant ``integers``, output channels first, as floats with a scale a channel."""
        inputs = [self.constant(name, integers), self.constant(f"{name}s", scales)]
        return self.node("DequantizeLinear", inputs, f"{name}d", axis=0)

    def quantized(self, name: str, x: str, scale: np.float32, zero: np.uint8 | None = None) -> tuple[str, list[str]]:
        """``x`` as uint8, cut off below the ``zero`` point's 0; and the names of its scale and zero point."""
        zero_point = self._zero if zero is None else self.constant(f"{name}z", zero)
        quantization = [self.constant(f"{name}s", scale), zero_point]
        return self.node("QuantizeLinear", [x, *quantization], name), quantization

    def requantized(self, name: str, x: str, scale: np.float32, zero: np.uint8 | None = None) -> str:
        """``x`` as uint8 and back: what the next node reads as floats, and onnxruntime as codes."""
        codes, quantization = self.quantized(name, x, scale, zero)
        return self.node("DequantizeLinear", [codes, *quantization], f"{name[0]}d{name[1:]}")

    def model(self, classes: int) -> ModelProto:
        graph = helper.make_graph(self._nodes, "cifar-edge", [pixel_input()], [logits_output(classes)], self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
