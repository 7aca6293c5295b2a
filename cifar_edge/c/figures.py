"""What a network in C costs on a device: RAM, flash, multiply-accumulates, and about how many instructions."""

from typing import Any

from cifar_edge.c import estimate
from cifar_edge.c.plan import CONVOLUTIONS, Plan, plan
from cifar_edge.c.tables import bias_type
from cifar_edge.integer import IntegerNetwork

_ROW_COUNTER = 2  # uint16 for each activation
_LAYER, _ACTIVATION, _PLACE = 40, 12, 2  # bytes of an entry in the tables, with pointers of 32 bits
_CODE = 3000  # bytes of plain C for a Cortex-M, at -O2


def figures(network: IntegerNetwork) -> dict[str, Any]:
    """Bytes and multiply-accumulates of ``network`` in plain C, and estimated instructions, as JSON values.

    Raises:
        TypeError: the network has no form in C.
    """
    made = plan(network)
    return {
        "state_bytes": state_bytes(made),
        "flash_bytes": flash_bytes(made),
        "macs": network.summary().macs,
        "estimated_instructions": estimate.instructions(made),
    }


IMAGES = 10
"""Number of images of a self-test."""


def selftest_bytes(made: Plan, images: int = IMAGES) -> int:
    """Flash of the self-test: the network, so many images, their logits and checksums."""
    rows, columns, channels = made.activations[0].shape
    return flash_bytes(made) + images * (rows * columns * channels + 4 * (made.steps[-1].shape[2] + len(made.steps)))


def state_bytes(made: Plan) -> int:
    """``sizeof`` the state of an image."""
    sums = made.sum_bytes * made.sum_count
    return -(-(-(-made.memory // 4) * 4 + sums + _ROW_COUNTER * len(made.steps)) // 4) * 4


def flash_bytes(made: Plan) -> int:
    """Weights, biases, multipliers, shifts and tables, as plain C needs them, and about as much code as it has."""
    total = _CODE + len(made.steps) * (_LAYER + _ACTIVATION)
    total += _PLACE * sum(len(activation.rows) for activation in made.activations)
    bias_bytes = bias_type(made).itemsize
    for step in made.steps:
        if step.kind in CONVOLUTIONS and step.weights is not None:
            total += step.weights.size + bias_bytes * len(step.weights)
        if step.factors is not None:
            total += (5 if step.has_shifts else 4) * len(step.factors)
    return total
