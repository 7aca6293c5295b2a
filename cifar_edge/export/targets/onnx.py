"""The target ``onnx``: an int8 file for onnxruntime, whose logits are those of the integer network, bit for bit.

Only writing it needs the package onnx: `cifar_edge.export.targets.onnx_graph`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import MissingExtra
from cifar_edge.export.folder import model_file
from cifar_edge.integer import IntegerNetwork
from cifar_edge.runtime import model as runtime
from cifar_edge.spec import ModelMetadata


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """There are no options, because the edge contract defines the file."""


def write(network: IntegerNetwork, metadata: ModelMetadata, options: OnnxOptions) -> dict[str, bytes]:
    """The one file of ``network``: name -> content.

    Raises:
        MissingExtra: the package onnx is not installed.
    """
    return {model_file(metadata.model, metadata.precision): _content(network, metadata)}


def write_float_head(network: IntegerNetwork, metadata: ModelMetadata, options: OnnxOptions) -> dict[str, bytes]:
    """A file for runtimes without MatMulInteger, such as OpenCV: its last layer has float weights.

    Raises:
        MissingExtra: the package onnx is not installed.
    """
    return {f"{metadata.model}.float-head.onnx": _content(network, metadata, float_head=True)}


def run(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The logits that onnxruntime computes."""
    (content,) = files.values()
    return runtime.run(runtime.load(content).session, images)


def _content(network: IntegerNetwork, metadata: ModelMetadata, *, float_head: bool = False) -> bytes:
    try:
        from cifar_edge.export.graphs import serialize
        from cifar_edge.export.targets.onnx_graph import integer_graph
    except ImportError as error:
        raise MissingExtra("writing an .onnx file needs the package onnx: pip install onnx") from error
    return serialize(integer_graph(network, float_head), metadata)
