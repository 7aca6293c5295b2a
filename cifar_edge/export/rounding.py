"""Weights as integers: each rounded up or down such that, on training images, its layer answers as before.

To the nearest integer is best for a weight alone. What a layer computes is a sum, in which the errors of weights add up
or cancel as their inputs go together: which way to round each follows from the covariance of the inputs (Nagel et al.
2020, "Up or Down?", arXiv:2004.10568). docs/int8.md has what it gains.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cifar_edge.export.calibration import LARGEST_WEIGHT, kernel_order

_LARGEST_PAIR = 128  # of two neighbouring codes: see weight_scales
_LEAST_VARIANCE = 1e-6  # of an input, in codes: one that is as good as constant tells nothing
_PASSES = 20  # there are fewer: it stops where no code changes

Array = npt.NDArray[np.float64]


def round_to_inputs(exact: Array, nearest: Array, inputs: Iterable[Array]) -> tuple[Array, Array]:
    """Every weight rounded up or down, whichever changes its layer's output least.

    Args:
        exact: weights in units of their scale, ``[out, in / groups, kernel height, kernel width]`` or ``[out, in]``.
        nearest: the same, rounded to nearest.
        inputs: what the weights are multiplied by, ``[groups, n, weights of a channel]``, in the order of ``exact``; a
            batch at a time.

    Returns:
        The codes, of the shape of ``exact``, and ``[out]`` what a sum loses by the rounding on average: a bias takes it
        up.
    """
    order = kernel_order(np.arange(exact[0].size, dtype=np.float64).reshape(1, *exact.shape[1:]))[0].astype(np.intp)
    wanted, codes = (part.reshape(len(exact), -1)[:, order] for part in (exact, nearest))
    means, covariances = _moments(inputs, order)
    lost = np.empty(len(exact))
    for channels, mean, covariance in zip(np.split(np.arange(len(exact)), len(means)), means, covariances, strict=True):
        codes[channels] = round_to_fit(wanted[channels], codes[channels], covariance)
        lost[channels] = (wanted[channels] - codes[channels]) @ mean
    found = np.empty_like(codes)
    found[:, order] = codes
    return found.reshape(exact.shape), lost


def round_to_fit(exact: Array, codes: Array, covariance: Array) -> Array:
    """Of the integers next to ``exact`` those with the least error in the layer's output, by coordinate descent.

    One input after another, in all output channels at once, takes the code that is best beside all others as they are,
    until none changes. So the error of a channel, ``e @ covariance @ e`` with e the errors of its codes, never grows;
    nor do sums of neighbours, beyond what `cifar_edge.export.calibration.weight_scales` promises.

    Args:
        exact: weights in units of their scale, ``[output channels, inputs]``, inputs in the order of kernels.
        codes: where to start: `exact` rounded to nearest.
        covariance: of the inputs, ``[inputs, inputs]``.
    """
    codes = codes.copy()
    low, high = (part(exact).clip(-LARGEST_WEIGHT, LARGEST_WEIGHT) for part in (np.floor, np.ceil))
    slope = (exact - codes) @ covariance
    for _ in range(_PASSES):
        before = codes.copy()
        for index in np.flatnonzero(np.diagonal(covariance) > _LEAST_VARIANCE):
            neighbour = index ^ 1
            beside = codes[:, neighbour] if neighbour < codes.shape[1] else 0.0
            best = np.rint(codes[:, index] + slope[:, index] / covariance[index, index])
            best = best.clip(low[:, index], high[:, index]).clip(-_LARGEST_PAIR - beside, _LARGEST_PAIR - beside)
            slope -= np.outer(best - codes[:, index], covariance[index])
            codes[:, index] = best
        if np.array_equal(codes, before):
            break
    return codes


def _moments(inputs: Iterable[Array], order: npt.NDArray[np.intp]) -> tuple[Array, Array]:
    """Mean ``[groups, inputs]`` and covariance ``[groups, inputs, inputs]`` of ``inputs``, put into ``order``."""
    count, total, products = 0, np.zeros(()), np.zeros(())
    for batch in inputs:
        count += batch.shape[1]
        total = total + batch.sum(1)
        products = products + batch.transpose(0, 2, 1) @ batch
    means = total / count
    covariances = products / count - means[:, :, None] * means[:, None, :]
    return means[:, order], covariances[:, order][:, :, order]
