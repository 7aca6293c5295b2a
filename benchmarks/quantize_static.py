"""What onnxruntime's quantize_static makes of a file, tuned as its documentation advises."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from cifar_edge.spec import INPUT_NAME

Images = npt.NDArray[np.uint8]


class CalibrationImages:
    """Calibration images one at a time: a `CalibrationDataReader`, which is any class with ``get_next``.

    Args:
        images: uint8 ``[n, S, S, 3]``.
    """

    def __init__(self, images: Images) -> None:
        self._images = iter(images[:, None])

    def get_next(self) -> dict[str, Images] | None:
        """The next image, uint8 ``[1, S, S, 3]``, by name of the input; None after the last."""
        image = next(self._images, None)
        return None if image is None else {INPUT_NAME: image}


def quantize_tuned(fp32: Path, target: Path, images: Images, operators: Sequence[str]) -> None:
    """Preprocessed, uint8 activations, int8 weights per channel, and only ``operators`` in integers.

    Args:
        fp32: the file to quantize, which takes pixels.
        target: the file to write; what preprocessing makes lies beside.
        images: to calibrate with, uint8 ``[n, S, S, 3]``.
        operators: their names in ONNX.
    """
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        CalibrationImages(images),
        op_types_to_quantize=list(operators),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
