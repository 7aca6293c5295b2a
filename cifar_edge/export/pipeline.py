"""From a trained network to files on disk: convert, compare, measure, and only then write."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from cifar_edge.data.dataset import Dataset
from cifar_edge.errors import ExportError
from cifar_edge.export.fp32 import network_graph, with_pixels
from cifar_edge.export.graphs import serialize
from cifar_edge.export.parity import (
    Comparison,
    Logits,
    Verdict,
    compare,
    judge_fp32,
    judge_int8,
    torch_logits,
)
from cifar_edge.export.quantize import quantize as quantize_graph
from cifar_edge.export.report import Report, Row
from cifar_edge.files import write_bytes
from cifar_edge.models.summary import summarize
from cifar_edge.runtime.metrics import Estimate, accuracy
from cifar_edge.runtime.model import load, run
from cifar_edge.runtime.resolve import REPORT
from cifar_edge.runtime.timing import machine, time_alternately
from cifar_edge.spec import ModelMetadata, Precision
from cifar_edge.training.checkpoint import TrainedNetwork

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")


def export_network(trained: TrainedNetwork, dataset: Dataset, out: Path, *, quantize: bool, max_drop: float) -> Report:
    """Write ``<model>.fp32.onnx``, if asked ``<model>.int8.onnx``, and their report, into the folder ``out``.

    An earlier export of the model in ``out`` is replaced as a whole, once every gate has been passed, and not before.

    Args:
        trained: on the CPU, in evaluation mode.
        dataset: its test images are those of the gates, its training images those of the calibration.
        out: made if it is missing; other files in it stay.
        quantize: also make int8.
        max_drop: points of accuracy that int8 may lose.

    Raises:
        GateFailed: a file differs from the PyTorch module by more than its gate allows.
        ExportError: the data set has other classes than the network, the network answers NaN, or ``out`` cannot be
            written to.
    """
    if dataset.labels != trained.labels:
        raise ExportError(
            f"{trained.name} knows the classes {', '.join(trained.labels)}, the data set {dataset.name} has "
            f"{', '.join(dataset.labels)}; give the data it was trained on with --data"
        )
    reference = torch_logits(trained.network, dataset.test_images)
    if not np.isfinite(reference).all():
        raise ExportError(f"{trained.weights} answers images with NaN or infinity; its training went wrong")
    network = network_graph(trained.network)
    graphs = {"fp32": with_pixels(network)}
    if quantize:
        graphs["int8"] = quantize_graph(network, dataset.train_images)

    about = _metadata(trained)
    judged = {
        precision: _judge(graphs[precision], replace(about, precision=precision), dataset, reference, max_drop)
        for precision in PRECISIONS
        if precision in graphs
    }
    timings = time_alternately(
        {precision: load(export.content).session for precision, export in judged.items()}, dataset.test_images
    )
    report = Report(
        model=trained.name,
        created=about.created,
        rows=tuple(
            Row(
                precision=precision,
                file=_file(trained.name, precision),
                size=len(export.content),
                accuracy=export.accuracy,
                comparison=export.comparison,
                verdict=export.verdict,
                timing=timings[precision],
            )
            for precision, export in judged.items()
        ),
        max_drop=max_drop,
        data=f"{dataset.name} ({dataset.source})",
        machine=machine(),
        versions=about.versions,
    )
    contents = {_file(trained.name, precision): export.content for precision, export in judged.items()}
    contents |= {"report.md": report.to_markdown().encode(), REPORT: report.to_json().encode()}
    _replace_export(out, contents, {_file(trained.name, precision) for precision in PRECISIONS})
    return report


@dataclass(frozen=True, slots=True)
class _Judged:
    """A file that has passed its gate."""

    content: bytes
    accuracy: Estimate
    comparison: Comparison
    verdict: Verdict


def _judge(
    graph: onnx.ModelProto, about: ModelMetadata, dataset: Dataset, reference: Logits, max_drop: float
) -> _Judged:
    logits = run(load(serialize(graph, about)).session, dataset.test_images)
    comparison = compare(logits, reference, dataset.test_labels)
    verdict = judge_fp32(comparison) if about.precision == "fp32" else judge_int8(comparison, max_drop)
    right = int(np.count_nonzero(logits.argmax(axis=1) == dataset.test_labels))
    measured = accuracy(right, len(dataset.test_labels))
    # The file tells its own accuracy, so that it is complete only now; the graph is the one just judged.
    content = serialize(graph, replace(about, test_accuracy=measured.value, test_images=measured.images))
    return _Judged(content, measured, comparison, verdict)


def _metadata(trained: TrainedNetwork) -> ModelMetadata:
    """What all precisions' metadata have in common; ``precision`` and the accuracy are for the caller to set."""
    costs = summarize(trained.network)
    with trained.weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ModelMetadata(
        model=trained.name,
        precision="fp32",
        labels=trained.labels,
        parameters=costs.parameters,
        macs=costs.macs,
        weights_sha256=digest,
        test_accuracy=None,
        test_images=0,
        versions={"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _file(model: str, precision: Precision) -> str:
    return f"{model}.{precision}.onnx"


def _replace_export(out: Path, contents: Mapping[str, bytes], owned: set[str]) -> None:
    """Put ``contents`` into ``out``, all of them or none, and remove what else of ``owned`` an earlier export left."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as staging:
            for name, content in contents.items():
                write_bytes(Path(staging, name), content)
            for name in contents:
                Path(staging, name).replace(out / name)
        for name in owned - contents.keys():
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"cannot write to {out}: {error.strerror or error}") from error
