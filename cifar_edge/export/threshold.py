"""The threshold of an export: below it the largest logit means "not sure"."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from cifar_edge.data.dataset import Dataset, Images, image_digests
from cifar_edge.data.folder.other import load_other
from cifar_edge.data.load import resized
from cifar_edge.data.sample import load_sample
from cifar_edge.errors import ExportError
from cifar_edge.measure.unknown import KEPT, Logits, Unknown, measure_unknown, threshold_keeping
from cifar_edge.messages import display_name
from cifar_edge.training.phases import training_images

USEFUL = 3
"""By default a threshold is written only where it refuses at least this many times the share of other images as of the
validation images that it was chosen by. One that refuses both alike only takes answers away."""
USEFUL_BY_TRAINING_IMAGES = 0.8
"""Share of the other images that it has to refuse where training images choose it. Those are known better than new
images, of which it refuses more; how many more is not known, since test images decide nothing."""
_MUCH = 0.1
"""Share of the test images that a threshold loses without that being said to be too many."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """How a threshold is chosen.

    Attributes:
        known: images of the classes, uint8 ``[n, S, S, 3]``, that the threshold is chosen by: not test images.
        other: images of no class, ``[m, S, S, 3]``, that it is judged by.
        source: what ``other`` is, for people to read.
        chosen_by: what ``known`` is, for people to read.
        trained_on: whether ``known`` are training images.
        kept: share of ``known`` that the threshold keeps.
        useful: share of ``other`` that it has to refuse to be written; 0 writes it in any case.
    """

    known: Images
    other: Images
    source: str
    chosen_by: str
    trained_on: bool
    kept: float = KEPT
    useful: float = 0.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """A threshold, and what it does on test images, which decide nothing.

    Attributes:
        threshold: on the largest logit; None if it is of no use and is not written.
        unknown: how test images and other images compare; its ``own`` is the threshold that was tried.
        source: what the other images are.
        chosen_by: the images that it was chosen by, and how many of them it keeps.
        lost: share of the test images that it refuses beyond the share of training images; 0 if others chose it.
    """

    threshold: float | None
    unknown: Unknown
    source: str
    chosen_by: str
    lost: float = 0.0

    def sentence(self) -> str:
        """What the threshold is, what chose it, what it does and how to have another: what follows a file's name."""
        own = self.unknown.own
        assert own is not None
        others = f"{own.refused:.1%} of {self.unknown.other:,} images of other things ({self.source})"
        if self.threshold is None:
            return (
                f"always names a class: a threshold that {self.chosen_by} reach would refuse only {others}, too few "
                f"to be of use, and {1 - own.kept:.1%} of the test images (--keep SHARE sets one all the same)"
            )
        return (
            f"says 'unknown' where it is not sure, that is where its largest logit is below {own.threshold:.3g}, a "
            f"threshold that {self.chosen_by} reach: it refuses {others} and {1 - own.kept:.1%} of the test images "
            f"(--keep SHARE sets another threshold, --keep none does without{self._remedy()})"
        )

    def _remedy(self) -> str:
        """What to do where the training images were learned by heart, so that new ones are refused."""
        if self.lost < _MUCH:
            return ""
        return "; training images, known by heart, choose it badly: train --set holdout=N lets N others choose"


def calibration(
    dataset: Dataset,
    holdout: int,
    kept: float | None,
    other: Path | None,
    report: Callable[[str], None],
) -> Calibration | None:
    """The images that a threshold is chosen and judged by.

    Others are those in ``other``, else in the dataset's own folder of such, else the images of the embedded sample of
    CIFAR-10 whose classes the dataset does not have, without those that are images of the dataset too.

    Args:
        dataset: of the network.
        holdout: how many validation images were held out; they choose the threshold. If 0, the training images do.
        kept: the share to keep; None for `KEPT`, and no threshold where that is of no use.
        other: a folder of images of no class.
        report: called with lines on images that cannot be read.

    Returns:
        None where there are no images of no class, and no threshold was asked for.

    Raises:
        DataError: there is no such folder, or no readable image in it.
        ExportError: a threshold was asked for, and there are no images of no class.
    """
    images, _, validation = training_images(dataset, holdout, torch.device("cpu"))
    known: Images = (images if validation is None else validation[0]).numpy()
    least = USEFUL_BY_TRAINING_IMAGES if validation is None else USEFUL * (1 - KEPT)
    chosen_by = f"{len(known):,} {'training' if validation is None else 'validation'} images"
    share, useful = (KEPT, least) if kept is None else (kept, 0.0)
    folder = other or dataset.other
    if folder is not None:
        others = load_other(folder, dataset.size, report)
        return Calibration(known, others, display_name(folder.name), chosen_by, validation is None, share, useful)
    sample = load_sample()
    strange = np.array([sample.labels[label] not in set(dataset.labels) for label in sample.test_labels])
    others = resized(sample, dataset.size).test_images[strange]
    own = {*image_digests(dataset.train_images), *image_digests(dataset.test_images)} if dataset.folder else set()
    others = others[[digest not in own for digest in image_digests(others)]]
    if not len(others):
        if kept is not None:
            raise ExportError("a threshold is judged by images of no class: give --other DIR")
        return None
    return Calibration(known, others, "CIFAR-10", chosen_by, validation is None, share, useful)


def choose(logits: Callable[[npt.NDArray[np.uint8]], Logits], test: Logits, images: Calibration) -> Chosen:
    """Choose the threshold of one file, and say what it does on test images.

    Args:
        logits: of pixels, as the file computes them.
        test: its logits on the test images, ``[n, classes]``.
        images: to choose and to judge by.
    """
    threshold = threshold_keeping(logits(images.known), images.kept)
    unknown = measure_unknown(test, logits(images.other), threshold)
    assert unknown.own is not None
    chosen_by = f"{images.kept:.0%} of {images.chosen_by}"
    lost = images.kept - unknown.own.kept if images.trained_on else 0.0
    written = threshold if unknown.own.refused >= images.useful else None
    return Chosen(written, unknown, images.source, chosen_by, lost)
