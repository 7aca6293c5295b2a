"""What is read back from an int8 file: the same network, or one line that says why not."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch
from export_helpers import NETWORKS
from onnx import ModelProto

from cifar_edge.data import Dataset
from cifar_edge.errors import CifarEdgeError, ContractError, ModelError
from cifar_edge.export.graphs import serialize
from cifar_edge.export.integers import quantize
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.files import released
from cifar_edge.integer import IntegerNetwork
from cifar_edge.runtime.model import load
from cifar_edge.spec import CIFAR10_LABELS, ModelMetadata

ABOUT = ModelMetadata("gn-cnn", "int8", CIFAR10_LABELS, 1, 1, "0" * 64, None, 0, {}, "now")


def changed(graph: ModelProto) -> Iterator[ModelProto]:
    """``graph`` with one node or constant of another kind, one at a time."""
    for place, node in enumerate(graph.graph.node):
        for change in ("no last input", "first input", "left out", "no attributes"):
            other = ModelProto()
            other.CopyFrom(graph)
            found = other.graph.node[place]
            if change == "no last input":
                del found.input[-1]
            elif change == "first input":
                found.input[0] = graph.graph.node[place // 2].output[0]
            elif change == "left out":
                del other.graph.node[place]
            else:
                del found.attribute[:]
            if other.graph.node != graph.graph.node or node.input != found.input:
                yield other
    for place in range(len(graph.graph.initializer)):
        other = ModelProto()
        other.CopyFrom(graph)
        other.graph.initializer[place].dims.append(1)
        yield other


@pytest.mark.parametrize("name", ["residuals", "pools", "columns"])
def test_other_graphs_are_one_line(name: str, sample: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval().requires_grad_(False)
    integers = quantize(network, sample.train_images[:4], fit=False)
    file, refused = tmp_path / "changed.onnx", 0
    for graph in changed(integer_graph(integers)):
        file.write_bytes(serialize(graph, ABOUT))
        try:
            IntegerNetwork.from_onnx(file)
        except CifarEdgeError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100
    file.write_bytes(serialize(integer_graph(integers), ABOUT))
    assert IntegerNetwork.from_onnx(file) == integers


def test_files_of_other_kinds_say_what_they_are(tmp_path: Path) -> None:
    for name in ("s8-group/s8-group.int8.onnx", "gn-cnn/gn-cnn.fp32.onnx"):
        with pytest.raises(ContractError, match="is not an integer network"):
            IntegerNetwork.from_onnx(released(f"export/{name}"))
    with pytest.raises(ModelError, match="there is no model file"):
        IntegerNetwork.from_onnx(tmp_path / "none.onnx")


def test_the_released_file_is_read_without_onnx_or_torch() -> None:
    file = released("export/gn-cnn/gn-cnn.int8.onnx")
    network = IntegerNetwork.from_onnx(file)
    about = load(file).metadata
    summary = network.summary()
    assert (network.size, len(network.head.weights)) == (32, 10)
    assert (summary.parameters, summary.macs) == (about.parameters, about.macs)
    onnx.checker.check_model(integer_graph(network), full_check=True)
