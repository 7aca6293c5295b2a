"""What columns of four pixels save: gn-cnn-max's int8 graph with its first layer in columns, and in the plain form.

    python -m benchmarks.int8.columns
    python -m benchmarks.processors.avx2 python -m benchmarks.int8.columns

Both hold the same integers, made from the embedded sample. They take turns within one run, batch 1, one thread.
"""

from statistics import median
from unittest.mock import patch

import numpy as np
import onnxruntime
from onnx import ModelProto

from benchmarks.int8.forms import session
from cifar_edge.data import load_dataset
from cifar_edge.export.integers import quantize
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.integer import IntegerNetwork, columns
from cifar_edge.measure.timing import machine, time_alternately
from cifar_edge.spec import INPUT_NAME
from cifar_edge.training.checkpoint import load_network

RUNS, ROUNDS = 5, 100


def forms(network: IntegerNetwork) -> dict[str, ModelProto]:
    """The graph of ``network`` in the plain form and, if that suits its first layer, in columns."""
    with patch.object(columns, "suit", return_value=False):
        plain = integer_graph(network)
    return {"plain": plain, "in columns": integer_graph(network)}


def main() -> None:
    """Measure, and print the ratio of each run and their median."""
    folded, dataset = load_network("gn-cnn-max").folded, load_dataset("sample")
    assert folded is not None
    contents = {
        form: model.SerializeToString() for form, model in forms(quantize(folded.layers, dataset.train_images)).items()
    }
    sessions = {form: session(content) for form, content in contents.items()}
    logits = [each.run(None, {INPUT_NAME: dataset.test_images})[0] for each in sessions.values()]
    assert np.array_equal(*logits)
    print(f"{machine()}, onnxruntime {onnxruntime.__version__}, one thread, batch 1, median of {RUNS} runs\n")
    ratios = []
    for _ in range(RUNS):
        timings = time_alternately(sessions, dataset.test_images, rounds=ROUNDS)
        plain, in_columns = (timings[form].p50_seconds for form in sessions)
        ratios.append(in_columns / plain)
        print(f"plain {plain * 1e6:6.1f} us, in columns {in_columns * 1e6:6.1f} us, {ratios[-1]:.3f}")
    sizes = {form: f"{len(content):,} B" for form, content in contents.items()}
    print(f"\nin columns {median(ratios):.3f} of the latency; {sizes['plain']} and {sizes['in columns']}")


if __name__ == "__main__":
    main()
