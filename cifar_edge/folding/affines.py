"""Arithmetic with constants: what multiplies by numbers or adds them is a batch norm whose statistics are fixed.

Such are the normalisation of the image inside a network, the scales of ConvNeXt's layers, and a plain ``2 * x - 1``.
"""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cifar_edge.folding.forms import ADDS, Shape
from cifar_edge.folding.refused import ADVICE, Refused

_MULTIPLIES = {operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply"}
_DIVIDES = {operator.truediv, operator.itruediv, torch.div, torch.divide, torch.true_divide, "div", "div_", "divide"}
_SUBTRACTS = {operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_", "subtract"}
ARITHMETIC = {*ADDS, *_MULTIPLIES, *_DIVIDES, *_SUBTRACTS}
"""Targets of nodes of two operands."""


class Affine2d(nn.BatchNorm2d):
    """A number that each channel is multiplied by, and one that is added.

    Args:
        scale: float64 ``[channels]``.
        shift: float64 ``[channels]``.
    """

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__(len(scale), eps=0.0)
        _fill(self, scale, shift)


class Affine1d(nn.BatchNorm1d):
    """As `Affine2d`, of flat features."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__(len(scale), eps=0.0)
        _fill(self, scale, shift)


def _fill(norm: nn.BatchNorm1d | nn.BatchNorm2d, scale: Tensor, shift: Tensor) -> None:
    with torch.no_grad():
        norm.eval().weight.copy_(scale)
        norm.bias.copy_(shift)


def affine(target: object, operands: Sequence[Any], shape: Shape, *, last: bool) -> list[nn.Module]:
    """The batch norm that computes ``target`` of an activation and a constant.

    Args:
        target: one of `ARITHMETIC`.
        operands: of it, in their order; None stands for the activation.
        shape: of the activation.
        last: whether its channels are the last dimension.

    Raises:
        Refused: the other operand is no number, or one a channel, or is divided by the activation.
    """
    first, second = operands
    channels = shape[-1] if last else shape[1]
    constant = _a_channel(second if first is None else first, channels, len(shape), last=last)
    ones, zeros = torch.ones(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    if target in _MULTIPLIES:
        scale, shift = constant, zeros
    elif target in ADDS:
        scale, shift = ones, constant
    elif target in _SUBTRACTS:
        scale, shift = (ones, -constant) if first is None else (-ones, constant)
    elif first is None:
        scale, shift = 1 / constant, zeros
    else:
        raise Refused("a division by an activation", ADVICE["mul"])
    if not (scale.isfinite().all() and shift.isfinite().all()):
        raise Refused("arithmetic with NaN, infinity, or a division by zero", "look at its constant")
    return [(Affine1d if len(shape) == 2 else Affine2d)(scale, shift)]


def _a_channel(constant: object, channels: int, dimensions: int, *, last: bool) -> Tensor:
    """``constant`` as a number for each channel, float64 ``[channels]``."""
    if isinstance(constant, int | float | Tensor):
        found = torch.as_tensor(constant, dtype=torch.float64)
        wide = [1] * dimensions
        wide[-1 if last else 1] = channels
        try:
            return found.expand(wide).flatten()
        except RuntimeError:  # it has other dimensions, or differs in height or width
            pass
    raise Refused("arithmetic with anything but a constant, or one a channel", ADVICE["mul"])
