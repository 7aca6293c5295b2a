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
        vectors: whether several biases are loaded at a time, so that they are int32 in every network.
        template: file name of the kernels.
        shared: file name of what several kernels share, or None.
        flags: options of gcc and clang that allow them, for a compiler of the same processor family.
        runs_on: flag in ``/proc/cpuinfo`` of the processors that run them; empty for microcontrollers.
    """

    condition: str
    packing: str
    floats: bool
    vectors: bool
    template: str
    shared: str | None
    flags: tuple[str, ...]
    runs_on: str


_LITTLE = "!defined(__ARM_BIG_ENDIAN)"

KERNELS: dict[str, Kernels] = {
    "avx512vnni": Kernels(
        condition="defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)",
        packing="blocks",
        floats=True,
        vectors=True,
        template="avx512vnni.h",
        shared="x86.h",
        flags=("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni", "-mavx2"),
        runs_on="avx512_vnni",
    ),
    "avx2": Kernels(
        condition="defined(__AVX2__)",
        packing="blocks",
        floats=True,
        vectors=True,
        template="avx2.h",
        shared="x86.h",
        flags=("-mavx2",),
        runs_on="avx2",
    ),
    "neon": Kernels(
        condition=f"defined(__ARM_FEATURE_DOTPROD) && defined(__aarch64__) && {_LITTLE}",
        packing="signed_blocks",
        floats=True,
        vectors=True,
        template="neon.h",
        shared=None,
        flags=("-march=armv8.2-a+dotprod",),
        runs_on="asimddp",
    ),
    "helium": Kernels(
        condition=f"defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1) && defined(__GNUC__) && {_LITTLE}",
        packing="signed_pairs",
        floats=False,
        vectors=True,
        template="helium.h",
        shared=None,
        flags=(),
        runs_on="",
    ),
    "dsp": Kernels(
        condition=f"defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__GNUC__) && {_LITTLE}",
        packing="pairs",
        floats=False,
        vectors=False,
        template="dsp.h",
        shared=None,
        flags=(),
        runs_on="",
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
        offset: what the kernels take off each code before they multiply; biases make up for it.
    """

    weights: npt.NDArray[np.int8]
    channels: npt.NDArray[np.intp]
    offset: int = 0


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
    return _grouped(step, BLOCK)


def _signed_blocks(step: Step) -> Packed:
    """As `_blocks` for codes less 128; a depthwise convolution as `_plain`."""
    return _plain(step) if step.kind == "depthwise" else _blocks(step)._replace(offset=128)


def _pairs(step: Step) -> Packed:
    """``[out / 2, rows, columns * in / 4, 2, 4]``, with zeros up to multiples of 2 and 4; depthwise as `_plain`."""
    return _plain(step) if step.kind == "depthwise" else _grouped(step, 2)


def _signed_pairs(step: Step) -> Packed:
    """``[out / 2, rows * columns * in / 16, 2, 16]`` for codes less 128; depthwise as `_plain`."""
    plain = _plain(step).weights
    if step.kind == "depthwise":
        return _plain(step)
    flat = plain.reshape(len(plain), -1)
    padded = np.pad(flat, ((0, -len(flat) % 2), (0, -flat.shape[1] % 16)))
    pairs = padded.reshape(-1, 2, padded.shape[1] // 16, 16).transpose(0, 2, 1, 3)
    return Packed(pairs, np.arange(len(padded)), offset=128)


def _grouped(step: Step, block: int) -> Packed:
    """``[out / block, rows, columns * in / 4, block, 4]``, with zeros up to multiples of ``block`` and 4."""
    plain = _plain(step).weights
    out, rows = plain.shape[:2]
    flat = plain.reshape(out, rows, -1)
    padded = np.pad(flat, ((0, -out % block), (0, 0), (0, -flat.shape[2] % 4)))
    blocks = padded.reshape(-1, block, rows, padded.shape[2] // 4, 4).transpose(0, 2, 3, 1, 4)
    return Packed(blocks, np.arange(len(padded)))


def _interleaved(channels: int) -> npt.NDArray[np.intp]:
    """The order of so many channels, a multiple of 32, after rows were interleaved in halves of 16 bytes."""
    return np.arange(channels).reshape(-1, 2, 4, 4).transpose(0, 2, 1, 3).reshape(-1)


PACKINGS: dict[str, Callable[[Step], Packed]] = {
    "plain": _plain,
    "blocks": _blocks,
    "signed_blocks": _signed_blocks,
    "pairs": _pairs,
    "signed_pairs": _signed_pairs,
}
"""Name of a packing of weights -> what packs those of a convolution."""


def chosen(names: Sequence[str]) -> dict[str, Kernels]:
    """The kernels of ``names``, best first."""
    return {name: kernels for name, kernels in KERNELS.items() if AUTO in names or name in names}


def column_bytes(steps: Sequence[Step]) -> int:
    """The most codes that a pixel of a plain convolution reads, each row in steps of 4, all in steps of 16."""
    windows = (step.weights.shape for step in steps if step.kind == "conv" and step.weights is not None)
    sizes = [-(-columns * channels // 4) * 4 * rows for _, channels, rows, columns in windows]
    return -(-max(sizes, default=16) // 16) * 16


def is_wide(step: Step) -> bool:
    """Whether two neighbouring products of codes and weights of ``step`` may exceed 16 bits."""
    if step.kind not in PACKED:
        return False
    pairs = _blocks(step).weights.astype(np.int64).reshape(-1, 2)
    most, least = pairs.clip(0, None).sum(1).max(), pairs.clip(None, 0).sum(1).min()
    return bool(255 * most >= 2**15 or 255 * least < -(2**15))
