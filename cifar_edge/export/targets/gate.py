"""The gate of a target: its files, run by each program that is to read them, against the integer network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import CannotRun, GateFailed
from cifar_edge.export.parity import CONCLUSIVE_IMAGES
from cifar_edge.measure.metrics import Estimate, accuracy, accuracy_difference

Files: TypeAlias = Mapping[str, bytes]
"""File name -> content. The files of a target may lie in a folder: ``gn-cnn.c/gn_cnn.h``."""
Images: TypeAlias = npt.NDArray[np.uint8]
"""Pixels, uint8 ``[n, size, size, 3]``."""
Logits: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.int32]
"""``[n, classes]``: float32, or the int32 sums if the format has them."""

Classes: TypeAlias = npt.NDArray[np.integer]
"""``[n]``."""

GATE_IMAGES = 512
"""Images on which logits are compared with those of the integer network, bit for bit."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a program that rounds in another way may differ from the integer network.

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
        images: the most images to compare on; None for all if there is a tolerance, else for `GATE_IMAGES`.
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
        not_compared: why nothing was compared; None if it was.
    """

    runner: str
    exact: bool
    images: int = 0
    agreement: float | None = None
    drop: float | None = None
    not_compared: str | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """The images of a gate, and what the integer network answers.

    Attributes:
        images: at least one.
        labels: their true classes, ``[n]``; None if they are not known, and accuracy is not compared.
        sums: int32 logits of the first `GATE_IMAGES` of them.
        logit_scale: float32, of the sums.
        classes: the classes of all images, ``[n]``; called if a runner has a tolerance.
    """

    images: Images
    labels: Classes | None
    sums: npt.NDArray[np.int32]
    logit_scale: np.float32
    classes: Callable[[], Classes]


def check(target: str, runner: Runner, files: Files, reference: Reference) -> Outcome:
    """Run ``files`` of ``target`` by ``runner`` and compare the logits with those of the integer network.

    With fewer images than `CONCLUSIVE_IMAGES` a tolerance is exceeded if it is so with 95 % confidence.

    Raises:
        GateFailed: they differ by more than the runner's gate allows.
    """
    images = reference.images if runner.tolerance else reference.images[:GATE_IMAGES]
    try:
        logits = runner.run(files, images[: runner.images])
    except CannotRun as error:
        return Outcome(runner.name, runner.tolerance is None, not_compared=str(error))
    if runner.tolerance is None:
        return _same_logits(target, runner.name, logits, reference)
    return _same_classes(target, runner.name, logits, reference, runner.tolerance)


def _same_logits(target: str, runner: str, logits: Logits, reference: Reference) -> Outcome:
    sums, images = reference.sums[: len(logits)], len(logits)
    wanted = sums if logits.dtype == np.int32 else sums.astype(np.float32) * reference.logit_scale
    if differing := int(np.count_nonzero((logits != wanted).any(axis=1))):
        largest = np.abs(logits - wanted.astype(np.float64)).max()
        raise GateFailed(
            f"{target} does not compute what the integer network does: {differing} of {images} images get other "
            f"logits in {runner}, by up to {largest:.2g}; nothing was written"
        )
    return Outcome(runner, True, images, 1.0, 0.0)


def _same_classes(target: str, runner: str, logits: Logits, reference: Reference, tolerance: Tolerance) -> Outcome:
    images, classes = len(logits), logits.argmax(axis=1)
    wanted = reference.classes()[:images]
    different = accuracy(int(np.count_nonzero(classes != wanted)), images)
    drop = None
    if reference.labels is not None:
        labels = reference.labels[:images]
        drop = accuracy_difference(classes == labels, wanted == labels)
    too_many = _surely(different) > 1 - tolerance.agreement
    too_bad = drop is not None and _surely(drop) > tolerance.drop / 100
    if too_many or too_bad or not np.isfinite(logits).all():
        changed = f"{different.value:.2%} of {images:,} images change class ({1 - tolerance.agreement:.1%} may)"
        lost = (
            "" if drop is None else f", {100 * drop.value:.2f} percentage points are lost ({tolerance.drop:g} may be)"
        )
        raise GateFailed(
            f"{target} differs too much from the integer network in {runner}: {changed}{lost}; nothing was written"
        )
    return Outcome(runner, False, images, 1 - different.value, None if drop is None else drop.value)


def _surely(estimate: Estimate) -> float:
    """What was measured; on few images what is exceeded with 95 % confidence."""
    return estimate.value if estimate.images >= CONCLUSIVE_IMAGES else estimate.low
