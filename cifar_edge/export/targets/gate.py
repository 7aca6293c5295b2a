"""The gate of a target: its files, run by each program that is to read them, against the integer network."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import CannotRun, GateFailed
from cifar_edge.measure.metrics import CONCLUSIVE_IMAGES, Estimate, accuracy, accuracy_difference

Files: TypeAlias = Mapping[str, bytes]
"""File name -> content. The files of a target may lie in a folder: ``gn-cnn.c/gn_cnn.h``."""
Images: TypeAlias = npt.NDArray[np.uint8]
"""Pixels, uint8 ``[n, size, size, 3]``."""
Logits: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.int32]
"""``[n, classes]``: float32, or the int32 sums if the format has them."""

Classes: TypeAlias = npt.NDArray[np.integer]
"""``[n]``."""

GATE_IMAGES = 512
"""Images that the integer network itself computes, in numpy. The target that is always written is compared on these.
On all others its logits stand for those of the network, because onnxruntime is much faster."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a program that rounds in another way may differ from the integer network.

    Where rounding changes many classes, as with a thousand classes, another rounding changes as many, and is no worse.
    So a program that exceeds a bound is compared with the network before rounding: it passes if it is not worse with
    95 % confidence, by the same bounds. It gives the class of that network as often as the integer network does, and
    loses no accuracy against one of the two.

    Attributes:
        agreement: the least share of images that keep their class.
        drop: percentage points of accuracy that may be lost.
    """

    agreement: float
    drop: float


@dataclass(frozen=True, slots=True)
class Runner:
    """A program that reads the files of a target.

    Attributes:
        name: of the program.
        run: files, images -> their logits. It raises `CannotRun` on a machine that cannot run the files.
        tolerance: None if its logits are those of the integer network, bit for bit.
        images: the most images to compare on; None for all.
    """

    name: str
    run: Callable[[Files, Images], Logits]
    tolerance: Tolerance | None = None
    images: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A gate that a target's files have passed in one program, or that could not be tried.

    Attributes:
        runner: the name of the program.
        exact: whether the logits have to be those of the integer network, bit for bit.
        images: number of images compared.
        agreement: share of them that keep their class.
        drop: accuracy drop, as a fraction of 1; negative if the program is better. None if it is not known.
        float_agreement: share of them that get the class of the network before rounding, by the program and by the
            integer network, where that decided; None where it did not. See `Tolerance`.
        not_compared: why nothing was compared; None if it was.
    """

    runner: str
    exact: bool
    images: int = 0
    agreement: float | None = None
    drop: float | None = None
    float_agreement: tuple[float, float] | None = None
    not_compared: str | None = None

    def sentence(self, target: str, files: Iterable[str]) -> str:
        """How the ``files`` of ``target`` compare with int8, for people to read."""
        named = ", ".join(dict.fromkeys(_top(file) for file in files))
        if self.agreement is None:
            return f"{target}: {named} was not compared here in {self.runner}: {self.not_compared}"
        passed = f"{target} passed: in {self.runner} {named}"
        if self.exact:
            return f"{passed} gives the logits of int8, bit for bit, on {self.images:,} images"
        kept = f"{passed} keeps the class of {self.agreement:.2%} of {self.images:,} images"
        if self.float_agreement is not None:
            program, int8 = self.float_agreement
            kept += f", no worse than int8 (of the network before rounding: {program:.2%}, int8 {int8:.2%})"
        return kept if self.drop is None else f"{kept}, and loses {100 * self.drop:+.2f} percentage points"


def _top(file: str) -> str:
    """``file``, or the folder that it lies in."""
    folder, slash, _ = file.partition("/")
    return folder + slash


@dataclass(frozen=True, slots=True)
class Reference:
    """The images of a gate, and what the integer network answers.

    Attributes:
        images: at least one.
        labels: their true classes, ``[n]``; None if they are not known, and accuracy is not compared.
        sums: int32 logits of the first `GATE_IMAGES` of them.
        logit_scale: float32, of the sums.
        logits: those of all images, float32 ``[n, classes]``; called for runners that compare on more than the first.
        float_classes: of all images, ``[n]``, by the network before rounding; None if it is not at hand.
    """

    images: Images
    labels: Classes | None
    sums: npt.NDArray[np.int32]
    logit_scale: np.float32
    logits: Callable[[], npt.NDArray[np.float32]]
    float_classes: Classes | None = None


def check(target: str, runner: Runner, files: Files, reference: Reference) -> Outcome:
    """Run ``files`` of ``target`` by ``runner`` and compare the logits with those of the integer network.

    With fewer images than `CONCLUSIVE_IMAGES` a tolerance is exceeded if it is so with 95 % confidence.

    Raises:
        GateFailed: they differ by more than the runner's gate allows.
    """
    try:
        logits = runner.run(files, reference.images[: runner.images])
    except CannotRun as error:
        return Outcome(runner.name, runner.tolerance is None, not_compared=str(error))
    if runner.tolerance is None:
        return _same_logits(target, runner.name, logits, reference)
    return _same_classes(target, runner.name, logits, reference, runner.tolerance)


def _same_logits(target: str, runner: str, logits: Logits, reference: Reference) -> Outcome:
    images = len(logits)
    given = _as_floats(logits, reference.logit_scale)
    wanted = _as_floats(reference.sums, reference.logit_scale) if images <= GATE_IMAGES else reference.logits()
    differs = (given != wanted[:images]).any(axis=1)
    if logits.dtype == np.int32:  # sums above 2^24 may be one number as floats
        first = min(images, len(reference.sums))
        differs[:first] |= (logits[:first] != reference.sums[:first]).any(axis=1)
    if differing := int(np.count_nonzero(differs)):
        largest = np.abs(given - wanted[:images].astype(np.float64)).max()
        raise GateFailed(
            f"{target} does not compute what the integer network does: {differing:,} of {images:,} images get other "
            f"logits in {runner}, by up to {largest:.2g}; nothing was written"
        )
    return Outcome(runner, True, images, 1.0, 0.0)


def _as_floats(logits: Logits, scale: np.float32) -> npt.NDArray[np.float32]:
    """Logits as onnxruntime gives them."""
    return logits.astype(np.float32) * scale if logits.dtype == np.int32 else logits.astype(np.float32)


def _same_classes(target: str, runner: str, logits: Logits, reference: Reference, tolerance: Tolerance) -> Outcome:
    images, classes = len(logits), logits.argmax(axis=1)
    wanted = reference.logits()[:images].argmax(axis=1)
    different = accuracy(int(np.count_nonzero(classes != wanted)), images)
    drop = None
    labels = None if reference.labels is None else reference.labels[:images]
    if labels is not None:
        drop = accuracy_difference(classes == labels, wanted == labels)
    too_many = _surely(different) > 1 - tolerance.agreement
    too_bad = drop is not None and _surely(drop) > tolerance.drop / 100
    float_agreement, other = None, ""
    if (too_many or too_bad) and reference.float_classes is not None:
        exact = reference.float_classes[:images]
        by_program, by_integers = classes == exact, wanted == exact
        too_many = accuracy_difference(by_program, by_integers).low > 1 - tolerance.agreement
        if too_bad and labels is not None:
            too_bad = accuracy_difference(classes == labels, exact == labels).low > tolerance.drop / 100
        float_agreement = float(by_program.mean()), float(by_integers.mean())
        other = " and {:.2%} get that of the network before rounding, {:.2%} by int8".format(*float_agreement)
    if too_many or too_bad or not np.isfinite(logits).all():
        changed = f"{different.value:.2%} of {images:,} images change class ({1 - tolerance.agreement:.1%} may){other}"
        lost = (
            "" if drop is None else f", {100 * drop.value:.2f} percentage points are lost ({tolerance.drop:g} may be)"
        )
        hint = (
            "" if reference.float_classes is not None else "; an export of the network itself tells if they are worse"
        )
        raise GateFailed(
            f"{target} differs too much from the integer network in {runner}: {changed}{lost}; nothing was written"
            f"{hint if too_many else ''}"
        )
    return Outcome(runner, False, images, 1 - different.value, None if drop is None else drop.value, float_agreement)


def _surely(estimate: Estimate) -> float:
    """What was measured; on few images what is exceeded with 95 % confidence."""
    return estimate.value if estimate.images >= CONCLUSIVE_IMAGES else estimate.low
