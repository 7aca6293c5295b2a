"""The fp32 ONNX graph of a PyTorch network, with norms in the form that onnxruntime runs fastest.

That form was found by measurement: see docs/folding.md and benchmarks/groupnorm/forms.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, helper, numpy_helper
from onnxscript import opset20
from torch import nn

from cifar_edge.errors import ExportError
from cifar_edge.export.graphs import TO_NCHW, input_size, pixel_input, strip
from cifar_edge.spec import (
    IMAGE_CHANNELS,
    INPUT_NAME,
    MAX_OPSET,
    OUTPUT_NAME,
    PIXEL_SCALE,
    PIXEL_ZERO_POINT,
)

op: Any = opset20  # its type hints know concrete tensors only, not symbolic values

NETWORK_INPUT = "network_input"
"""Name of the float32 NCHW tensor that the PyTorch network takes."""

Translations = Mapping[Callable[..., Any], Callable[..., Any]]
"""PyTorch operator -> function that writes it with the operators of `onnxscript`, symbolic values in and out."""


def group_norm(x: Any, groups: int, weight: Any, bias: Any, eps: float = 1e-5, cudnn: bool = True) -> Any:
    """GroupNorm (Wu & He 2018, arXiv:1803.08494) as Reshape, InstanceNormalization, Reshape, BatchNormalization.

    A group is one channel of an InstanceNormalization over ``[batch, groups, values]``. The affine is a
    BatchNormalization of mean 0 and variance 1: it scales and shifts in one pass, where Mul and Add take two.

    Args:
        x: float32 ``[batch, channels, height, width]``.
        groups: number of groups.
        weight: scale, float32 ``[channels]``.
        bias: shift, float32 ``[channels]``.
        eps: added to each variance.
        cudnn: an argument of the PyTorch operator, ignored here.
    """
    channels, height, width = x.shape[1:]
    normalized = op.InstanceNormalization(
        op.Reshape(x, op.Constant(value_ints=[0, groups, -1])), _floats(1.0, groups), _floats(0.0, groups), epsilon=eps
    )
    restored = op.Reshape(normalized, op.Constant(value_ints=[-1, channels, height, width]))
    return op.BatchNormalization(restored, weight, bias, _floats(0.0, channels), _floats(1.0, channels), epsilon=0.0)


def adaptive_average_pool(x: Any, output_size: Any) -> Any:
    """AdaptiveAvgPool2d as a pool of one window, which has an int8 kernel; PyTorch's exporter writes a ReduceMean.

    Raises:
        ExportError: the windows would be of different sizes.
    """
    before, after = list(x.shape[2:]), [int(size) for size in output_size]
    if after == [1, 1]:
        return op.GlobalAveragePool(x)
    if any(size % windows for size, windows in zip(before, after, strict=True)):
        sizes = ["x".join(map(str, each)) for each in (before, after)]
        raise ExportError(f"an adaptive pool from {sizes[0]} to {sizes[1]} has windows of different sizes")
    window = [size // windows for size, windows in zip(before, after, strict=True)]
    return op.AveragePool(x, kernel_shape=window, strides=window)


TRANSLATIONS: Translations = {
    torch.ops.aten.group_norm.default: group_norm,
    torch.ops.aten.adaptive_avg_pool2d.default: adaptive_average_pool,
}
"""The operators that this export writes differently from PyTorch's exporter."""


def network_graph(network: nn.Module, size: int, translations: Translations = TRANSLATIONS) -> ModelProto:
    """The graph of ``network``: float32 ``network_input`` ``[batch, 3, size, size]`` to float32 ``logits``.

    Args:
        network: on the CPU, in evaluation mode.
        size: height and width of its images.
        translations: for operators that are to be written differently from PyTorch's exporter.
    """
    example = torch.zeros(2, IMAGE_CHANNELS, size, size)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=[NETWORK_INPUT],
        output_names=[OUTPUT_NAME],
        opset_version=MAX_OPSET,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        custom_translation_table=dict(translations),
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # it is None only for the exporter that `dynamo=True` replaces
    model: ModelProto = program.model_proto
    strip(model)
    return model


def with_pixels(network: ModelProto) -> ModelProto:
    """The contract's graph: the map from uint8 NHWC pixels, then ``network`` (see `network_graph`).

    DequantizeLinear computes that map, ``(p - 128) / 64``, in one node.
    """
    model = ModelProto()
    model.CopyFrom(network)
    graph = model.graph
    graph.node.insert(0, helper.make_node("Transpose", [INPUT_NAME], ["pixels"], perm=TO_NCHW))
    parameters = ["pixel_scale", "pixel_zero_point"]
    graph.node.insert(1, helper.make_node("DequantizeLinear", ["pixels", *parameters], [NETWORK_INPUT]))
    for name, value in zip(parameters, (np.float32(PIXEL_SCALE), np.uint8(PIXEL_ZERO_POINT)), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    graph.input[0].CopyFrom(pixel_input(input_size(network)))
    return model


def _floats(value: float, count: int) -> Any:
    return op.Constant(value_floats=[value] * count)
