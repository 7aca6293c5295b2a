"""Static quantization of a network with its norms: convolutions in int8, norms in float."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from cifar_edge.export.calibration import calibration_images, weight_scales
from cifar_edge.export.fp32 import NETWORK_INPUT
from cifar_edge.export.graphs import TO_NCHW, input_size, pixel_input, strip
from cifar_edge.spec import INPUT_NAME, PIXEL_SCALE, PIXEL_ZERO_POINT

_BATCH = 64
_OPERATORS = ("Conv", "Gemm", "MaxPool", "Relu")
"""Operators computed in integers. Adds and average pools stay in float, as the norms next to them: in integers they
would need more conversions (measured: slower, and a worse signal)."""


def quantize_static_graph(network: ModelProto, images: npt.NDArray[np.uint8]) -> ModelProto:
    """The contract's int8 graph of ``network`` in QDQ form: uint8 activations, int8 weights per channel.

    Ranges are the extremes on calibration images; only these are kept, so memory is bounded.

    Args:
        network: float32 NCHW in, see `cifar_edge.export.fp32.network_graph`.
        images: training images, uint8 ``[n, S, S, 3]``; see `cifar_edge.export.calibration.calibration_images`.
    """
    prepared = ModelProto()
    prepared.CopyFrom(network)
    add_pre_process_metadata(prepared)  # PyTorch's exporter has already folded constants and inferred shapes
    with tempfile.TemporaryDirectory(prefix="cifar-edge-") as folder:
        target = Path(folder) / "int8.onnx"
        quantize_static(
            prepared,
            target,
            _CalibrationImages(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": {NETWORK_INPUT: [_pixel_quantization()], **_weights(network)}},
        )
        model = onnx.load(target)
    _read_pixels(model)
    strip(model)
    return model


class _CalibrationImages(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
    """Network inputs made of evenly spread images, batch by batch."""

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        chosen = calibration_images(images)
        self._batches: Iterator[npt.NDArray[np.uint8]] = (
            chosen[start : start + _BATCH] for start in range(0, len(chosen), _BATCH)
        )

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next batch by name of the input, or None after the last."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        centred = batch.transpose(TO_NCHW).astype(np.float32) - np.float32(PIXEL_ZERO_POINT)
        return {NETWORK_INPUT: np.ascontiguousarray(centred * np.float32(PIXEL_SCALE))}


def _pixel_quantization() -> dict[str, npt.NDArray[Any]]:
    return {"scale": np.array(PIXEL_SCALE, np.float32), "zero_point": np.array(PIXEL_ZERO_POINT, np.uint8)}


def _weights(network: ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Scales of all weights, for onnxruntime's tools; with those that they choose, sums saturate on some processors."""
    names = {node.input[1] for node in network.graph.node if node.op_type in ("Conv", "Gemm")}
    return {
        tensor.name: [
            {"axis": 0, "scale": np.float32(scale), "zero_point": np.int8(0)}
            for scale in weight_scales(numpy_helper.to_array(tensor))
        ]
        for tensor in network.graph.initializer
        if tensor.name in names
    }


def _read_pixels(model: ModelProto) -> None:
    """Replace the quantized network input by the pixels: they are the same bytes in another layout."""
    nodes = model.graph.node
    entry: NodeProto = next(node for node in nodes if NETWORK_INPUT in node.input)
    assert entry.op_type == "QuantizeLinear"
    transpose = helper.make_node("Transpose", [INPUT_NAME], list(entry.output), perm=TO_NCHW)
    nodes.remove(entry)
    nodes.insert(0, transpose)
    model.graph.input[0].CopyFrom(pixel_input(input_size(model)))
