"""`IntegerNetwork`: pixels in, int32 logits out."""

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cifar_edge.integer.layers import Layer, Linear, run
from cifar_edge.integer.quantization import PIXELS, ByValue, Quantization, contents

if TYPE_CHECKING:
    from cifar_edge.integer.summary import Summary

_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IntegerNetwork(ByValue):
    """An integer network; its call defines what the files of every target compute.

    ``network(pixels).astype(float32) * network.logit_scale`` are onnxruntime's logits, bit for bit.

    Attributes:
        size: height and width of the image.
        layers: from the pixels to the logits. Only the last one is a `Linear` without an ``output``.
        logit_scale: float32; a logit is its int32 sum times this scale. All classes share it, so the largest sum is the
            largest logit.
        pixels: the quantization of the image. Its zero point is the pixel that zero padding of the first layer is:
            128, unless the network was trained on other values than ``(p - 128) / 64``.

    Raises:
        ValueError: the last layer is not a `Linear` without an ``output``.
    """

    size: int
    layers: tuple[Layer, ...]
    logit_scale: np.float32
    pixels: Quantization = PIXELS

    def __post_init__(self) -> None:
        if not self.layers or not isinstance(self.layers[-1], Linear) or self.layers[-1].output is not None:
            raise ValueError("the last layer of a network is a Linear without an output: its sums are the logits")

    @property
    def head(self) -> Linear:
        """The last layer."""
        last = self.layers[-1]
        assert isinstance(last, Linear)
        return last

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """Logits, int32 ``[n, classes]``, of uint8 RGB ``[n, size, size, 3]``."""
        parts = [self._logits(pixels[start : start + _BATCH]) for start in range(0, max(len(pixels), 1), _BATCH)]
        return np.concatenate(parts)

    def _logits(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        codes, quantization = run(self.layers[:-1], pixels, self.pixels)
        return self.head.sums(codes, quantization)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of all its integers and scales: equal networks have the same."""
        digest = hashlib.sha256()
        for part in contents(self):
            digest.update(part)
        return digest.hexdigest()[:12]

    def summary(self) -> "Summary":
        """Its layers, and their costs on a device."""
        from cifar_edge.integer.summary import summarize

        return summarize(self)

    @classmethod
    def from_onnx(cls, path: str | os.PathLike[str]) -> "IntegerNetwork":
        """Read an int8 file of `cifar-edge export`.

        Raises:
            ModelError: there is no such file, or it is damaged.
            ContractError: its graph is not that of an integer network.
        """
        from cifar_edge.integer.from_onnx import read_network

        return read_network(path)
