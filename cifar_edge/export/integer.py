"""The int8 graph of a folded network, written node by node: integers from the pixels to the logits.

Activations are uint8 with zero point 0, so that the saturation to 0 is the ReLU; weights are int8, one scale an output channel;
sums and biases are int32. Why this form, and not QuantizeLinear and DequantizeLinear around float operators: docs/int8.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from cifar_edge.export.graphs import TO_NCHW, TO_NHWC, pixel_input
from cifar_edge.models.folded import FoldedNetwork
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME, PIXEL_SCALE, PIXEL_ZERO_POINT

POOL_DOMAIN = "com.microsoft"
"""ONNX itself has no average pool of integers; onnxruntime has, on every processor."""

_OPSET = 13  # the first with one scale a class for DequantizeLinear
_IR_VERSION = 7  # of the same ONNX release
_LARGEST_WEIGHT = 127
_LARGEST_BIAS = 2**30


def integer_graph(network: FoldedNetwork, scales: Sequence[float]) -> ModelProto:
    """The contract's int8 graph of ``network``.

    The Transpose behind the image and the one behind the pool cancel those that onnxruntime adds around convolutions, which
    it runs in NHWC: neither is left when it runs. The logits are int32 until their one DequantizeLinear: none is clipped, and
    two are equal by chance only.

    Args:
        network: on the CPU.
        scales: see `cifar_edge.export.calibration.activation_scales`.
    """
    *scales_behind, pool_scale = (np.float32(scale) for scale in scales)
    graph = _Graph()
    graph.add("Transpose", [INPUT_NAME], "x", perm=TO_NCHW)
    graph.constant("z", np.uint8(PIXEL_ZERO_POINT))
    graph.constant("u", np.uint8(0))
    graph.constant("i", np.int8(0))
    x = [graph.constant_of("x", np.float32(PIXEL_SCALE)), "z"]
    raise NotImplementedError
