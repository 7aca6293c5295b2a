"""Exported files: they compute what PyTorch does, keep the edge contract, and replace an earlier export as a whole."""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from export_helpers import NORMS, neighbours, write_run
from onnx import TensorProto, numpy_helper
from torch import nn

from cifar_edge.data import Dataset
from cifar_edge.errors import CifarEdgeError, ExportError, GateFailed
from cifar_edge.export.conversion import conversions
from cifar_edge.export.fp32 import network_graph
from cifar_edge.export.parity import FP32_TOLERANCE, compare, torch_logits
from cifar_edge.export.pipeline import export_network
from cifar_edge.export.report import Report
from cifar_edge.export.static import quantize_static_graph
from cifar_edge.models import MODELS
from cifar_edge.models.summary import count_macs, count_parameters
from cifar_edge.runs.resolve import resolve_model
from cifar_edge.runs.run import FOLDED_WEIGHTS, WEIGHTS
from cifar_edge.runtime.model import load, run
from cifar_edge.spec import INPUT_NAME, MAX_IR_VERSION, MAX_OPSET, Precision
from cifar_edge.training.checkpoint import TrainedNetwork, load_network

NETWORKS = sorted(MODELS.keys() - {"wrn-16-4"})
"""All but the teacher, which is not for devices, and a hundred times as slow."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
INT8_SNR_DB = 10.0
"""A quantisation gone wrong (a missed scale, a shifted zero point) falls far below. These networks have learnt little,
and have other weights on another kind of processor: the worst seen has 13.2 dB."""


@dataclass(frozen=True)
class Exported:
    trained: TrainedNetwork
    folder: Path
    report: Report

    def path(self, precision: Precision) -> Path:
        return self.folder / f"{self.trained.name}.{precision}.onnx"

    @property
    def int8_source(self) -> nn.Module:
        return self.trained.folded or self.trained.network


@pytest.fixture(scope="module", params=NETWORKS)
def exported(request: pytest.FixtureRequest, sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Every network for devices, exported in both precisions."""
    run_folder = write_run(tmp_path_factory.mktemp("runs") / request.param, request.param, sample)
    trained = load_network(run_folder)
    # Int8 of a network that has learnt next to nothing may lose any accuracy; what it computes is tested here.
    report = export_network(trained, sample, run_folder / "export", quantize=True, max_drop=100.0)
    return Exported(trained, run_folder / "export", report)


@pytest.fixture(scope="module")
def batch_norm_run(sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    """The network that exports fastest."""
    return load_network(write_run(tmp_path_factory.mktemp("runs") / "s8-batch", "s8-batch", sample))


@pytest.fixture(scope="module")
def folded_run(sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose norms are folded away."""
    return write_run(tmp_path_factory.mktemp("runs") / "gn-cnn", "gn-cnn", sample)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_fp32_computes_what_pytorch_does(exported: Exported, sample: Dataset, batch: int) -> None:
    images = sample.test_images[:batch]
    logits = load(exported.path("fp32")).session.run(None, {INPUT_NAME: images})[0]
    expected = torch_logits(exported.trained.network, images)
    assert logits.shape == (batch, 10)
    assert np.abs(logits - expected).max() <= FP32_TOLERANCE
    assert logits.argmax(1).tolist() == expected.argmax(1).tolist()


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_int8_computes_nearly_what_pytorch_does(exported: Exported, sample: Dataset, batch: int) -> None:
    images = sample.test_images[:batch]
    logits = load(exported.path("int8")).session.run(None, {INPUT_NAME: images})[0]
    comparison = compare(logits, torch_logits(exported.int8_source, images), sample.test_labels[:batch])
    assert logits.shape == (batch, 10)
    assert comparison.snr_db is not None, "it is not quantised"
    assert comparison.snr_db > INT8_SNR_DB


def test_the_networks_compared_tell_images_apart(exported: Exported, sample: Dataset) -> None:
    logits = torch_logits(exported.trained.network, sample.test_images)
    assert len(np.unique(logits.argmax(1))) >= 2


@pytest.mark.parametrize("precision", PRECISIONS)
def test_file_is_one_plain_onnx_file(exported: Exported, precision: Precision) -> None:
    model = onnx.load(exported.path(precision), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version <= MAX_OPSET) for entry in model.opset_import] == [("", True)]
    assert model.ir_version <= MAX_IR_VERSION
    assert not any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert sorted(file.name for file in exported.folder.iterdir()) == sorted(
        [f"{exported.trained.name}.{kind}.onnx" for kind in PRECISIONS] + ["report.json", "report.md"]
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_metadata_says_what_the_file_is(exported: Exported, sample: Dataset, precision: Precision) -> None:
    trained = exported.trained
    int8_of_folded = precision == "int8" and trained.folded is not None
    network = exported.int8_source if int8_of_folded else trained.network
    weights = trained.weights.with_name("deploy.safetensors") if int8_of_folded else trained.weights
    session, metadata = load(exported.path(precision))
    right = int(np.count_nonzero(run(session, sample.test_images).argmax(1) == sample.test_labels))
    assert metadata.model == trained.name
    assert metadata.precision == precision
    assert metadata.labels == trained.labels
    assert metadata.parameters == count_parameters(network)
    assert metadata.macs == count_macs(network)
    assert metadata.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert metadata.test_accuracy == right / len(sample.test_labels)
    assert metadata.test_images == len(sample.test_labels)
    assert metadata.versions["torch"] == torch.__version__
    assert metadata.created == exported.report.created


def test_report_describes_the_files(exported: Exported) -> None:
    report = json.loads((exported.folder / "report.json").read_text())
    files = [row for row in report["rows"] if row["file"]]
    for row in files:
        path = exported.folder / row["file"]
        assert row["size"] == path.stat().st_size
        assert row["accuracy"]["value"] == load(path).metadata.test_accuracy
    for row in report["rows"]:
        assert 0 < row["timing"]["p50_seconds"] <= row["timing"]["p99_seconds"]
    assert [row["precision"] for row in files] == ["fp32", "int8"]
    assert report["rows"][0]["comparison"]["agreement"] == 1.0
    assert [row["verdict"] for row in files] == ["passed", "passed"]  # any loss is allowed here
    fastest = min(files, key=lambda row: row["timing"]["p50_seconds"])
    assert report["deploy"] == fastest["precision"]
    assert f"**{report['deploy']}**" in (exported.folder / "report.md").read_text()


def test_folded_network_is_between_the_files(exported: Exported, sample: Dataset) -> None:
    rows, folded = exported.report.rows, exported.trained.folded
    if folded is None:
        assert [row.name for row in rows] == ["fp32", "int8"]
        assert [row.against_folded for row in rows] == [None, None]
        return
    assert [row.name for row in rows] == ["GroupNorm fp32", "folded fp32", "int8"]
    assert rows[1].file is None
    exact, measured = (torch_logits(network, sample.test_images) for network in (exported.trained.network, folded))
    assert rows[1].accuracy.value == np.mean(measured.argmax(1) == sample.test_labels)
    assert rows[1].comparison.agreement == pytest.approx(np.mean(measured.argmax(1) == exact.argmax(1)))
    assert rows[1].against_folded is not None
    assert rows[1].against_folded.max_difference <= FP32_TOLERANCE
    int8 = run(load(exported.path("int8")).session, sample.test_images)
    assert rows[2].comparison == compare(int8, exact, sample.test_labels)
    assert rows[2].against_folded == compare(int8, measured, sample.test_labels)
    every = np.concatenate([sample.test_images, sample.train_images])
    rounded, labels = run(load(exported.path("int8")).session, every), [*sample.test_labels, *sample.train_labels]
    assert rows[2].rounding == compare(rounded, torch_logits(folded, every), np.array(labels))


def test_norms_are_written_in_the_fastest_form(exported: Exported) -> None:
    operators = [node.op_type for node in onnx.load(exported.path("fp32")).graph.node]
    norms = sum(isinstance(module, NORMS) for module in exported.trained.network.modules())
    form = "LayerNormalization" if exported.trained.name == "s8-layer" else "BatchNormalization"
    assert operators.count(form) == norms
    assert operators[:2] == ["Transpose", "DequantizeLinear"]
    assert not {"Cast", "Shape", "ReduceMean", "Sub"} & set(operators)


def test_int8_quantizes_convolutions_and_no_norms(exported: Exported) -> None:
    graph = onnx.load(exported.path("int8")).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weights = makers[node.input[1]]
            assert weights.op_type == "DequantizeLinear"
            codes, scales = weights.input[:2]
            while codes not in types:  # in columns, nodes make them of the weights
                codes = makers[codes].input[0]
            while scales not in types:
                scales = makers[scales].input[0]
            assert types[codes] == TensorProto.INT8
            scale = next(tensor for tensor in graph.initializer if tensor.name == scales)
            assert node.op_type == "Gemm" or len(scale.dims) == 1, "one scale a channel"
        if node.op_type.endswith("Normalization"):
            assert {types[name] for name in node.input[1:]} == {TensorProto.FLOAT}
        if node.op_type == "QuantizeLinear":
            assert types[node.input[2]] == TensorProto.UINT8
    readers = [node.op_type for node in graph.node if INPUT_NAME in node.input]
    in_columns = exported.trained.name == "gn-cnn-max"  # its first layer is of 3x3
    assert readers == ["Pad" if in_columns else "Transpose"], "pixels are int8 already"


def test_int8_sums_of_two_products_fit_into_int16(exported: Exported) -> None:
    constants = onnx.load(exported.path("int8")).graph.initializer
    weights = [tensor for tensor in constants if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4]
    assert len(weights) >= 4
    for tensor in weights:
        assert 255 * np.abs(neighbours(numpy_helper.to_array(tensor))).max() < 2**15


def test_quantization_is_deterministic(batch_norm_run: TrainedNetwork, sample: Dataset) -> None:
    network = network_graph(batch_norm_run.network, 32)
    first, second = (
        quantize_static_graph(network, sample.train_images).SerializeToString(deterministic=True) for _ in range(2)
    )
    assert first == second


def test_each_precision_has_a_temperature_of_its_own(
    batch_norm_run: TrainedNetwork, folded_run: Path, few: Dataset
) -> None:
    for trained, names in (
        (batch_norm_run, ["fp32", "int8"]),
        (load_network(folded_run), ["GroupNorm fp32", "folded fp32", "int8"]),
    ):
        tempered = replace(trained, temperatures={"fp32": 1.5, "int8": 2.5})
        made = conversions(tempered, few, quantize=True)
        assert [conversion.name for conversion in made] == names
        assert [conversion.about.temperature for conversion in made] == [1.5] * (len(names) - 1) + [2.5]


def test_report_tells_how_an_unfolded_network_gets_faster(folded_run: Path, sample: Dataset, tmp_path: Path) -> None:
    run_folder = shutil.copytree(folded_run, tmp_path / "run", ignore=shutil.ignore_patterns("deploy.safetensors"))
    report = export_network(load_network(run_folder), sample, tmp_path / "export", quantize=True, max_drop=100.0)
    assert [row.name for row in report.rows] == ["fp32", "int8"]
    assert "`cifar-edge fold`" in report.reason
    assert "`cifar-edge fold`" in (tmp_path / "export" / "report.md").read_text()


def test_int8_is_judged_by_the_folded_network_and_by_the_whole(
    folded_run: Path, sample: Dataset, tmp_path: Path
) -> None:
    trained = load_network(folded_run)
    assert trained.folded is not None
    with pytest.raises(GateFailed, match=r"against the folded network"):
        export_network(trained, sample, tmp_path / "export", quantize=True, max_drop=-100.0)
    right = torch_logits(trained.network, sample.test_images).argmax(1)
    judged_by_itself = replace(sample, test_labels=right)  # the network as trained is always right
    head = trained.folded.layers[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.bias[0] += 1e3  # the folded one always answers with the first class, and int8 as well
    lost = r"against the network as trained .* \(on the test images folding lost \d\d\.\d\d, rounding -?0\.\d\d\)"
    with pytest.raises(GateFailed, match=lost):
        export_network(trained, judged_by_itself, tmp_path / "export", quantize=True, max_drop=0.5)
    assert not (tmp_path / "export").exists()


def test_int8_that_loses_too_much_is_neither_recommended_nor_taken(
    folded_run: Path, sample: Dataset, tmp_path: Path
) -> None:
    trained = load_network(folded_run)
    assert trained.folded is not None
    exact, folded = (torch_logits(each, sample.test_images).argmax(1) for each in (trained.network, trained.folded))
    chosen = np.concatenate([np.flatnonzero(exact != folded)[:2], np.flatnonzero(exact == folded)[:8]])
    ten = replace(sample, test_images=sample.test_images[chosen], test_labels=exact[chosen])
    report = export_network(trained, ten, tmp_path / "export", quantize=True, max_drop=0.5)
    assert "folding loses 2 of 10 test images, rounding " in report.reason
    assert f" of {len(sample.train_labels) + 10:,} images, training ones included" in report.reason
    assert report.deploy == "fp32"
    assert resolve_model(tmp_path / "export").path.name == "gn-cnn.fp32.onnx"


def test_earlier_export_is_replaced_as_a_whole(batch_norm_run: TrainedNetwork, sample: Dataset, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a user's own")
    export_network(batch_norm_run, sample, tmp_path, quantize=True, max_drop=100.0)
    assert (tmp_path / "s8-batch.int8.onnx").exists()
    export_network(batch_norm_run, sample, tmp_path, quantize=False, max_drop=0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md", "report.json", "report.md", "s8-batch.fp32.onnx"
    ]  # fmt: skip


def test_failed_gates_leave_the_earlier_export(batch_norm_run: TrainedNetwork, sample: Dataset, tmp_path: Path) -> None:
    export_network(batch_norm_run, sample, tmp_path, quantize=False, max_drop=0.5)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(GateFailed, match=r"int8 loses .* nothing was written"):
        export_network(batch_norm_run, sample, tmp_path, quantize=True, max_drop=-100.0)
    steep = load_network(batch_norm_run.weights.parent)
    with torch.no_grad():
        list(steep.network.parameters())[-1].mul_(1e6)  # logits so large that their rounding exceeds the tolerance
    with pytest.raises(GateFailed, match=r"fp32 does not compute what PyTorch does"):
        export_network(steep, sample, tmp_path, quantize=False, max_drop=0.5)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_digest_is_that_of_the_weights_that_were_loaded(folded_run: Path, few: Dataset, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folded_run, tmp_path / "run"))
    loaded = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (WEIGHTS, FOLDED_WEIGHTS)}
    trained = load_network(folder)
    for name in loaded:
        (folder / name).write_bytes(b"other weights")
    made = conversions(trained, few, quantize=True)
    assert [each.about.weights_sha256 for each in (made[0], made[-1])] == list(loaded.values())


def test_network_that_answers_nan_is_refused(batch_norm_run: TrainedNetwork, sample: Dataset, tmp_path: Path) -> None:
    diverged = load_network(batch_norm_run.weights.parent)
    with torch.no_grad():
        next(diverged.network.parameters()).fill_(torch.nan)
    with pytest.raises(ExportError, match=r"NaN or infinity"):
        export_network(diverged, sample, tmp_path / "export", quantize=False, max_drop=0.5)
    assert not (tmp_path / "export").exists()


def test_folded_network_that_answers_nan_is_refused(folded_run: Path, sample: Dataset, tmp_path: Path) -> None:
    diverged = load_network(folded_run)
    assert diverged.folded is not None
    head = diverged.folded.layers[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.bias.fill_(torch.nan)
    with pytest.raises(ExportError, match=r"deploy\.safetensors answers images with NaN"):
        export_network(diverged, sample, tmp_path / "export", quantize=True, max_drop=100.0)


def test_data_of_other_classes_is_refused(batch_norm_run: TrainedNetwork, sample: Dataset, tmp_path: Path) -> None:
    other = replace(sample, labels=("cat", "dog"))
    with pytest.raises(ExportError, match=r"has cat, dog; give the data it was trained on"):
        export_network(batch_norm_run, other, tmp_path / "export", quantize=False, max_drop=0.5)
    assert not (tmp_path / "export").exists()


def test_folder_that_cannot_be_written_is_one_line(
    batch_norm_run: TrainedNetwork, sample: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CifarEdgeError, match=r"cannot write .*file/export: .*file is not a folder"):
        export_network(batch_norm_run, sample, tmp_path / "file" / "export", quantize=False, max_drop=0.5)
