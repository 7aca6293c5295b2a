"""What tests/files/tiny.onnx answers, computed in numpy; made by make_tiny_model.py."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

TINY = Path(__file__).parent / "files" / "tiny.onnx"

_RANDOM = np.random.RandomState(0)  # the one generator whose numbers are fixed for all time
WEIGHTS = _RANDOM.uniform(-1, 1, (3, 10)).astype(np.float32)
BIAS = _RANDOM.uniform(-1, 1, 10).astype(np.float32)


def tiny_logits(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Logits ``[batch, 10]`` of pixels ``[batch, 32, 32, 3]``."""
    colour = ((images.astype(np.float64) - 128) / 64).mean(axis=(1, 2))
    logits: npt.NDArray[np.float64] = colour @ WEIGHTS + BIAS
    return logits
