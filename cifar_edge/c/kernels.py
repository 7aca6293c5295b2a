"""The kernels that the C of a network can be compiled with, and how each wants its weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cifar_edge.c.plan import Step

PACKED = ("conv", "depthwise")
"""Kinds of steps that kernels other than plain C have."""
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
        shared: file name of what several kernels share, or None.
        flags: options of gcc and clang that allow them, for a compiler of the same processor family.
        runs_on: flag in ``/proc/cpuinfo`` of the processors that run them.
    """

    condition: str
    packing: str
    floats: bool
    template: str
    shared: str | None
    flags: tuple[str, ...]
    runs_on: str


KERNELS: dict[str, Kernels] = {
    "avx512vnni": Kernels(
        condition="defined(__AVX512VNNI__) && defined(__AVX512BW__)",
        packing="blocks",
        floats=True,
        template="avx512vnni.h",
        shared="x86.h",
        flags=("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mavx2"),
        runs_on="avx512_vnni",
    ),
    "avx2": Kernels(
        condition="defined(__AVX2__)",
        packing="blocks",
        floats=True,
        template="avx2.h",
        shared="x86.h",
        flags=("-mavx2",),
        runs_on="avx2",
    ),
}
"""Name for ``--kernels`` -> kernels; the best that a compiler allows comes first. Plain C is always there."""

BLOCK = 16
"""Output channels of a block of packed weights."""
DEPTHWISE_BLOCK = 32


class Packed(NamedTuple):
    """The weights of a convolution in their order in memory, and what is in the order of its output channels.

    Attributes:
        weights: int8; their shape does not matter.
        channels: the channel whose bias and factor stands in each place; numbers beyond those of the convolution have
            none.
    """

    weights: npt.NDArray[np.int8]
    channels: npt.NDArray[np.intp]


def _plain(step: Step) -> Packed:
    """``[out, rows, columns, in]``; of a depthwise convolution ``[rows, columns, channels]``."""
    assert step.weights is not None
    order = np.arange(len(step.weights))
    if step.kind == "depthwise":
        return Packed(step.weights[:, 0].transpose(1, 2, 0), order)
    return Packed(step.weights.transpose(0, 2, 3, 1), order)


def _blocks(step: Step) -> Packed:
    """``[out / 16, rows, columns * in / 4, 16, 4]``, with zeros up to multiples of 16 and 4.

    A depthwise convolution ``[channels / 32, rows / 4, columns, 32, 4]``, see ``templates/x86.h``.
    """
    plain = _plain(step).weights
    if step.kind == "depthwise":
        rows, columns, channels = plain.shape
        padded = np.pad(plain, ((0, -rows % 4), (0, 0), (0, -channels % DEPTHWISE_BLOCK)))
        order = _interleaved(padded.shape[2])
        quads = padded[..., order].reshape(-1, 4, columns, len(order) // DEPTHWISE_BLOCK, DEPTHWISE_BLOCK)
        return Packed(quads.transpose(3, 0, 2, 4, 1), order)
    out, rows = plain.shape[:2]
    flat = plain.reshape(out, rows, -1)
    padded = np.pad(flat, ((0, -out % BLOCK), (0, 0), (0, -flat.shape[2] % 4)))
    blocks = padded.reshape(-1, BLOCK, rows, padded.shape[2] // 4, 4).transpose(0, 2, 3, 1, 4)
    return Packed(blocks, np.arange(len(padded)))


def _interleaved(channels: int) -> npt.NDArray[np.intp]:
    """The order of so many channels, a multiple of 32, after rows were interleaved in halves of 16 bytes."""
    return np.arange(channels).reshape(-1, 2, 4, 4).transpose(0, 2, 1, 3).reshape(-1)


PACKINGS: dict[str, Callable[[Step], Packed]] = {"plain": _plain, "blocks": _blocks}
"""Name of a packing of weights -> what packs those of a convolution."""


def chosen(names: Sequence[str]) -> dict[str, Kernels]:
    """The kernels of ``names``, best first."""
    return {name: kernels for name, kernels in KERNELS.items() if AUTO in names or name in names}


def is_wide(step: Step) -> bool:
    """Whether two neighbouring products of codes and weights of ``step`` may exceed 16 bits."""
    if step.kind not in PACKED:
        return False
    pairs = _blocks(step).weights.astype(np.int64).reshape(-1, 2)
    most, least = pairs.clip(0, None).sum(1).max(), pairs.clip(None, 0).sum(1).min()
    return bool(255 * most >= 2**15 or 255 * least < -(2**15))
