"""Measures the start-up cost of a fresh process.

``python -m cifar_edge.measure.startup MODEL THREADS ENGINE`` prints it as JSON. It is a separate program because peak
memory belongs to a process: anything else that the process did would count. For the same reason it imports only what
classifying an image needs.
"""

import json
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

from cifar_edge.runtime.classifier import Classifier
from cifar_edge.spec import IMAGE_CHANNELS

_STATUS = Path("/proc/self/status")


def main(model: str, threads: int, engine: str) -> None:
    """Load ``model``, classify one image, and print time and memory."""
    before = peak_memory()
    start = perf_counter()
    classifier = Classifier(model, threads, engine)
    seconds = perf_counter() - start
    classifier.predict(np.zeros((classifier.size, classifier.size, IMAGE_CHANNELS), np.uint8))
    print(json.dumps({"creation_seconds": seconds, "imports_bytes": before, "peak_bytes": peak_memory()}))


def peak_memory() -> int | None:
    """The peak physical memory of this process, in bytes; None on other systems than Linux.

    Linux has it as VmHWM. The maximum of ``getrusage`` would not do, since it is inherited from the parent process.
    """
    if not _STATUS.is_file():
        return None
    peaks = [line.split()[1] for line in _STATUS.read_text("utf-8").splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0]) * 1024 if peaks else None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
