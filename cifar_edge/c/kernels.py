"""The kernels that the C of a network can be compiled with, and how each wants its weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.c.plan import Step

Weights = npt.NDArray[np.int8]
GENERIC = "generic"
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Kernels:
    """A set of kernels.

    Attributes:
        condition: of the preprocessor, true where a compiler's options allow these kernels.
        packing: packing of the weights of plain convolutions, a key of `PACKINGS`.
        floats: whether sums become codes in float32; else in integers.
        template: file name of the kernels.
        flags: options of gcc and clang that allow them, for a compiler of the same processor family.
        runs_on: flag in ``/proc/cpuinfo`` of the processors that run them.
    """

    condition: str
    packing: str
    floats: bool
    template: str
    flags: tuple[str, ...]
    runs_on: str


KERNELS: dict[str, Kernels] = {}
"""Name for ``--kernels`` -> kernels; the best that a compiler allows comes first. Plain C is always there."""


def _plain(step: Step) -> Weights:
    """``[out, rows, columns, in]``; of a depthwise convolution ``[rows, columns, channels]``."""
    assert step.weights is not None
    if step.kind == "depthwise":
        return step.weights[:, 0].transpose(1, 2, 0)
    return step.weights.transpose(0, 2, 3, 1)


PACKINGS: dict[str, Callable[[Step], Weights]] = {"plain": _plain}
"""Packing of weights -> from a convolution to its weights in their order in memory."""


def chosen(names: Sequence[str]) -> dict[str, Kernels]:
    """The kernels of ``names``, best first."""
    return {name: kernels for name, kernels in KERNELS.items() if AUTO in names or name in names}


def pair_bounded(weights: npt.NDArray[Any]) -> bool:
    """Whether two neighbouring products of codes and weights always fit into 16 bits, in the order of ``weights``.

    Args:
        weights: ``[..., 2 * n]``, neighbours side by side.
    """
    pairs = weights.astype(np.int64).reshape(-1, 2)
    most, least = pairs.clip(0, None).sum(1).max(initial=0), pairs.clip(None, 0).sum(1).min(initial=0)
    return bool(255 * most <= 2**15 - 1 and 255 * least >= -(2**15))
