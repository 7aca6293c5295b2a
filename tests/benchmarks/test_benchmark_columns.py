"""What benchmarks/int8/columns.py compares: two graphs of the same integers, one of them in columns."""

import numpy as np

from benchmarks.int8.columns import forms
from benchmarks.int8.forms import session
from cifar_edge.data import Dataset
from cifar_edge.export.integers import quantize
from cifar_edge.spec import INPUT_NAME
from cifar_edge.training.checkpoint import load_network


def test_forms_are_one_function(sample: Dataset) -> None:
    folded = load_network("gn-cnn-max").folded
    assert folded is not None
    graphs = forms(quantize(folded.layers, sample.train_images, fit=False))
    assert ["Pad" in {node.op_type for node in graph.graph.node} for graph in graphs.values()] == [False, True]
    run = {INPUT_NAME: sample.test_images[:50]}
    plain, in_columns = (session(graph.SerializeToString()).run(None, run)[0] for graph in graphs.values())
    assert np.array_equal(plain, in_columns)
