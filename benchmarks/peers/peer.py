"""What a contestant is: a network in a runtime, with one signature for all: pixels in, logits out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from cifar_edge.models.summary import summarize
from cifar_edge.spec import IMAGE_CHANNELS, IMAGE_SIZE

Pixels = npt.NDArray[np.uint8]
"""uint8 ``[n, 32, 32, 3]``."""
Logits = npt.NDArray[Any]
"""``[1, 10]``, in whatever type the runtime gives them: only which one is the largest counts here."""
Classify = Callable[[Pixels], Logits]
"""Classifies one image."""

IMAGE_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, IMAGE_CHANNELS)
CALIBRATION_IMAGES = 1024


@dataclass(frozen=True)
class Network:
    """A network, with its parameters and its multiply-accumulates for one image."""

    name: str
    parameters: int
    macs: int

    @classmethod
    def of(cls, name: str, module: nn.Module) -> "Network":
        """The network ``module``, called ``name``."""
        costs = summarize(module)
        return cls(name, costs.parameters, costs.macs)


@dataclass(frozen=True)
class Peer:
    """A network in a runtime.

    Attributes:
        name: unique among the peers.
        network: what is run.
        runtime: the library that runs it, and its version.
        precision: of most of its arithmetic.
        size: bytes of the weights or of the model.
        start: gets it ready, with one thread.
    """

    name: str
    network: Network
    runtime: str
    precision: str
    size: int
    start: Callable[[], Classify]
