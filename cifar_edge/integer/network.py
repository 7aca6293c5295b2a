"""A whole integer network: pixels in, int32 logits out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cifar_edge.integer.layers import PIXELS, ByValue, Layer, Linear, run

_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class IntegerNetwork(ByValue):
    """An integer network. Calling it is the definition of what its files compute, whatever they are written for.

    ``network(pixels).astype(float32) * network.logit_scales`` is what onnxruntime answers, bit for bit.

    Attributes:
        size: height and width of the image.
        layers: from the pixels to what the last layer reads.
        head: the last layer, whose sums are the logits.
        logit_scales: float32 ``[classes]``: a logit stands for its sum * scale.
    """

    size: int
    layers: tuple[Layer, ...]
    head: Linear
    logit_scales: npt.NDArray[np.float32]

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """Logits, int32 ``[n, classes]``, of uint8 RGB ``[n, size, size, 3]``."""
        parts = [self._logits(pixels[start : start + _BATCH]) for start in range(0, max(len(pixels), 1), _BATCH)]
        return np.concatenate(parts)

    def _logits(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        codes, quantization = run(self.layers, pixels, PIXELS)
        return self.head.sums(codes, quantization)
