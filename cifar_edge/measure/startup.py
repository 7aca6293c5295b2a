"""What it costs a fresh process to be ready: ``python -m cifar_edge.measure.startup MODEL THREADS`` prints it as JSON.

A program of its own, because memory is a matter of the whole process: in one that has done anything before, the peak
would be that of what came before. For the same reason it imports nothing that classifying an image does not need.
"""

import json
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

from cifar_edge.runtime.classifier import Classifier
from cifar_edge.spec import IMAGE_CHANNELS

_STATUS = Path("/proc/self/status")


def main(model: str, threads: int) -> None:
    """Load ``model``, classify one image, and print what that took."""
    before = peak_memory()
    start = perf_counter()
    classifier = Classifier(model, threads)
    seconds = perf_counter() - start
    classifier.predict(np.zeros((classifier.size, classifier.size, IMAGE_CHANNELS), np.uint8))
    print(json.dumps({"creation_seconds": seconds, "imports_bytes": before, "peak_bytes": peak_memory()}))


def peak_memory() -> int | None:
    """The most physical memory this process ever held, in bytes; None where the system is not Linux.

    Linux keeps it as VmHWM. The usual ``getrusage`` would not do: its maximum is inherited from the parent process.
    """
    if not _STATUS.is_file():
        return None
    peaks = [line.split()[1] for line in _STATUS.read_text("utf-8").splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0]) * 1024 if peaks else None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
