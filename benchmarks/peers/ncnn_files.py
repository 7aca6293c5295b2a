"""Writes an integer network as ncnn's two files: its graph as text, ``.param``, and its numbers, ``.bin``.

ncnn's wheel has no tool that makes int8 files, so they are written here, in the form of its ncnn2int8
(https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure, .../quantized-int8-inference). Weights and scales
of weights are those of the network. Codes of activations are int8 with zero point 0 in ncnn, of which a ReLU leaves
0 to 127: one bit less than ours. A convolution behind a convolution takes its codes; everything else is float there.
"""

from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from cifar_edge.errors import CannotRun
from cifar_edge.integer import IntegerNetwork
from cifar_edge.integer.layers import AveragePool, Conv, Layer, Linear, Residual
from cifar_edge.integer.quantization import PIXELS, Quantization

_MAGIC = 7767517
_INT8 = (0x000D4B38).to_bytes(4, "little")
_FLOAT32 = bytes(4)
_LARGEST = 127
_TO_CODES = 100
"""Added to ``int8_scale_term`` where the output is codes."""
INPUT, OUTPUT = "image", "logits"


@dataclass
class NcnnFiles:
    """The files, as far as they are written.

    Raises:
        CannotRun: the network has a layer that is not written here.
    """

    lines: list[str] = field(default_factory=lambda: [f"Input {INPUT} 0 1 {INPUT}"])
    numbers: bytes = b""
    blobs: int = 1

    @property
    def graph(self) -> str:
        """The text of ``.param``."""
        return "\n".join([str(_MAGIC), f"{len(self.lines)} {self.blobs}", *self.lines, ""])

    def chain(self, layers: tuple[Layer, ...], blob: str, given: Quantization) -> tuple[str, Quantization]:
        """Write ``layers`` behind ``blob``; the last blob, and the quantization that it has in our network."""
        for layer, following in zip_longest(layers, layers[1:]):
            if isinstance(layer, Conv):
                blob = self._convolution(layer, blob, given, codes=isinstance(following, Conv))
            elif isinstance(layer, AveragePool) and layer.kernel is None:
                blob = self._add("Pooling", [blob], {0: 1, 4: 1})
            elif isinstance(layer, Residual):
                blob = self._residual(layer, blob, given)
            else:
                raise CannotRun(f"{type(layer).__name__} is not written for ncnn here")
            given = layer.output
        return blob, given

    def head(self, layer: Linear, blob: str, given: Quantization, logit_scale: np.float32) -> None:
        """Write the last layer, in float."""
        self.numbers += _FLOAT32 + _floats(layer.weights * (logit_scale / given.scale))
        self.numbers += _floats(layer.bias * logit_scale)
        self._add("InnerProduct", [blob], {0: len(layer.bias), 1: 1, 2: layer.weights.size}, [OUTPUT])

    def _convolution(self, layer: Conv, blob: str, given: Quantization, codes: bool) -> str:
        outputs, _, height, width = layer.weights.shape
        top, left, bottom, right = layer.padding
        parameters = {0: outputs, 1: width, 11: height, 3: layer.stride[1], 13: layer.stride[0]}
        parameters |= {4: left, 14: top, 15: right, 16: bottom, 5: 1, 6: layer.weights.size}
        parameters |= {8: 1 + _TO_CODES * codes, 9: int(layer.output.zero_point == 0)}  # 9: ReLU
        if layer.groups > 1:
            parameters[7] = layer.groups
        weights = layer.weights.tobytes()
        self.numbers += _INT8 + weights + bytes(-len(weights) % 4)
        self.numbers += _floats(layer.bias * (given.scale * layer.scales)) + _floats(1 / layer.scales)
        self.numbers += _floats(_to_codes(given)) + (_floats(_to_codes(layer.output)) if codes else b"")
        return self._add("ConvolutionDepthWise" if layer.groups > 1 else "Convolution", [blob], parameters)

    def _residual(self, layer: Residual, blob: str, given: Quantization) -> str:
        copies = [f"{blob}-{side}" for side in ("layers", "shortcut")]
        self._add("Split", [blob], {}, copies)
        branches = zip((layer.layers, layer.shortcut), copies, strict=True)
        ends = [self.chain(layers, copy, given)[0] for layers, copy in branches]
        total = self._add("BinaryOp", ends, {0: 0})
        return self._add("ReLU", [total], {}) if layer.output.zero_point == 0 else total

    def _add(self, kind: str, inputs: list[str], parameters: dict[int, int], outputs: list[str] | None = None) -> str:
        name = f"{kind}-{len(self.lines)}"
        outputs = outputs or [name]
        values = " ".join(f"{key}={value}" for key, value in parameters.items())
        counts = f"{len(inputs)} {len(outputs)}"
        self.lines.append(" ".join([kind, name, counts, *inputs, *outputs, values]).rstrip())
        self.blobs += len(outputs)
        return outputs[0]


def ncnn_files(network: IntegerNetwork) -> NcnnFiles:
    """The files of ``network``; the input is its real values, float32 ``[3, size, size]``.

    Raises:
        CannotRun: the network has a layer that is not written here.
    """
    files = NcnnFiles()
    blob, given = files.chain(network.layers[:-1], INPUT, network.pixels)
    files.head(network.head, blob, given, network.logit_scale)
    return files


def _to_codes(quantization: Quantization) -> np.float32:
    """The scale in ncnn, from values to its codes: of pixels the code is the pixel less 128, which fits int8."""
    if quantization == PIXELS:
        return np.float32(1) / quantization.scale
    largest = max(quantization.zero_point, quantization.largest - quantization.zero_point)
    return np.float32(_LARGEST / (largest * quantization.scale))


def _floats(values: np.typing.ArrayLike) -> bytes:
    return np.asarray(values, "<f4").tobytes()
