"""Quantization: from uint8 codes to real values, and from sums of products to codes, as onnxruntime computes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from cifar_edge.spec import PIXEL_SCALE, PIXEL_ZERO_POINT

Codes: TypeAlias = npt.NDArray[np.uint8]
Sums: TypeAlias = npt.NDArray[np.float64]
"""Integers below 2^53, for which float64 is exact and BLAS is fast."""
Factors: TypeAlias = npt.NDArray[np.float32]
"""The factor from sums to codes for each channel, float32 ``[channels]``."""


@dataclass(frozen=True, slots=True, repr=False)
class Quantization:
    """The real value of a uint8 code is ``(code - zero_point) * scale``.

    Attributes:
        scale: float32, positive.
        zero_point: the code of 0. With zero point 0 the clip of codes at 0 is a ReLU.
        largest: the largest code that occurs: 255, or less with a ReLU6.

    Raises:
        ValueError: ``scale`` is not positive and finite, or a code is not within 0 to 255.
    """

    scale: np.float32
    zero_point: int = 0
    largest: int = 255

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"a scale is positive and finite, not {self.scale}")
        if not 0 <= self.zero_point <= self.largest <= 255:
            raise ValueError(f"zero point {self.zero_point} and largest code {self.largest} are not within 0 to 255")

    def __repr__(self) -> str:
        """The same text with every version of numpy: digests of networks are made of it."""
        scale, zero_point, largest = str(self.scale), int(self.zero_point), int(self.largest)
        return f"Quantization(scale=np.float32({scale}), zero_point={zero_point}, largest={largest})"


DENOMINATOR = 15
"""The scale of a residual's shortcut is that of the sum times n / 15, n from 1 to 15. 15 is odd, so a code times n / 15
never lies halfway between two integers, where runtimes round in different ways."""


def fraction(scale: np.float32, numerator: int) -> np.float32:
    """``scale * numerator / DENOMINATOR``."""
    return np.float32(float(scale) * numerator / DENOMINATOR)


def numerator_of(scale: np.float32, whole: np.float32) -> int:
    """The numerator, 1 to `DENOMINATOR`, for which ``fraction(whole, numerator)`` is ``scale``.

    Raises:
        ValueError: there is none.
    """
    for numerator in range(1, DENOMINATOR + 1):
        if fraction(whole, numerator) == scale:
            return numerator
    raise ValueError(f"a residual of scale {whole} cannot add codes of {scale}")


PIXELS = Quantization(np.float32(PIXEL_SCALE), PIXEL_ZERO_POINT)
"""That of the image: by the edge contract, the value of a pixel p is (p - 128) / 64."""


def requantized(sums: Sums, factors: Factors, output: Quantization) -> Codes:
    """Codes of ``output`` for sums ``[..., channels]``: a float32 product, rounded half to even, then clipped."""
    scaled: npt.NDArray[np.float32] = np.rint(sums.astype(np.float32) * factors) + np.float32(output.zero_point)
    return scaled.clip(0, output.largest).astype(np.uint8)


class ByValue:
    """Base of dataclasses with arrays: they are equal if all fields have the same types, shapes and numbers."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)

    def __repr__(self) -> str:
        """The fields by name; an array is shown by dtype and shape."""
        fields = (f"{name}={_shown(getattr(self, name))}" for name in self.__dataclass_fields__)
        return f"{type(self).__name__}({', '.join(fields)})"


def contents(value: object) -> Iterator[bytes]:
    """What makes two of `ByValue` equal, or what their fields hold, as bytes that no version of numpy changes."""
    if isinstance(value, np.integer):
        value = int(value)  # they are equal
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        yield f"{array.dtype.str}{array.shape}".encode()
        yield np.ascontiguousarray(array).tobytes()
    elif isinstance(value, ByValue):
        yield type(value).__name__.encode()
        for name in value.__dataclass_fields__:
            yield from contents(getattr(value, name))
    elif isinstance(value, tuple):
        yield f"{len(value)}".encode()
        for each in value:
            yield from contents(each)
    else:
        yield repr(value).encode()


def _equal(first: object, second: object) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    return bool(first == second)


def _shown(value: object) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)
