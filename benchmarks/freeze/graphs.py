"""Files of weights and graphs as text: what they hold, line by line, so that a difference says where it is."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from safetensors import safe_open

_CREATED = re.compile(rb'"created":"[^"]{25}"')


def digest(content: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def onnx_text(path: Path) -> str:
    """An ``.onnx`` file: SHA-256 without the time of its export, size, metadata, nodes and tensors."""
    content = _CREATED.sub(b'"created":"' + b"-" * 25 + b'"', path.read_bytes())
    model = onnx.load_from_string(content)
    graph = model.graph
    lines = [f"sha256 {digest(content)}", f"bytes {len(content)}", f"ir {model.ir_version}"]
    lines += [f"opset {opset.domain or 'ai.onnx'} {opset.version}" for opset in model.opset_import]
    for entry in model.metadata_props:
        try:
            lines.append(f"metadata {entry.key} {json.dumps(json.loads(entry.value), indent=1)}")
        except ValueError:
            lines.append(f"metadata {entry.key} {entry.value}")
    for kind, values in (("input", graph.input), ("output", graph.output)):
        lines += [f"{kind} {helper.printable_value_info(value)}" for value in values]
    lines += [onnx.printer.to_text(node) for node in graph.node]
    lines += [f"tensor {tensor.name} {_tensor(numpy_helper.to_array(tensor))}" for tensor in graph.initializer]
    return "\n".join(lines) + "\n"


def weights_text(path: Path) -> str:
    """A ``.safetensors`` file: its metadata, and each tensor with the SHA-256 of its values."""
    with safe_open(path, "np") as file:
        metadata = json.dumps(file.metadata(), indent=1, sort_keys=True)
        tensors = [f"{name} {_tensor(file.get_tensor(name))}" for name in sorted(file.keys())]
    return "\n".join([f"metadata {metadata}", *tensors]) + "\n"


def _tensor(values: npt.NDArray[np.generic]) -> str:
    return f"{values.dtype} {list(values.shape)} {digest(np.ascontiguousarray(values).tobytes())}"
