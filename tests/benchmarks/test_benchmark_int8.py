"""What benchmarks/int8/forms.py and benchmarks/int8/calibration.py publish: forms of one function, methods that work.

On x86 without VNNI two products are summed in 16 bits: that saturates where weights are not made for it (docs/int8.md).
"""

import numpy as np
import onnx
import pytest
from conftest import sums_in_16_bits
from export_helpers import answers
from torch import nn

from benchmarks.int8.calibration import ACTIVATIONS, WEIGHTS, least_divergence, percentile
from benchmarks.int8.forms import float_logits, integer_operators, nodes_run, session, tied, uint8_logits
from cifar_edge.data import Dataset
from cifar_edge.export.calibration import Histogram
from cifar_edge.export.integers import quantize
from cifar_edge.export.parity import Logits, compare, torch_logits
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.spec import INPUT_NAME


def test_forms_are_one_function(folded: FoldedNetwork, sample: Dataset) -> None:
    shipped = integer_graph(quantize(folded.layers, sample.train_images, fit=False))
    run = {INPUT_NAME: sample.test_images}
    logits = session(shipped.SerializeToString()).run(None, run)[0]
    low, high = float(logits.min()), float(logits.max())
    integers, floats, codes = integer_operators(shipped), float_logits(shipped), uint8_logits(shipped, low, high)
    for form in (integers, floats, codes):
        onnx.checker.check_model(form)
    assert np.array_equal(session(integers.SerializeToString()).run(None, run)[0], logits)
    assert np.abs(session(floats.SerializeToString()).run(None, run)[0] - logits).max() < 1e-5
    assert np.abs(session(codes.SerializeToString()).run(None, run)[0] - logits).max() <= 0.51 * (high - low) / 255
    convolutions = sum(isinstance(module, nn.Conv2d) for module in folded.modules())
    assert nodes_run(shipped.SerializeToString()) == nodes_run(integers.SerializeToString()) == convolutions + 5


def test_ties_are_of_the_two_best_logits() -> None:
    assert tied(np.array([[1, 3, 3], [3, 1, 1], [2, 1, 2], [0, 1, 2]], np.float32)) == 0.5


@pytest.mark.parametrize("method", ACTIVATIONS)
def test_methods_keep_the_classes(method: str, folded: FoldedNetwork, sample: Dataset) -> None:
    network = folded.layers
    integers = quantize(network, sample.train_images, choose_scale=ACTIVATIONS[method], fit=False)
    check(logits_of(integer_graph(integers), sample), folded, sample)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_other_weights_keep_the_classes(weights: str, folded: FoldedNetwork, sample: Dataset) -> None:
    integers = WEIGHTS[weights](folded.layers, sample.train_images)
    exact = answers(integers, sample.test_images)
    check(exact, folded, sample)
    logits = logits_of(integer_graph(integers), sample)
    if weights == "8 bits" and sums_in_16_bits():
        assert np.mean(logits.argmax(1) == exact.argmax(1)) < 0.9, "nothing saturates"
    else:
        assert np.array_equal(logits, exact)


def test_methods_on_a_known_histogram() -> None:
    counts = np.zeros(4096, np.int64)
    counts[:2048] = 1000
    counts[-1] = 1
    histogram = Histogram(counts, 8.0)
    assert percentile(histogram, 0.5) == pytest.approx(2.0 / 255, rel=0.002)  # a bin
    assert percentile(histogram, 1.0) == pytest.approx(8.0 / 255)


def test_least_divergence_clips_a_long_tail() -> None:
    counts = (1e6 * np.exp(-np.arange(4096) / 200)).astype(np.int64)  # the last half is empty but for one value
    counts[-1] += 1
    assert 1.0 / 255 < least_divergence(Histogram(counts, 8.0)) < 6.0 / 255


def logits_of(graph: onnx.ModelProto, sample: Dataset) -> Logits:
    logits: Logits = session(graph.SerializeToString()).run(None, {INPUT_NAME: sample.test_images})[0]
    return logits


def check(logits: Logits, folded: FoldedNetwork, sample: Dataset) -> None:
    comparison = compare(logits, torch_logits(folded, sample.test_images), sample.test_labels)
    assert comparison.agreement >= 0.95
    assert comparison.snr_db is not None
    assert comparison.snr_db > 15
