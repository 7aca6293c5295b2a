"""Rounding of weights to integers, each up or down, so that the output of a layer changes least on training images.

Rounding to nearest is best for a single weight. But a layer computes a sum, where errors of weights add up or cancel,
depending on how their inputs are correlated. So the covariance of the inputs decides which way to round (Nagel et al.
2020, "Up or Down?", arXiv:2004.10568). docs/int8.md shows what this gains.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cifar_edge.export.calibration import LARGEST_WEIGHT, kernel_order
from cifar_edge.integer.columns import LARGEST_PAIR

_LEAST_VARIANCE = 1e-6  # of an input, in codes; weights of inputs that hardly vary stay rounded to nearest
_PASSES = 20  # at most; it stops when no code changes

Array = npt.NDArray[np.float64]


def round_to_inputs(
    exact: Array, nearest: Array, inputs: Iterable[Array], both_sides: bool = False
) -> tuple[Array, Array]:
    """Weights rounded up or down, so that the output of their layer changes least.

    Args:
        exact: weights in units of their scale, ``[out, in / groups, kernel height, kernel width]`` or ``[out, in]``.
        nearest: the same, rounded to nearest.
        inputs: batches of what the weights are multiplied by, ``[groups, n, weights of a channel]``, in the order of
            ``exact``.
        both_sides: which sums of neighbours stay bounded, see `cifar_edge.export.calibration.weight_scales`.

    Returns:
        The codes, of the shape of ``exact``, and the mean loss of each channel's sum by rounding, ``[out]``, to be
        added to its bias.
    """
    order = kernel_order(np.arange(exact[0].size, dtype=np.float64).reshape(1, *exact.shape[1:]))[0].astype(np.intp)
    wanted, codes = (part.reshape(len(exact), -1)[:, order] for part in (exact, nearest))
    means, covariances = _moments(inputs, order)
    lost = np.empty(len(exact))
    for channels, mean, covariance in zip(np.split(np.arange(len(exact)), len(means)), means, covariances, strict=True):
        codes[channels] = round_to_fit(wanted[channels], codes[channels], covariance, both_sides)
        lost[channels] = (wanted[channels] - codes[channels]) @ mean
    found = np.empty_like(codes)
    found[:, order] = codes
    return found.reshape(exact.shape), lost


def round_to_fit(exact: Array, codes: Array, covariance: Array, both_sides: bool = False) -> Array:
    """Weights rounded up or down for the least error in the layer's output, by coordinate descent.

    The codes of one input after another, in all output channels at once, are set to the best values given all others,
    until none changes. So the error of a channel, ``e @ covariance @ e`` with the errors e of its codes, never grows.
    Sums of neighbours stay within what `cifar_edge.export.calibration.weight_scales` promises.

    Args:
        exact: weights in units of their scale, ``[output channels, inputs]``, inputs in the order of kernels.
        codes: ``exact`` rounded to nearest, to start from.
        covariance: of the inputs, ``[inputs, inputs]``.
        both_sides: as in `weight_scales`.
    """
    codes = codes.copy()
    low, high = (part(exact).clip(-LARGEST_WEIGHT, LARGEST_WEIGHT) for part in (np.floor, np.ceil))
    slope = (exact - codes) @ covariance
    for _ in range(_PASSES):
        before = codes.copy()
        for index in np.flatnonzero(np.diagonal(covariance) > _LEAST_VARIANCE):
            best = np.rint(codes[:, index] + slope[:, index] / covariance[index, index])
            best = best.clip(low[:, index], high[:, index])
            for neighbour in (index - 1, index + 1) if both_sides else (index ^ 1,):
                if 0 <= neighbour < codes.shape[1]:
                    other = codes[:, neighbour]
                    best = best.clip(-LARGEST_PAIR - other, LARGEST_PAIR - other)
            slope -= np.outer(best - codes[:, index], covariance[index])
            codes[:, index] = best
        if np.array_equal(codes, before):
            break
    return codes


def _moments(inputs: Iterable[Array], order: npt.NDArray[np.intp]) -> tuple[Array, Array]:
    """Mean ``[groups, inputs]`` and covariance ``[groups, inputs, inputs]`` of ``inputs``, reordered by ``order``."""
    count, total, products = 0, np.zeros(()), np.zeros(())
    for batch in inputs:
        count += batch.shape[1]
        total = total + batch.sum(1)
        products = products + batch.transpose(0, 2, 1) @ batch
    means = total / count
    covariances = products / count - means[:, :, None] * means[:, None, :]
    return means[:, order], covariances[:, order][:, :, order]
