"""What an integer network costs: its summary, in Python and as `cifar-edge summary` prints it."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import run_in_base_install
from click.testing import CliRunner
from export_helpers import NETWORKS, write_run

from cifar_edge import c
from cifar_edge.cli.main import main
from cifar_edge.data import Dataset
from cifar_edge.export.graphs import serialize
from cifar_edge.export.integers import quantize
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.files import released
from cifar_edge.folding.gn_cnn import unfitted
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.integer import Conv, IntegerNetwork, Linear, Quantization, Residual
from cifar_edge.models.gn_cnn import GnCnn, Layer
from cifar_edge.models.summary import summarize
from cifar_edge.spec import CIFAR10_LABELS, ModelMetadata
from cifar_edge.training.checkpoint import load_network

INT8 = released("export/gn-cnn-nano/gn-cnn-nano.int8.onnx")
ABOUT = ModelMetadata("gn-cnn", "int8", CIFAR10_LABELS, 1, 1, "0" * 64, None, 0, {}, "now")


@pytest.fixture(scope="module")
def integers(folded: FoldedNetwork, sample: Dataset) -> IntegerNetwork:
    return quantize(folded.layers, sample.train_images[:8], fit=False)


def test_the_released_network_costs_what_it_does_in_float(integers: IntegerNetwork, folded: FoldedNetwork) -> None:
    summary, in_float = integers.summary(), summarize(folded)
    assert (summary.parameters, summary.macs) == (in_float.parameters, in_float.macs)


def test_the_rows_of_a_chain_are_few(sample: Dataset) -> None:
    stem, body = Layer(32, kernel=4, stride=2), (Layer(32), Layer(32), Layer(32, stride=2), Layer(32), Layer(28))
    folded = unfitted(GnCnn(10, (stem, *body, Layer(64, kernel=1))))
    summary = quantize(folded.layers, sample.train_images[:8], fit=False).summary()
    assert (summary.parameters, summary.macs) == (49_158, 6_922_880)
    # Four rows of the image, three of each activation that a 3x3 convolution reads, one before the 1x1, sums, logits.
    rows = 4 * 32 * 3 + 3 * (3 * 16 * 32) + 2 * (3 * 8 * 32) + 8 * 28
    assert summary.activation_bytes == rows + 2 * 64 + 64 + 4 * 10
    assert summary.weight_bytes == 49_158 - 262 + 262 * 4 + 252 * 5
    assert [layer.name for layer in summary.layers][-3:] == ["Conv-7", "AveragePool-1", "Linear-1"]


@pytest.mark.parametrize("name", NETWORKS)
def test_figures_are_those_of_the_network_in_float(name: str, sample: Dataset) -> None:
    network = NETWORKS[name]().eval().requires_grad_(False)
    integers = quantize(network, sample.train_images[:4], fit=False)
    summary, in_float = integers.summary(), summarize(network)
    assert (summary.parameters, summary.macs) == (in_float.parameters, in_float.macs)
    assert summary.layers[-1].output == (1, 1, 10)


def convolution(kernel: int, stride: int = 1) -> Conv:
    weights = np.zeros((3, 3, kernel, kernel), np.int8)
    padding = (kernel // 2,) * 4
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.int32)
    return Conv(weights, ones, zeros, (stride, stride), padding, 1, Quantization(np.float32(1)))


@pytest.mark.parametrize(
    ("layers", "shortcut", "rows"),
    [
        ((convolution(3),), (), 0),  # the kernel's rows are those that the shortcut still needs
        ((convolution(1), convolution(3)), (), 1),
        ((convolution(3), convolution(3), convolution(3)), (), 1),
        ((convolution(1), convolution(5)), (convolution(1),), 2),
        ((convolution(3, 2), convolution(3)), (convolution(1, 2),), 3),
        ((convolution(3),), (convolution(3),), 0),
        ((Residual((convolution(3),), (), Quantization(np.float32(1))), convolution(3)), (), 2),
    ],
)
def test_a_shortcut_waits_for_the_other_way(layers: tuple[Conv, ...], shortcut: tuple[Conv, ...], rows: int) -> None:
    residual = Residual(layers, shortcut, Quantization(np.float32(1)))
    size = residual.output_shape((32, 32, 3))
    head = Linear(np.zeros((2, int(np.prod(size))), np.int8), None, np.zeros(2, np.int32), None)
    summary = IntegerNetwork(32, (residual, head), np.float32(1)).summary()
    (found,) = (layer for layer in summary.layers if layer.name == "Residual-1")
    assert found.activation_bytes == rows * 32 * 3


def test_command_prints_that_of_a_file(integers: IntegerNetwork, tmp_path: Path) -> None:
    file = tmp_path / "gn-cnn.int8.onnx"
    file.write_bytes(serialize(integer_graph(integers), ABOUT))
    (tmp_path / "report.json").write_text("{}")
    for given in (file, tmp_path):
        result = CliRunner().invoke(main, ["summary", str(given)])
        assert result.exit_code == 0
        table, in_c = result.stdout.split("\nin C ")
        assert table == integers.summary().to_table()
        assert f"{c.figures(integers)['state_bytes'] / 1000:.1f} kB of RAM for the state of an image" in in_c
    record = json.loads(CliRunner().invoke(main, ["summary", str(file), "--json"]).stdout)
    assert record["activation_bytes"] == integers.summary().activation_bytes
    assert record["c"] == c.figures(integers)
    assert len(record["layers"]) == len(integers.layers)
    other = tmp_path / "gn-cnn.fp32.onnx"
    other.write_bytes(released("export/gn-cnn/gn-cnn.fp32.onnx").read_bytes())
    asked = CliRunner().invoke(main, ["summary", str(other)])
    assert (asked.exit_code, asked.stdout) == (1, "")
    assert "gn-cnn.fp32.onnx" in asked.stderr
    refused = CliRunner().invoke(main, ["summary", str(file), "--size", "64"])
    assert refused.exit_code == 2
    assert "a size of its own" in refused.stderr


def test_command_prints_both_of_an_exported_run(sample: Dataset, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "gn-cnn-nano", sample)
    in_float = CliRunner().invoke(main, ["summary", str(run)]).stdout
    folded = load_network(run).folded
    assert folded is not None
    integers = quantize(folded.layers, sample.train_images[:8], fit=False)
    (run / "export").mkdir()
    (run / "export" / "gn-cnn-nano.int8.onnx").write_bytes(serialize(integer_graph(integers), ABOUT))
    printed = CliRunner().invoke(main, ["summary", str(run)]).stdout
    assert printed.startswith(f"{in_float}\nexported in int8:\n\n{integers.summary().to_table()}\nin C ")
    record = json.loads(CliRunner().invoke(main, ["summary", str(run), "--json"]).stdout)
    assert record["int8"]["macs"] == integers.summary().macs


@pytest.mark.parametrize("columns", ["40", "50", "60"])
@pytest.mark.parametrize("name", ["gn-cnn", str(released("export/gn-cnn"))])
def test_a_narrow_terminal_shows_the_same_figures(name: str, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = CliRunner().invoke(main, ["summary", name]).stdout
    monkeypatch.setenv("COLUMNS", columns)
    narrow = CliRunner().invoke(main, ["summary", name]).stdout
    assert max(map(len, narrow.splitlines())) <= int(columns)
    assert set(wide.split()) == set(narrow.split())


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_command_refuses_other_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(content)
    result = CliRunner().invoke(main, ["summary", str(tmp_path / "other.onnx")])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_command_refuses_a_network_with_norms() -> None:
    result = CliRunner().invoke(main, ["summary", str(released("export/s8-group/s8-group.int8.onnx"))])
    assert result.exit_code == 1
    assert "is not an integer network" in result.stderr
    assert result.stderr.count("\n") == 1


def test_command_shows_the_int8_file_of_a_released_model_without_torch(tmp_path: Path) -> None:
    done = run_in_base_install("summary", "gn-cnn-nano", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "without the extra train" in done.stderr
    assert done.stdout == CliRunner().invoke(main, ["summary", str(INT8)]).stdout
    record = json.loads(run_in_base_install("summary", "gn-cnn-nano", "--json", "--quiet", cwd=tmp_path).stdout)
    assert record["macs"] == IntegerNetwork.from_onnx(INT8).summary().macs


@pytest.mark.parametrize("arguments", [["gn-cnn-nano", "--size", "64"], ["s8-layer"]])
def test_command_needs_torch_for_what_no_int8_file_shows(arguments: list[str], tmp_path: Path) -> None:
    done = run_in_base_install("summary", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'cifar-edge[train]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_command_knows_without_torch_what_is_no_network(tmp_path: Path) -> None:
    done = run_in_base_install("summary", "gn-cnn-nona", cwd=tmp_path)
    assert done.returncode == 2
    assert "no network is called 'gn-cnn-nona' (did you mean gn-cnn-nano?)" in done.stderr
