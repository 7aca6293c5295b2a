"""Writes tests/files/tiny.onnx, a model of five nodes that keeps the edge contract, to test the runtime alone.

Its logits are the mean colour of the image, mapped as the contract says, times `WEIGHTS`, plus `BIAS`: tests compute
what it must answer in numpy. Run it with the packages of the extra `train`:

    python tests/make_tiny_model.py
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny import BIAS, TINY, WEIGHTS

from cifar_edge.files import write_bytes
from cifar_edge.spec import CIFAR10_LABELS, MAX_IR_VERSION, METADATA_KEY, PIXEL_SCALE, ModelMetadata

METADATA = ModelMetadata(
    model="tiny",
    precision="fp32",
    labels=CIFAR10_LABELS,
    parameters=WEIGHTS.size + BIAS.size,
    macs=WEIGHTS.size,
    weights_sha256="0" * 64,
    test_accuracy=None,
    test_images=0,
    versions={"onnx": "any"},
    created="2026-01-01T00:00:00+00:00",
)


def tiny_model(
    metadata: str | None = METADATA.to_json(),
    input_name: str = "image",
    input_type: int = TensorProto.UINT8,
    input_shape: tuple[str | int, ...] = ("batch", 32, 32, 3),
    output_name: str = "logits",
    output_shape: tuple[str | int, ...] = ("batch", 10),
    classes: int = 10,
    bias: float = 0.0,
    joined_images: bool = False,
) -> bytes:
    """The model; every argument but the default breaks one promise of the contract."""
    constants: dict[str, np.ndarray[Any, Any]] = {
        "zero_point": np.array(128.0, np.float32),
        "scale": np.array(PIXEL_SCALE, np.float32),
        "weights": WEIGHTS[:, :classes],
        "bias": BIAS[:classes] + np.float32(bias),
        "axes": np.array([1, 2], np.int64),
    }
    logits = "all" if joined_images else output_name
    nodes = [
        helper.make_node("Cast", [input_name], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "zero_point"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["real"]),
        helper.make_node("ReduceMean", ["real", "axes"], ["colour"], keepdims=0),
        helper.make_node("Gemm", ["colour", "weights", "bias"], [logits]),
    ]
    if joined_images:
        constants["batch"] = np.array([0], np.int64)
        nodes.append(helper.make_node("ReduceMean", [logits, "batch"], [output_name], keepdims=1))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, input_type, input_shape)],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=MAX_IR_VERSION, opset_imports=[helper.make_opsetid("", 18)])
    if metadata is not None:
        helper.set_model_props(model, {METADATA_KEY: metadata})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def changed_metadata(**changes: object) -> str:
    """The metadata with some values replaced, as JSON."""
    return json.dumps(json.loads(METADATA.to_json()) | changes)


if __name__ == "__main__":
    write_bytes(Path(TINY), tiny_model())
