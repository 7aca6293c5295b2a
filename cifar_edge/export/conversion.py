"""Conversion of a trained network to the graphs of an export, before they are judged."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto
from torch import nn

from cifar_edge.data.dataset import Dataset
from cifar_edge.errors import ExportError
from cifar_edge.export.calibration import calibration_images
from cifar_edge.export.fp32 import network_graph, with_pixels
from cifar_edge.export.integers import quantize as quantize_network
from cifar_edge.export.parity import FP32_TOLERANCE, Logits, torch_logits
from cifar_edge.export.static import quantize_static_graph
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.folding.fold import without_norms
from cifar_edge.folding.network import FoldedNetwork
from cifar_edge.integer import IntegerNetwork
from cifar_edge.models.summary import summarize
from cifar_edge.runs.run import Run
from cifar_edge.spec import ModelMetadata
from cifar_edge.training.checkpoint import TrainedNetwork


@dataclass(frozen=True, slots=True)
class Conversion:
    """A graph, and the logits that it is to be compared with.

    Attributes:
        name: its name in the report.
        graph: pixels in, logits out.
        source: logits on the test images of the PyTorch module that ``graph`` was made of.
        about: its metadata, without accuracy as yet.
        written: whether it becomes a file; else it is only measured, for comparison.
        integers: the integer network that ``graph`` was written from, if any.
        tolerance: what a logit in fp32 may differ by.
    """

    name: str
    graph: ModelProto
    source: Logits
    about: ModelMetadata
    written: bool = True
    integers: IntegerNetwork | None = None
    tolerance: float = FP32_TOLERANCE


class Convert(Protocol):
    """As `conversions`."""

    def __call__(self, trained: TrainedNetwork, dataset: Dataset, *, quantize: bool) -> list[Conversion]: ...


def conversions(trained: TrainedNetwork, dataset: Dataset, *, quantize: bool) -> list[Conversion]:
    """The network in fp32; with ``quantize`` the folded network in fp32 too, if there is one, and last int8.

    Int8 is made of the folded network if there is one.

    Args:
        trained: on the CPU, in evaluation mode.
        dataset: its training images calibrate int8, its test images are those of `Conversion.source`.
        quantize: also make int8.

    Raises:
        ExportError: the logits of a network are NaN or infinite.
    """
    source = _finite_logits(trained.network, trained.weights, dataset)
    about = _metadata(trained)
    network = network_graph(trained.network, trained.size)
    fp32 = Conversion("fp32", with_pixels(network), source, about)
    if not quantize:
        return [fp32]
    if trained.folded is not None:
        return [replace(fp32, name="GroupNorm fp32"), *_folded(trained.folded, trained, dataset, about)]
    if (plain := without_norms(trained.network)) is not None:
        integers = quantize_network(plain.layers, calibration_images(dataset.train_images))
        return [fp32, Conversion("int8", integer_graph(integers), source, _as_int8(about, trained), integers=integers)]
    int8 = quantize_static_graph(network, dataset.train_images)
    return [fp32, Conversion("int8", int8, source, _as_int8(about, trained))]


def has_integers(trained: TrainedNetwork) -> bool:
    """Whether its int8 is that of an `IntegerNetwork`: it is folded, or has no norms."""
    return trained.folded is not None or without_norms(trained.network) is not None


def _folded(folded: FoldedNetwork, trained: TrainedNetwork, dataset: Dataset, about: ModelMetadata) -> list[Conversion]:
    weights = Run(trained.weights.parent).weights(folded=True)
    source = _finite_logits(folded, weights, dataset)
    costs = summarize(folded, trained.size)
    about = replace(about, parameters=costs.parameters, macs=costs.macs, weights_sha256=trained.folded_sha256)
    images = calibration_images(dataset.train_images)
    integers = quantize_network(folded.layers, images)
    return [
        Conversion("folded fp32", with_pixels(network_graph(folded, trained.size)), source, about, written=False),
        Conversion("int8", integer_graph(integers), source, _as_int8(about, trained), integers=integers),
    ]


def _finite_logits(network: nn.Module, weights: Path, dataset: Dataset) -> Logits:
    logits = torch_logits(network, dataset.test_images)
    if not np.isfinite(logits).all():
        raise ExportError(f"{weights} answers images with NaN or infinity; its training went wrong")
    return logits


def _metadata(trained: TrainedNetwork) -> ModelMetadata:
    """The metadata of the network as trained, in fp32."""
    costs = summarize(trained.network, trained.size)
    return ModelMetadata(
        model=trained.name,
        precision="fp32",
        labels=trained.labels,
        parameters=costs.parameters,
        macs=costs.macs,
        weights_sha256=trained.sha256,
        test_accuracy=None,
        test_images=0,
        versions={"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        temperature=trained.temperatures.get("fp32", 1.0),
        size=trained.size,
    )


def _as_int8(about: ModelMetadata, trained: TrainedNetwork) -> ModelMetadata:
    return replace(about, precision="int8", temperature=trained.temperatures.get("int8", 1.0))
