"""Requantization in integers: multipliers that give the same code as float32 for every sum.

A device without floats computes a code as ``((sum * multiplier + 2^(shift - 1)) >> shift) + zero_point``, clipped. Both
this code and that of float32 never decrease as the sum grows. So they agree on every sum if they agree on both sides of
each of the at most 255 sums where float32 steps to the next code. Each of these steps is a bound on the multiplier.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cifar_edge.integer.quantization import Factors, Quantization

HIGH_WORD = 32
"""The preferred shift: it takes the upper word of a product, one instruction on a Cortex-M4 (SMMULR)."""
LARGEST_MULTIPLIER = 2**31 - 1
_LARGEST_SHIFT = 54  # a code of 8 bits times 2^54 fits into int64
_ULPS = (64, 1024)  # how far a scale may be moved: for HIGH_WORD, then for a multiplier of 31 bits

Integers = npt.NDArray[np.int64]


class FixedPoint(NamedTuple):
    """The factor of each channel as ``multiplier / 2^shift``.

    Attributes:
        multiplier: int32 ``[channels]``, positive.
        shift: uint8 ``[channels]``, 1 to 54.
    """

    multiplier: npt.NDArray[np.int32]
    shift: npt.NDArray[np.uint8]


def fixed_point(factors: Factors, output: Quantization) -> FixedPoint:
    """The fixed-point form of ``factors`` that gives the same codes of ``output`` for every int32 sum.

    Raises:
        ValueError: a channel has no such form; with the scales of `exact_scales` every channel has one.
    """
    shifts = np.full(len(factors), HIGH_WORD, np.int64)
    low, high = _bounds(factors, output, shifts)
    shifts = np.where(low <= high, shifts, _full_shifts(factors))
    low, high = _bounds(factors, output, shifts)
    if (low > high).any():
        raise ValueError(f"the factor {factors[np.argmax(low > high)]} has no multiplier that is exact for every sum")
    nearest = np.rint(np.ldexp(factors.astype(np.float64), shifts)).astype(np.int64)
    return FixedPoint(nearest.clip(low, high).astype(np.int32), shifts.astype(np.uint8))


def exact_scales(scales: Factors, factors: Callable[[Factors], Factors], output: Quantization) -> Factors:
    """The scales nearest to ``scales``, in units of the last place, whose factors have a `fixed_point`.

    Args:
        scales: float32 ``[channels]``.
        factors: from scales to factors, channel by channel.
        output: the quantization of the codes.

    Raises:
        ValueError: there is none near one of them. This may happen if a factor is less than about 2^-16, because
            float32 skips sums beyond 2^24.
    """
    chosen, left = scales.copy(), np.ones(len(scales), bool)
    for high_word, most in zip((True, False), _ULPS, strict=True):
        for step in sorted(range(-most, most + 1), key=abs):
            moved = (scales.view(np.int32) + np.int32(step)).view(np.float32)
            found = factors(moved)[left]
            shifts = np.full(len(found), HIGH_WORD, np.int64) if high_word else _full_shifts(found)
            low, high = _bounds(found, output, shifts)
            exact = np.flatnonzero(left)[low <= high]
            chosen[exact], left[exact] = moved[exact], False
            if not left.any():
                return chosen
    raise ValueError(f"no scale near {scales[left][0]} has a multiplier that is exact for every sum")


def _full_shifts(factors: Factors) -> Integers:
    """The shifts with which multipliers have 31 bits."""
    return (31 - np.frexp(factors)[1].astype(np.int64)).clip(1, _LARGEST_SHIFT)


def _bounds(factors: Factors, output: Quantization, shifts: Integers) -> tuple[Integers, Integers]:
    """The least and the largest exact multiplier, ``[channels]``; if there is none, the least is larger."""
    codes = np.arange(1, output.largest + 1, dtype=np.int64) - output.zero_point
    reached = _first_sums(factors, codes)
    # reached * multiplier + half >= code << shift, and less than that with the sum before: reached - 1.
    needed = (codes << shifts[:, None]) - (1 << shifts[:, None] - 1)
    low, high = np.ones(len(factors), np.int64), np.full(len(factors), LARGEST_MULTIPLIER)
    for sums, least, sign in ((reached, needed, 1), (reached - 1, needed - 1, -1)):
        # sign * sums * multiplier >= sign * least: a bound from below where sign * sums is positive, else from above.
        slope, bound = sign * sums, sign * least
        divisor = np.where(slope == 0, 1, np.abs(slope))
        low = np.maximum(low, np.where(slope > 0, -(-bound // divisor), 1).max(1, initial=1))
        high = np.minimum(
            high, np.where(slope < 0, -bound // divisor, LARGEST_MULTIPLIER).min(1, initial=LARGEST_MULTIPLIER)
        )
        high = np.where(((slope == 0) & (bound > 0)).any(1), 0, high)
    beyond = (np.abs(reached) >= 2**31 - 1).any(1)
    return low, np.where(beyond, 0, high)


def _first_sums(factors: Factors, codes: Integers) -> Integers:
    """For each of ``codes``, the least int32 sum that float32 rounds to it or more, ``[channels, codes]``."""
    shape = len(factors), len(codes)
    below, reached = np.full(shape, -(2**31), np.int64), np.full(shape, 2**31, np.int64)
    while (reached - below > 1).any():
        middle = (below + reached) >> 1
        enough = np.rint(middle.astype(np.float32) * factors[:, None]) >= codes
        below, reached = np.where(enough, below, middle), np.where(enough, middle, reached)
    return reached
