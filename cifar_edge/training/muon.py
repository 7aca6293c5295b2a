"""Muon: an optimiser that orthogonalises the momentum of each weight matrix."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration, chosen by its author for speed: singular values end between 0.7 and 1.2."""
_TINY = 1e-12


class Muon:
    """Nesterov momentum, orthogonalised (Jordan 2024, https://kellerjordan.github.io/posts/muon).

    The weights of a convolution are a matrix with a row for each output channel. All singular values of its momentum
    are set to about 1, so that rare directions are learned as fast as common ones. A step moves the weights by ``rate``
    times their norm, then restores that norm. In gn-cnn a GroupNorm follows every convolution, so the norm of weights
    has no effect on the output, and no weight decay is needed.

    Args:
        weights: of convolutions, float ``[out, in, height, width]``; each has a gradient at each `step`.
        rate: scalar tensor, read at each step.
        momentum: in [0, 1).

    Attributes:
        state: weight -> its ``momentum_buffer``, in the form of PyTorch's optimisers: all that later steps depend on.
    """

    def __init__(self, weights: Sequence[nn.Parameter], rate: Tensor, momentum: float) -> None:
        self._rate, self._momentum = rate, momentum
        self.state = {weight: {"momentum_buffer": torch.zeros_like(weight, requires_grad=False)} for weight in weights}

    @torch.no_grad()
    def step(self) -> None:
        """Move all weights by one step."""
        for weight, state in self.state.items():
            assert weight.grad is not None
            momentum = state["momentum_buffer"].mul_(self._momentum).add_(weight.grad)
            ahead = orthogonalized((weight.grad + self._momentum * momentum).flatten(1)).view_as(weight)
            norm = weight.norm()
            weight.sub_(ahead * (self._rate * norm / ahead.norm().clamp_min(_TINY)))
            weight.mul_(norm / weight.norm().clamp_min(_TINY))


def orthogonalized(matrix: Tensor) -> Tensor:
    """The ``matrix`` with all singular values set to about 1, by a Newton-Schulz iteration.

    Args:
        matrix: float32 ``[rows, columns]``.

    Returns:
        float32 ``[rows, columns]``, with singular values between 0.7 and 1.2, except those near zero.
    """
    a, b, c = _COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    wide = wide / wide.norm().clamp_min(_TINY)
    for _ in range(_ITERATIONS):
        gram = wide @ wide.mT
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.mT
