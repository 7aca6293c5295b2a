"""The gates: an export is compared with the PyTorch module that it was made of, on real images."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cifar_edge.errors import GateFailed
from cifar_edge.measure.metrics import CONCLUSIVE_IMAGES, Estimate, accuracy_difference
from cifar_edge.models.pixels import PixelNetwork

FP32_TOLERANCE = 1e-4
"""Largest difference of a logit in fp32; it allows for another order of summation, and nothing else."""
_RELATIVE_TOLERANCE = 1e-5
"""The same as a fraction of the largest logit, for networks whose logits may be of any size."""

Verdict = Literal["passed", "undecided"]

Logits = npt.NDArray[np.float32]
"""float32 ``[images, classes]``."""

_BATCH = 250


@dataclass(frozen=True, slots=True)
class Comparison:
    """How an export's logits differ from PyTorch's on the same images.

    Attributes:
        max_difference: largest absolute difference of a logit.
        changed: number of images that change class.
        agreement: fraction of images that keep their class.
        snr_db: signal-to-noise ratio of the logits in dB, where PyTorch's are the signal; None without any noise.
        drop: accuracy drop, with its paired 95 % interval; negative if the export is better.
    """

    max_difference: float
    changed: int
    agreement: float
    snr_db: float | None
    drop: Estimate


@torch.inference_mode()
def torch_logits(network: nn.Module, images: npt.NDArray[np.uint8]) -> Logits:
    """The logits of the PyTorch module itself.

    Args:
        network: on the CPU, in evaluation mode; float32 ``[batch, 3, S, S]`` in.
        images: pixels, uint8 ``[images, S, S, 3]``; at least one image.
    """
    pixels = PixelNetwork(network)
    starts = range(0, len(images), _BATCH)
    return np.concatenate([pixels(torch.tensor(images[start : start + _BATCH])).numpy() for start in starts])


def compare(logits: Logits, reference: Logits, labels: npt.NDArray[np.integer]) -> Comparison:
    """Compare an export's ``logits`` with PyTorch's, ``reference``; ``labels`` are the true classes, ``[images]``."""
    noise = logits.astype(np.float64) - reference
    noise_power, signal_power = float(np.square(noise).sum()), float(np.square(reference.astype(np.float64)).sum())
    classes, reference_classes = logits.argmax(axis=1), reference.argmax(axis=1)
    changed = int(np.count_nonzero(classes != reference_classes))
    return Comparison(
        max_difference=float(np.abs(noise).max()),
        changed=changed,
        agreement=1 - changed / len(labels),
        snr_db=10 * float(np.log10(signal_power / noise_power)) if noise_power > 0 else None,
        drop=accuracy_difference(classes == labels, reference_classes == labels),
    )


def fp32_tolerance(reference: Logits) -> float:
    """What a logit in fp32 may differ by from ``reference``, of a network whose logits may be of any size."""
    return max(FP32_TOLERANCE, _RELATIVE_TOLERANCE * float(np.abs(reference).max()))


def judge_fp32(comparison: Comparison, tolerance: float = FP32_TOLERANCE) -> Verdict:
    """Check that fp32 computes the same logits as PyTorch.

    Raises:
        GateFailed: a logit differs by more than ``tolerance`` (or is not a number), or an image changes class.
    """
    if not comparison.max_difference <= tolerance or comparison.changed:
        raise GateFailed(
            f"fp32 does not compute what PyTorch does: logits differ by up to {comparison.max_difference:.2g} "
            f"(at most {tolerance:.2g} is allowed), {comparison.changed} of {comparison.drop.images} images change "
            "class; nothing was written"
        )
    return "passed"


def judge_int8(
    comparison: Comparison, max_drop: float, reference: str, parts: str = "", advice: str = "export without --quantize"
) -> Verdict:
    """Check that the accuracy drop of int8 is at most ``max_drop``; single images may change class.

    Args:
        comparison: with a PyTorch module.
        max_drop: percentage points.
        reference: the name of that module in the message.
        parts: the parts of the drop, for the message.
        advice: what to do instead of allowing more, for the message.

    Returns:
        ``passed`` if the drop is at most ``max_drop``, with 95 % confidence or on at least `CONCLUSIVE_IMAGES`;
        ``undecided`` with fewer images, or if a larger drop may be chance.

    Raises:
        GateFailed: the drop is larger, with 95 % confidence.
    """
    drop = comparison.drop
    if drop.low * 100 > max_drop:
        raise GateFailed(
            f"int8 loses {drop.value * 100:.2f} percentage points of accuracy against {reference} (95 % interval "
            f"{drop.low * 100:.2f} to {drop.high * 100:.2f}, {drop.images} images), {max_drop:g} are allowed{parts}; "
            f"nothing was written: {advice}, or allow more with --max-drop"
        )
    surely_small = drop.high * 100 <= max_drop
    return (
        "passed" if surely_small or (drop.images >= CONCLUSIVE_IMAGES and drop.value * 100 <= max_drop) else "undecided"
    )
