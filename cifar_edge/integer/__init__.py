"""The integer network as a value in numpy: it defines what every int8 file of this project computes."""

from cifar_edge.integer.fixed_point import FixedPoint, exact_scales, fixed_point
from cifar_edge.integer.layers import AveragePool, Conv, Layer, Linear, MaxPool, Residual, Shape
from cifar_edge.integer.network import IntegerNetwork
from cifar_edge.integer.quantization import PIXELS, Quantization

__all__ = [
    "PIXELS",
    "AveragePool",
    "Conv",
    "FixedPoint",
    "IntegerNetwork",
    "Layer",
    "Linear",
    "MaxPool",
    "Quantization",
    "Residual",
    "Shape",
    "exact_scales",
    "fixed_point",
]
