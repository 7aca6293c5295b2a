"""What runs on the other processor: a model's logits for images, of which the file is written.

    python benchmarks/processors/answer.py MODEL.onnx IMAGES.npy LOGITS.npy

It is started as a file, since nothing but numpy and onnxruntime need be installed there.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main(model: Path, images: Path, logits: Path) -> None:
    """Classify ``images``, one at a time, into ``logits``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    np.save(logits, np.concatenate([session.run(["logits"], {"image": image[None]})[0] for image in np.load(images)]))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
