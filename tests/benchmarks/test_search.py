import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import CHECKOUT
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import results_file
from benchmarks.search import __main__ as search
from benchmarks.search import others, plot
from benchmarks.search import results as search_results
from benchmarks.search import space as search_space
from benchmarks.search.results import Row
from cifar_edge.data import Dataset
from cifar_edge.errors import DataError, ModelError
from cifar_edge.export.integers import quantize
from cifar_edge.folding.fold import fold
from cifar_edge.models.gn_cnn import (
    EARLIER_GN_CNN_LAYERS,
    GN_CNN_LAYERS,
    GN_CNN_MAX_LAYERS,
    GN_CNN_NANO_LAYERS,
    GnCnn,
    Layer,
)
from cifar_edge.models.summary import count_macs

ROWS = results_file.read(search_results.RESULTS, Row)
SMALL = "c8k4s4,n8,d,p12"

odd_layer = st.builds(
    Layer, st.integers(1, 999), st.sampled_from([3, 5, 7]), st.integers(1, 3), st.just(False), st.booleans()
)
pointwise_layer = st.builds(Layer, st.integers(1, 999), st.just(1), st.integers(1, 3))
even_layer = st.builds(Layer, st.integers(4, 999), st.sampled_from([2, 4]), st.just(2))
depthwise_layer = st.builds(Layer, st.just(3), st.sampled_from([3, 5]), st.integers(1, 2), st.just(True), st.just(True))


@st.composite
def networks(draw: st.DrawFn) -> tuple[Layer, ...]:
    """Layers that fit on each other: depthwise ones come first, where the channels are those of the image."""
    first = draw(st.lists(depthwise_layer, max_size=2))
    return (*first, *draw(st.lists(odd_layer | pointwise_layer, min_size=1, max_size=6)))


@given(networks())
def test_specs_and_layers_are_one(layers: tuple[Layer, ...]) -> None:
    assert search_space.parse(search_space.write(layers)) == layers


@given(even_layer)
def test_even_kernels_too(layer: Layer) -> None:
    assert search_space.parse(search_space.write([layer])) == (layer,)


def test_what_the_words_mean() -> None:
    assert search_space.parse("c32k4s2,n32,n32,n32s2,n32,n28,p64") == EARLIER_GN_CNN_LAYERS
    assert search_space.parse("c16,n24k5s2,d,dk5s2,p32s2") == (
        Layer(16, pointwise=True),
        Layer(24, kernel=5, stride=2),
        Layer(24, depthwise=True, pointwise=True),
        Layer(24, kernel=5, stride=2, depthwise=True, pointwise=True),
        Layer(32, kernel=1, stride=2),
    )
    assert search_space.canonical("c32k3,c16k2s2") == "c32,c16k2s2"
    assert search_space.parse("n16,(e,q16),(p16),es2") == (
        Layer(16),
        Layer(16, depthwise=True),
        Layer(16, kernel=1, identity=False, residual=2),
        Layer(16, kernel=1, residual=1),
        Layer(16, stride=2, depthwise=True),
    )


@pytest.mark.parametrize("layers", [GN_CNN_LAYERS, EARLIER_GN_CNN_LAYERS, GN_CNN_MAX_LAYERS, GN_CNN_NANO_LAYERS])
def test_every_size_of_gn_cnn_can_be_written(layers: tuple[Layer, ...]) -> None:
    assert search_space.parse(search_space.write(layers)) == layers


BAD = {
    "": "is not a layer",
    "c32,": "is not a layer",
    "c32,x8": "'x8' is not a layer",
    "c32 ,n32": "is not a layer",
    "c0": "is not a layer",
    "d32": "is not a layer",
    "c32k1": "is not a layer",
    "p64k3": "takes no k",
    "c32s9": "is not a layer",
    "n32k4s2": "write c instead of n",
    "c32,c32k4": "give a stride",
    "c8s4,c8s4,c8s4,c8k4s2": "larger than its input of 1x1",
    "q64k3": "takes no k",
    "c8,(d,p8": "not closed",
    "c8,((d,p8))": "is not a layer",
    "c8,d,p8)": "is not a layer",
}


@pytest.mark.parametrize("spec", BAD)
def test_bad_specs_are_errors(spec: str) -> None:
    with pytest.raises(ModelError, match=BAD[spec]):
        search_space.parse(spec)


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(ModelError, match=r"30 channels .* group size 4"):
        search_space.candidate("c32k4s2,n30")


@pytest.mark.parametrize("spec", sorted({row.spec for row in ROWS}))
def test_every_row_costs_what_it_says(spec: str, sample: Dataset) -> None:
    """Recomputed from a real network and its real folded form."""
    torch.manual_seed(0)
    network = GnCnn(10, search_space.parse(spec), group_size=4).eval().requires_grad_(False)
    folded = fold(network, torch.from_numpy(sample.train_images[:4]))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    activation_bytes = quantize(folded.layers, sample.train_images[:4], fit=False).summary().activation_bytes
    costs = {(row.parameters, row.macs, row.activation_bytes) for row in ROWS if row.spec == spec}
    assert costs == {(parameters, count_macs(folded), activation_bytes)}


def test_the_rows_are_sound() -> None:
    assert len({row.training for row in ROWS}) == len(ROWS)
    released = [row for row in ROWS if row.spec == search_results.REFERENCE]
    assert {row.latency_ratio for row in released} == {1.0}
    for row in ROWS:
        assert search_space.canonical(row.spec) == row.spec
        assert 0.1 < row.held_out_accuracy < row.train_accuracy < 1
        assert row.latency_ratio is not None
        assert 0.2 < row.latency_ratio < 5
        assert (row.teacher == "") == (row.temperature is None) == (row.distillation_weight is None)
        assert (row.group_size is None) == (row.note != "")
        assert {other.latency_ratio for other in ROWS if other.spec == row.spec} == {row.latency_ratio}


def test_the_file_is_as_it_would_be_written(tmp_path: Path) -> None:
    results_file.write(tmp_path / "again.csv", Row, ROWS)
    assert (tmp_path / "again.csv").read_bytes() == search_results.RESULTS.read_bytes()


@pytest.mark.parametrize(("old", "new"), [("spec,", "name,"), (",epochs", ""), (",48586,", ",many,"), (",0.1", ",,")])
def test_a_damaged_file_is_an_error(tmp_path: Path, old: str, new: str) -> None:
    damaged = tmp_path / "search.csv"
    damaged.write_text(search_results.RESULTS.read_text().replace(old, new))
    with pytest.raises(DataError, match=r"search\.csv"):
        results_file.read(damaged, Row)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty file of results."""
    monkeypatch.setattr(search_results, "RESULTS", tmp_path / "search.csv")
    monkeypatch.setattr(search, "HOLDOUT", 100)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path / "search.csv"
    torch.set_num_threads(threads)


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(search.main, arguments)


def _train(*arguments: str) -> Result:
    quick = ("--set", "epochs=1", "--set", "batch_size=50", "--data", "sample", "--device", "cpu")
    return _run("accuracy", *arguments, *quick)


def test_what_is_there_is_not_trained_again(results: Path) -> None:
    first = _train(SMALL)
    assert first.exit_code == 0, first.output
    (row,) = results_file.read(results, Row)
    assert (row.spec, row.epochs, row.group_size, row.seed, row.device) == (SMALL, 1, 4, 0, "cpu")
    assert row.latency_ratio is None
    before = results.read_bytes()
    again = _train(SMALL)
    assert "already" in again.stderr
    assert again.stdout == ""
    assert results.read_bytes() == before
    assert _train(SMALL, "c8k4s4", "--group-size", "2").exit_code == 0
    assert _train(SMALL, "--set", "crop=2").exit_code == 0
    rows = results_file.read(results, Row)
    assert [(row.spec, row.group_size, row.crop) for row in rows] == [
        (SMALL, 4, 4),
        (SMALL, 2, 4),
        ("c8k4s4", 2, 4),
        (SMALL, 4, 2),
    ]


def test_latencies_go_into_the_rows(results: Path) -> None:
    _train(SMALL)
    timed = _run("latency", "c16k4s4,n16s2", "--rounds", "1")
    assert timed.exit_code == 0, timed.output
    assert {line.split()[-1] for line in timed.stdout.splitlines()} == {
        "spec",
        "c16k4s4,n16s2",
        search_results.REFERENCE,
    }
    assert results_file.read(results, Row)[0].latency_ratio is None
    assert _run("latency", "--rounds", "1").exit_code == 0
    (row,) = results_file.read(results, Row)
    assert row.latency_ratio is not None
    assert row.latency_ratio > 0
    _train(SMALL, "--set", "seed=1")
    assert results_file.read(results, Row)[1].latency_ratio == row.latency_ratio


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
def test_instructions_are_counted(results: Path) -> None:
    counted = _run("instructions", SMALL)
    assert counted.exit_code == 0, counted.output
    (_, small, spec), (_, reference, reference_spec) = (line.split() for line in counted.stdout.splitlines())
    assert (spec, reference_spec, float(reference)) == (SMALL, search_results.REFERENCE, 1)
    assert 0.05 < float(small) < 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        ("latency", "c32,x8"),
        ("instructions", "c32,x8"),
        ("accuracy", "c32k4s2,n30", "--data", "sample"),
        ("accuracy", "c8k4s4", "--set", "momentum=0.5", "--data", "sample"),
        ("accuracy", "c8k4s4", "--set", "crop=many", "--data", "sample"),
        ("accuracy", "c8k4s4", "--set", "teacher=nowhere", "--data", "sample"),
    ],
)
def test_errors_are_one_line(results: Path, arguments: tuple[str, ...]) -> None:
    failed = _run(*arguments)
    assert failed.exit_code == 1
    assert failed.stderr.startswith("Error: ")
    assert failed.stderr.count("\n") == 1
    assert not results.exists()


def test_the_front_is_what_nothing_beats() -> None:
    front = plot.pareto_front(ROWS)
    for row in ROWS:
        beaten = any(
            (other.latency_ratio or 0) <= (row.latency_ratio or 0)
            and other.held_out_accuracy >= row.held_out_accuracy
            and (other.latency_ratio, other.held_out_accuracy) != (row.latency_ratio, row.held_out_accuracy)
            for other in ROWS
        )
        on_it = any((row.latency_ratio, row.held_out_accuracy) == (o.latency_ratio, o.held_out_accuracy) for o in front)
        assert on_it != beaten


def test_the_plot_shows_every_row() -> None:
    released, published = others.released_networks(), others.published()
    search_axes, macs, parameters = plot.draw(ROWS, released, published).axes
    shown = np.concatenate([np.asarray(dots.get_offsets()) for dots in search_axes.collections])
    wanted = np.array([(row.latency_ratio, row.held_out_accuracy * 100) for row in ROWS])
    np.testing.assert_allclose(shown[np.lexsort(shown.T)], wanted[np.lexsort(wanted.T)])
    for axes, cost in ((macs, "macs"), (parameters, "parameters")):
        points = [tuple(np.asarray(dots.get_offsets())[0]) for dots in axes.collections]
        known = [network for network in (*released, *published) if getattr(network, cost)]
        assert points == [(getattr(network, cost), network.test_accuracy * 100) for network in known]
        assert [text.get_text() for text in axes.texts] == [network.name for network in known]


def test_the_released_networks_are_within_their_bounds() -> None:
    known = {network.name: network for network in others.released_networks()}
    assert {"gn-cnn", "gn-cnn-nano"} <= set(known)
    for network in known.values():
        assert network.parameters < 50_000
        assert 0.8 < network.test_accuracy < 1


@pytest.mark.parametrize("row", others.elsewhere(), ids=lambda row: row.spec)
def test_what_was_measured_elsewhere_costs_what_it_says(row: others.Elsewhere) -> None:
    costs = search_space.costs(row.spec)
    assert search_space.canonical(row.spec) == row.spec
    assert (costs.macs, costs.activation_bytes) == (row.macs, row.activation_bytes)
    assert (row.epochs is None) == (row.held_out_accuracy is None)


def test_the_documentation_shows_the_rows() -> None:
    rows = {
        f"| `{row.spec}` | {row.epochs} | {row.teacher or '-'} | {row.latency_ratio:.2f} | {row.parameters:,} "
        f"| {row.macs / 1e6:.2f} M | {row.held_out_accuracy:.1%} | {row.train_accuracy:.1%} |"
        for row in ROWS
    }
    lines = (CHECKOUT / "docs" / "search.md").read_text().splitlines()
    shown = [line for line in lines if line.startswith("| `")]
    assert len(shown) > 20
    assert set(others.table(others.elsewhere()).splitlines()[2:]) <= set(shown)
    assert set(shown) <= rows | set(others.table(others.elsewhere()).splitlines())
    assert others.known_table(others.published()) in "\n".join(lines)
