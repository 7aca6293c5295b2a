"""Instructions that a network in C takes on a microcontroller, estimated from the work of its layers.

What each piece of work takes was fitted to counted instructions of drawn networks, by
``python -m benchmarks.microcontrollers.estimate``, which says how far such estimates are off.
"""

import numpy as np
import numpy.typing as npt

from cifar_edge.c.plan import Plan, Step, window_rows

WORK = ("codes", "sums", "rows", "columns", "depthwise codes", "depthwise sums", "other codes", "shifts")
"""Of plain convolutions: products of codes and weights, sums, rows of a window that a sum is made of, and codes of the
windows of all pixels. Of depthwise ones: products and sums. Codes of adds, pools and the last layer. Codes whose
factors have other shifts than 32."""

PROCESSORS: dict[str, tuple[int, bool]] = {
    "Cortex-M0": (1, False),
    "Cortex-M3": (1, False),
    "Cortex-M4": (4, False),
    "Cortex-M55": (16, True),
    "rv32imac": (1, False),
}
"""Processor -> the steps in which its kernels take the codes of a window, and whether they take rows of padding too:
then those are the steps of a whole window, else of a row. Cortex-M7 and M33 take what M4 takes."""

INSTRUCTIONS: dict[str, tuple[float, ...]] = {
    "Cortex-M0": (4.42, 83.2, 13.2, 3.16, 9.78, 113, 13.6, 79.1),
    "Cortex-M3": (2.31, 23.9, 9.36, 2.8, 4.91, 28.4, 8.8, 33.3),
    "Cortex-M4": (0.998, 9.13, 1.09, 1.73, 4.54, 10.3, 9.02, 57.1),
    "Cortex-M55": (0.123, 11.3, 1.95, 2.12, 1.23, 13.4, 10.2, 2.25),
    "rv32imac": (3.15, 28.8, 12.9, 6.48, 7.08, 15, 9.48, 19.5),
}
"""Processor -> instructions for each unit of `WORK`."""

_COUNTED = ("conv", "depthwise", "add", "global_pool", "sums")


def instructions(made: Plan) -> dict[str, int] | None:
    """Estimated instructions of an image by processor, to three digits, by the best kernels of each at -O2.

    None if nothing like one of the layers was counted.
    """
    if not all(_is_like_what_was_counted(step) for step in made.steps):
        return None
    return {name: int(float(f"{work(made, name) @ np.array(costs):.3g}")) for name, costs in INSTRUCTIONS.items()}


def work(made: Plan, processor: str) -> npt.NDArray[np.float64]:
    """How much of each kind of `WORK` the kernels of ``processor`` do for an image: float64 ``[8]``."""
    total = np.zeros(len(WORK))
    for step in made.steps:
        total += _work(made, step, *PROCESSORS[processor])
    return total


def _work(made: Plan, step: Step, block: int, whole: bool) -> npt.NDArray[np.float64]:
    rows, columns, channels = step.shape
    given, out = made.activations[step.inputs[0]].shape, rows * columns * channels
    read = columns * sum(len(window_rows(made, step, row)) for row in range(rows))
    length = step.kernel[1] * given[2]
    shifted = out if step.has_shifts else 0
    if step.kind == "depthwise":
        return np.array([0, 0, 0, 0, read * step.kernel[1] * channels, out, 0, shifted])
    if step.kind == "conv":
        codes = read * _padded(length, block)
        if whole:
            codes = rows * columns * _padded(step.kernel[0] * length, block)
        return np.array([codes * channels, out, read * channels, codes, 0, 0, 0, shifted])
    others = {"sums": 0 if step.weights is None else step.weights.size, "global_pool": given[0] * given[1] * given[2]}
    return np.array([0, 0, 0, 0, 0, 0, others.get(step.kind, out), shifted])


def _padded(length: int, block: int) -> int:
    return -(-length // block) * block


def _is_like_what_was_counted(step: Step) -> bool:
    whole = step.kind != "depthwise" or step.shape[2] % 4 == 0
    clipped = step.output is not None and step.output.largest < 255
    slow = step.is_float32 and step.kind != "global_pool"  # a pool has few sums
    return step.kind in _COUNTED and whole and not clipped and not slow
