"""What all exported graphs share: input, output, metadata, and nothing that a device does not need."""

from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from cifar_edge import __version__
from cifar_edge.spec import IMAGE_CHANNELS, INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelMetadata

TO_NCHW = (0, 3, 1, 2)
"""The permutation from the contract's NHWC to the NCHW that ONNX convolutions read."""
TO_NHWC = (0, 2, 3, 1)
"""The permutation back."""


def pixel_input(size: int) -> ValueInfoProto:
    """The contract's input: uint8 ``[batch, size, size, 3]``."""
    return helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["batch", size, size, IMAGE_CHANNELS])


def input_size(network: ModelProto) -> int:
    """Height and width of the input of ``network``, float32 ``[batch, 3, size, size]``."""
    return int(network.graph.input[0].type.tensor_type.shape.dim[2].dim_value)


def logits_output(classes: int) -> ValueInfoProto:
    """The contract's output: float32 ``[batch, classes]``."""
    return helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["batch", classes])


def strip(model: ModelProto) -> None:
    """Remove in place what only describes the graph: stack traces with paths, doc strings, inner shapes."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")


def serialize(model: ModelProto, metadata: ModelMetadata) -> bytes:
    """The bytes of a file: ``model`` with its metadata replaced by ``metadata``."""
    stamped = ModelProto()
    stamped.CopyFrom(model)
    stamped.producer_name, stamped.producer_version = "cifar-edge", __version__
    helper.set_model_props(stamped, {METADATA_KEY: metadata.to_json()})
    content: bytes = stamped.SerializeToString(deterministic=True)
    return content
