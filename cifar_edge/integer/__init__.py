"""The integer network as a value: what every int8 file of this project computes, in numpy alone."""

from cifar_edge.integer.layers import (
    PIXELS,
    AveragePool,
    Conv,
    Layer,
    Linear,
    Quantization,
    Residual,
)
from cifar_edge.integer.network import IntegerNetwork

__all__ = [
    "PIXELS",
    "AveragePool",
    "Conv",
    "IntegerNetwork",
    "Layer",
    "Linear",
    "Quantization",
    "Residual",
]
