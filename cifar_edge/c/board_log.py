"""What a board printed when it ran the self-test of a network in C, and whether that is what the model says."""

import re
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

_MODEL = re.compile(r"(\S+@[0-9a-f]{12})\b")
_INTEGERS = re.compile(r"@[0-9a-f]{12}\b.*, integers ([0-9a-f]{12})\b")
_LOGITS = re.compile(r"image (\d{1,9}):((?: +-?\d{1,10})+)")
_DIFFERS = re.compile(r"image (\d{1,9}) differs, first in layer (\S+)")
_END = re.compile(r"\b(?:ok|failed)(?:\x1b\[[\d;]*m)?\s*$", re.MULTILINE)
_CYCLES = re.compile(r"cycles of an image, checksums included: (\d{1,20})")


@dataclass(frozen=True, slots=True)
class BoardLog:
    """The output of a self-test, read from a log that may have other lines, and other text before these.

    Attributes:
        model: identity of the model that ran, see `ModelMetadata.identity`; None if the log does not say.
        integers: digest of the integer network that ran, see `IntegerNetwork.digest`; None if the log does not say.
        logits: number of an image -> what was printed for it; more than once if the test ran more than once.
        layers: number of an image that the board itself found to differ -> the first layer that did.
        cycles: of one image; None where the board has no counter.
        ended: whether a line after its last image ends with "ok" or "failed", what the test says last.
    """

    model: str | None
    integers: str | None
    logits: dict[int, list[tuple[int, ...]]]
    layers: dict[int, str]
    cycles: int | None
    ended: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the log."""
        logits: dict[int, list[tuple[int, ...]]] = {}
        last = 0
        for found in _LOGITS.finditer(text):
            logits.setdefault(int(found[1]), []).append(tuple(map(int, found[2].split())))
            last = found.end()
        models, cycles, integers = _MODEL.findall(text), _CYCLES.findall(text), _INTEGERS.findall(text)
        layers = {int(image): layer for image, layer in _DIFFERS.findall(text)}
        ended = _END.search(text, last) is not None
        return cls(
            models[-1] if models else None,
            integers[-1] if integers else None,
            logits,
            layers,
            int(cycles[-1]) if cycles else None,
            ended,
        )

    def missing(self) -> list[int]:
        """The numbers of images that the log has no logits of, though it has those of a later one."""
        return [image for image in range(max(self.logits, default=0)) if image not in self.logits]

    def differing(self, expected: npt.NDArray[np.int32]) -> list[int]:
        """The images whose printed logits are not those ``expected``, int32 ``[n, classes]``, in one of the runs."""
        rows = expected.tolist()
        return [
            image
            for image, printed in sorted(self.logits.items())
            if image >= len(rows) or any(list(each) != rows[image] for each in printed)
        ]
