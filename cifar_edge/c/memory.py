"""Places in one memory for buffers that are needed at different times.

The best places are hard to find. So buffers are taken in several orders, each to the lowest place that is free for as
long as it is needed, and the order that takes the least memory is chosen (Pisarchyk and Lee 2020, arXiv:2001.03288).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes that are needed for a time, with padding around them. Buffers with the same padding may share it.

    Attributes:
        first: when it is written; nothing else may be read from its place then.
        last: when it is last read.
        before: bytes of padding before it.
        size: in bytes.
        behind: bytes of padding behind it.
        padding: what each byte of padding is.
    """

    first: int
    last: int
    before: int
    size: int
    behind: int
    padding: int


_ORDERS: tuple[Callable[[Buffer], tuple[int, ...]], ...] = (
    lambda buffer: (buffer.first,),
    lambda buffer: (buffer.first - buffer.last, buffer.first),
    lambda buffer: (-buffer.size, buffer.first),
    lambda buffer: (-buffer.size, buffer.first - buffer.last),
    lambda buffer: (buffer.size * (buffer.first - buffer.last), buffer.first),
)
"""By time, the longest needed, the largest, and the longest needed and largest first."""


def place(buffers: Sequence[Buffer]) -> tuple[list[int], int]:
    """The place of the first byte of each buffer, behind its padding, and the bytes that all take."""
    found = (_placed(buffers, sorted(range(len(buffers)), key=lambda i: order(buffers[i]))) for order in _ORDERS)
    return min(found, key=lambda each: each[1])


def _placed(buffers: Sequence[Buffer], order: Sequence[int]) -> tuple[list[int], int]:
    """As `place`, for buffers taken in ``order``."""
    places = [0] * len(buffers)
    first, last = (np.array([getattr(each, name) for each in buffers]) for name in ("first", "last"))
    done = np.zeros(len(buffers), bool)
    end = 0
    for number in order:
        buffer = buffers[number]
        place = buffer.before
        # The others may overlap each other where their times differ. So the padding of any of them can reach into this
        # place, not only that of the next one.
        taken = []
        for each in np.flatnonzero(done & (first <= buffer.last) & (last >= buffer.first)).tolist():
            start, other = places[each], buffers[each]
            taken.append((start - _gap(buffer, other), start + other.size + _gap(other, buffer)))
        for start, stop in sorted(taken):
            if place + buffer.size <= start:
                break
            place = max(place, stop)
        places[number] = place
        done[number] = True
        end = max(end, place + buffer.size + buffer.behind)
    return places, end


def _gap(one: Buffer, next_one: Buffer) -> int:
    """The bytes of padding between two buffers side by side."""
    if one.padding == next_one.padding:
        return max(one.behind, next_one.before)
    return one.behind + next_one.before
