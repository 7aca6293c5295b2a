"""Signal-to-noise ratio after each layer of int8, compared with the float graph that it was made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper

from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME

DEBUG_IMAGES = 256

_LAYERS = {"Conv": "convolution", "AveragePool": "average pool", "GlobalAveragePool": "average pool"}


@dataclass(frozen=True, slots=True)
class LayerSignal:
    """The signal after one layer.

    Attributes:
        layer: such as ``convolution 3``; all that follows up to the next convolution or pool belongs to it.
        noise: power of the difference between int8 and float, as a fraction of the power of float.
        added: ``noise`` minus that of the layer before.
    """

    layer: str
    noise: float
    added: float

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio in dB; infinite without noise."""
        return -10 * float(np.log10(self.noise)) if self.noise > 0 else float("inf")


def layer_signals(exact: ModelProto, int8: ModelProto, images: npt.NDArray[np.uint8]) -> list[LayerSignal]:
    """The signal after every convolution and average pool; after the last one it is that of the logits.

    Args:
        exact: the float graph, from pixels to logits.
        int8: the graph made of it; it has the same convolutions and average pools, by name or in the same order.
        images: uint8 ``[n, S, S, 3]``; the first `DEBUG_IMAGES` are used.
    """
    layers, in_order = _layers(exact), _layers(int8)
    named = {node.name: node for node in in_order}
    partners = [named.get(node.name, other) for node, other in zip(layers, in_order, strict=True)]
    wanted = _outputs(exact, layers, images[:DEBUG_IMAGES])
    found = _outputs(int8, partners, images[:DEBUG_IMAGES])
    signals: list[LayerSignal] = []
    before = 0.0
    for name, reference, values in zip(_names(layers), wanted, found, strict=True):
        power = float(np.square(reference, dtype=np.float64).sum())
        noise = float(np.square(values - reference, dtype=np.float64).sum()) / power if power > 0 else 0.0
        signals.append(LayerSignal(name, noise, noise - before))
        before = noise
    return signals


def _layers(model: ModelProto) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type in _LAYERS]


def _names(layers: Sequence[NodeProto]) -> list[str]:
    """Names of layers, such as ``convolution 3``; each kind is numbered by itself."""
    kinds = [_LAYERS[node.op_type] for node in layers]
    numbered = [f"{kind} {kinds[: index + 1].count(kind)}" for index, kind in enumerate(kinds[:-1])]
    return [*numbered, f"{kinds[-1]} {kinds.count(kinds[-1])} to logits"]


def _outputs(model: ModelProto, layers: Sequence[NodeProto], images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
    """The output of each of ``layers``: the input of the next one, and for the last one the logits."""
    observed = ModelProto()
    observed.CopyFrom(model)
    names = [node.input[0] for node in layers[1:]]
    observed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in dict.fromkeys(names)
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(observed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values: list[npt.NDArray[Any]] = session.run([*names, OUTPUT_NAME], {INPUT_NAME: images})
    return values
