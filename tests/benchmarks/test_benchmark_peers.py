"""What benchmarks/peers/ publishes: its table and plot, which docs/peers.md shows; and our integers as its peers."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import CHECKOUT

pytest.importorskip("matplotlib")

from benchmarks import results_file
from benchmarks.peers import __main__ as peers_benchmark
from benchmarks.peers.devices import in_ncnn
from benchmarks.peers.ncnn_files import ncnn_files
from benchmarks.peers.ours import exported_network, in_c, in_litert, in_our_runtime
from benchmarks.peers.report import Result, pareto_front, plot, table
from cifar_edge.data import load_dataset
from cifar_edge.errors import CannotRun
from cifar_edge.integer import IntegerNetwork
from cifar_edge.integer.layers import Conv, MaxPool
from cifar_edge.runs.resolve import precisions_beside, resolve_model, resolve_run
from cifar_edge.training.checkpoint import load_network

FAST = Result(
    name="cifar-edge, int8",
    network="gn-cnn",
    runtime="onnxruntime 1.32.0",
    precision="int8",
    parameters=49_158,
    macs=6_865_792,
    size=52_858,
    accuracy=0.8921,
    accuracy_low=0.8859,
    accuracy_high=0.8981,
    images=10_000,
    p50_us=39.04,
    ratio=1.0,
    machine="a machine",
)
EXACT = replace(FAST, name="exact", accuracy=0.9, p50_us=100.0)
BEATEN = replace(FAST, name="beaten", accuracy=0.88, p50_us=50.0)


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    assert pareto_front([EXACT, BEATEN, FAST]) == [FAST, EXACT]
    as_fast = replace(FAST, name="as fast, less accurate", accuracy=0.7)
    assert pareto_front([as_fast, FAST]) == [FAST]


def test_a_line_of_the_table() -> None:
    assert table([FAST]).splitlines()[-1] == (
        "| cifar-edge, int8 | onnxruntime 1.32.0 | gn-cnn | int8 | 49,158 | 6.9 M | 53 kB | 89.21% | 39.0 us | 1.00 |"
    )


def test_the_plot_names_every_peer() -> None:
    axes = plot([FAST, EXACT, BEATEN]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["cifar-edge, int8: 39 us", "beaten: 50 us", "exact: 100 us"]
    assert np.asarray(axes.lines[-1].get_xydata()).tolist() == [[39.04, 89.21], [100.0, 90.0]]


@pytest.mark.parametrize("file", ["results.csv", "avx2.csv"])
def test_the_documentation_shows_the_measured_results(file: str) -> None:
    results = results_file.read(CHECKOUT / "benchmarks" / "peers" / file, Result)
    assert results
    text = (CHECKOUT / "docs" / "peers.md").read_text()
    assert table(results) in text
    words = " ".join(text.split())
    assert all(result.runtime in words and result.machine in words for result in results)


def test_our_integers_answer_alike_in_every_runtime() -> None:
    trained, images = load_network(resolve_run("gn-cnn").path), load_dataset("sample").test_images
    file = precisions_beside(resolve_model("gn-cnn").path)[-1]
    peers = [make(file, trained) for make in (in_our_runtime, in_litert, in_c)]
    started = [peer.start() for peer in peers]
    classes = np.array([[classify(image[None]).argmax() for image in images] for classify in started])
    assert (classes[1] == classes[0]).mean() > 0.99
    np.testing.assert_array_equal(classes[2], classes[0])
    assert {peer.network for peer in peers} == {exported_network(file, trained)}
    assert len({(peer.name, peer.runtime) for peer in peers}) == 3


def test_peers_are_measured_beside_our_int8_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_benchmark, "ROUNDS", 1)
    trained, dataset = load_network(resolve_run("gn-cnn-nano").path), load_dataset("sample")
    files = precisions_beside(resolve_model("gn-cnn-nano").path)
    results = peers_benchmark.measure([in_our_runtime(file, trained) for file in files], dataset)
    assert [(each.name, each.images) for each in results] == [
        ("cifar-edge, fp32", len(dataset.test_images)),
        ("cifar-edge, int8", len(dataset.test_images)),
    ]
    assert results[-1].ratio == 1
    assert results[0].parameters > results[1].parameters
    assert all(each.accuracy_low < each.accuracy < each.accuracy_high for each in results)
    assert all(each.accuracy > 0.7 and each.p50_us > 0 for each in results)


@pytest.mark.parametrize("model", ["gn-cnn", "gn-cnn-nano"])
def test_ncnn_has_nearly_the_same_answers(model: str) -> None:
    pytest.importorskip("ncnn")
    trained, images = load_network(resolve_run(model).path), load_dataset("sample").test_images
    file = precisions_beside(resolve_model(model).path)[-1]
    peer = in_ncnn(file, exported_network(file, trained))
    ours, theirs = (
        np.array([classify(image[None]).reshape(10) for image in images])
        for classify in (in_our_runtime(file, trained).start(), peer.start())
    )
    assert theirs.shape == ours.shape
    assert (theirs.argmax(axis=1) == ours.argmax(axis=1)).mean() > 0.95
    np.testing.assert_allclose(theirs, ours, atol=1.5)


def test_the_files_for_ncnn_hold_the_weights_and_join_the_layers() -> None:
    network = IntegerNetwork.from_onnx(precisions_beside(resolve_model("gn-cnn-nano").path)[-1])
    files = ncnn_files(network)
    magic, counts, *lines = files.graph.splitlines()
    layers, blobs = map(int, counts.split())
    assert magic == "7767517"
    assert layers == len(lines) == blobs
    assert [line.split()[0] for line in lines] == [
        "Input", "Convolution", "Convolution", "ConvolutionDepthWise", "Convolution", "Pooling", "InnerProduct",
    ]  # fmt: skip
    given = [line.split()[4] for line in lines[1:]]
    assert given == ["image", *(line.split()[5] for line in lines[1:-1])]
    weights = [layer.weights.tobytes() for layer in network.layers if isinstance(layer, Conv)]
    assert len(weights) == 4
    assert all(each in files.numbers for each in weights)


def test_a_layer_that_is_not_written_for_ncnn_is_named() -> None:
    network = IntegerNetwork.from_onnx(precisions_beside(resolve_model("gn-cnn-nano").path)[-1])
    first, *others = network.layers
    with pytest.raises(CannotRun, match="MaxPool is not written for ncnn"):
        ncnn_files(replace(network, layers=(first, MaxPool((2, 2), (2, 2)), *others)))
