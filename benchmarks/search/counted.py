"""Runs ``.onnx`` files so often, each in a process of its own, to be counted by cachegrind: see instructions.py.

    valgrind --tool=cachegrind python benchmarks/search/counted.py FEW MANY FILE...

Prints process, file and runs of each, a line each. The processes are forks of one that has imported everything.
"""

import os
import sys

import numpy as np
import onnxruntime


def main() -> None:
    """Fork for each file and number of runs, one after the other."""
    few, many, *files = sys.argv[1:]
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    for file in files:
        for runs in (int(few), int(many)):
            process = os.fork()
            if process == 0:
                _run(file, image, runs)
                os._exit(0)
            os.waitpid(process, 0)
            print(process, runs, file)


def _run(file: str, image: "np.typing.NDArray[np.uint8]", runs: int) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    for _ in range(runs):
        session.run(None, {session.get_inputs()[0].name: image})


if __name__ == "__main__":
    main()
