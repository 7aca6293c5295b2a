"""Export of a network that is not one of this package's: fold, fine-tune, quantize, and write with gates.

    import cifar_edge.export as edge

    folded = edge.fold(network, images, mean=128, std=64)
    integers = edge.quantize(folded, images)
    report = edge.export(integers, "out", test=(test_images, test_labels), labels=["cat", "dog"])

docs/own-network.md says which layers a network may have.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from safetensors.torch import save
from torch import nn

from cifar_edge.data.dataset import Dataset
from cifar_edge.errors import ExportError
from cifar_edge.export.calibration import calibration_images
from cifar_edge.export.conversion import Conversion
from cifar_edge.export.fp32 import network_graph, with_pixels
from cifar_edge.export.integers import quantize as quantize_network
from cifar_edge.export.own_accuracy import Given
from cifar_edge.export.own_checks import (
    Number,
    check_classes,
    check_images,
    check_input_map,
    check_labelled,
    check_labels,
    check_max_drop,
    check_name,
    check_network,
    check_number,
    check_stage,
    check_whole,
    shown,
)
from cifar_edge.export.parity import Logits, fp32_tolerance, torch_logits
from cifar_edge.export.pipeline import export_network
from cifar_edge.export.report import Report
from cifar_edge.export.targets import target_options
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.folding.batch_norm import with_batch_norm, without_batch_norm
from cifar_edge.folding.network import BatchNormNetwork
from cifar_edge.folding.trace import classify, trace
from cifar_edge.folding.traced import InputMap, TracedNetwork, fold_network
from cifar_edge.integer import IntegerNetwork
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.models.summary import summarize
from cifar_edge.runs.dataset import DatasetReference
from cifar_edge.runs.recipe import Recipe
from cifar_edge.spec import ModelMetadata
from cifar_edge.training.checkpoint import TrainedNetwork
from cifar_edge.training.loop import fit
from cifar_edge.training.teacher import Teacher

_LOST = 1e-3
"""What exact folding may lose of the largest logit, by another order of summation."""
_SEEN = 2_000
"""Images of the statistics that fine-tuning begins with."""
_LARGEST_EMA = 0.998
_LABELLED = tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer]]


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """An integer network, and the folded one that it was made of.

    Attributes:
        integers: `cifar_edge.integer.IntegerNetwork`, whose call is what every file computes.
        folded: as `fold` or `finetune` returned it.
    """

    integers: IntegerNetwork
    folded: TracedNetwork

    def __call__(self, images: npt.NDArray[np.uint8]) -> Logits:
        """Logits, float32 ``[n, classes]``, of uint8 ``[n, S, S, 3]``."""
        return self.integers(images).astype(np.float32) * self.integers.logit_scale


def fold(
    network: nn.Module, images: npt.NDArray[np.uint8], *, mean: Number = 128.0, std: Number = 64.0
) -> TracedNetwork:
    """The folded network of ``network``: a tree of layers without norms, from pixels to logits.

    Batch norms are merged exactly, which needs a few images alone. Other norms are fitted on the images.

    Args:
        network: a plain classifier, on the CPU, in evaluation mode; it takes ``(p - mean) / std`` of pixels p, float32
            ``[n, 3, S, S]``, and returns logits ``[n, classes]``. It stays as it is.
        images: training images, uint8 ``[n, S, S, 3]``, RGB; a thousand are plenty.
        mean: what the network's input subtracts, in units of 0 to 255: one number, or one a channel.
        std: what it divides by, in the same units.

    Raises:
        ExportError: the network has a layer that integers cannot compute, or an argument is not as described.
    """
    check_network(network)
    images = check_images(images, "images")
    pixels = torch.tensor(images)
    means, deviations = check_input_map(mean, std)
    with torch.no_grad():
        check_classes(classify(network, InputMap(means, deviations)(pixels_to_input(pixels[:2]))).shape[1])
    folded = fold_network(network, pixels, means, deviations)
    if folded.origin.exact:
        wanted, found = (torch_logits(each, images[:64]) for each in (folded.origin.network, folded))
        if not np.abs(found - wanted).max() <= _LOST * max(float(np.abs(wanted).max()), 1e-6):
            raise ExportError(
                f"folding changes the logits by up to {np.abs(found - wanted).max():.2g}: a batch norm of the network "
                "has a variance near zero; train it longer, or leave out that channel"
            )
    return folded


def finetune(
    folded: TracedNetwork,
    data: _LABELLED,
    *,
    teacher: nn.Module | None = None,
    epochs: int = 10,
    learning_rate: float = 0.02,
    flip: bool = True,
    seed: int = 0,
) -> TracedNetwork:
    """``folded`` trained further, with a batch norm in place of each bias; for norms that folding only approximates.

    Args:
        folded: as `fold` returned it; it stays as it is.
        data: training images, uint8 ``[n, S, S, 3]``, and their classes, ``[n]``.
        teacher: a network to distil from, which takes the same input as the network that was folded: that network
            itself, or a better one of the same classes. None trains by the labels alone.
        epochs: passes over the images.
        learning_rate: peak of the schedule.
        flip: whether to mirror half of the images.
        seed: of the order of the images and of their augmentation.

    Raises:
        ExportError: an argument is not as described.
        TrainingError: the training diverged.
        RecipeError: a number is out of range.
    """
    check_stage(folded, TracedNetwork, "finetune", "fold")
    epochs, learning_rate = check_whole(epochs, "epochs"), check_number(learning_rate, "learning_rate")
    size = folded.origin.size
    images, labels = check_labelled(data, "data", folded.classes, size, least=2)
    recipe = Recipe(
        epochs=epochs,
        size=size,
        seed=check_whole(seed, "seed"),
        learning_rate=learning_rate,
        weight_decay=1e-4,
        crop=size // 8,
        flip=bool(flip),
        precision="fp32",
        temperature=2.0,
        ema_decay=min(_LARGEST_EMA, 1 - 1 / max(2.0, epochs * (len(images) / 128) / 10)),
    )
    tensors = torch.tensor(images), torch.tensor(labels)
    taught = None
    if teacher is not None:
        _check_like(teacher, "teacher", folded, images)
        taught = Teacher([nn.Sequential(folded.origin.network[0], teacher)], recipe)
    tuned = fit(with_batch_norm(folded, tensors[0][:_SEEN]), *tensors, recipe, teacher=taught)
    assert isinstance(tuned, BatchNormNetwork)
    layers = without_batch_norm(tuned).layers
    return TracedNetwork(layers, replace(folded.origin, fitted=True)).eval().requires_grad_(False)


def quantize(folded: TracedNetwork, images: npt.NDArray[np.uint8]) -> Quantized:
    """The integer network of ``folded``.

    Args:
        folded: as `fold` or `finetune` returned it.
        images: training images, uint8 ``[n, S, S, 3]``, to choose scales and rounding by; a few hundred are enough,
            and at most 1,024 are used.

    Raises:
        ExportError: integers cannot compute it, or the images are not as described.
    """
    check_stage(folded, TracedNetwork, "quantize", "fold or finetune")
    images = check_images(images, "images", size=folded.origin.size)
    return Quantized(quantize_network(folded.layers, calibration_images(images)), folded)


def export(
    quantized: Quantized,
    out: str | PathLike[str],
    *,
    test: _LABELLED,
    labels: Sequence[str] | None = None,
    targets: Iterable[str] | Mapping[str, Any] = (),
    reference: nn.Module | None = None,
    name: str = "network",
    max_drop: float = 0.5,
    data: str = "own data",
    stage: Callable[[str], None] = lambda name: None,
) -> Report:
    """Write ``name.fp32.onnx``, ``name.int8.onnx``, the files of ``targets`` and a report, if all gates are passed.

    The gates: fp32 gives the logits of ``reference`` within 1e-4, or a hundred-thousandth of the largest if that is
    more; int8 does not lose more than ``max_drop`` against it and against the folded network; each target computes
    what int8 does. An earlier export in ``out`` is replaced as a whole.

    Args:
        quantized: as `quantize` returned it.
        out: folder to write to; made if it is missing.
        test: test images, uint8 ``[n, S, S, 3]``, and their classes, ``[n]``.
        labels: names of the classes in the order of the logits; None for their numbers.
        targets: formats besides ONNX, such as ``["c", "litert"]``; or these with their options, as
            `cifar_edge.export.targets.target_options` returns them.
        reference: the network to compare with, which takes the same input as the one that was folded; None for that.
            It becomes the fp32 file.
        name: of the model; files are called by it.
        max_drop: percentage points of accuracy that int8 may lose.
        data: what the test images are, for the report.
        stage: called with what is done next, in a few words.

    Raises:
        ExportError: an argument is not as described, a target cannot write the network, or ``out`` cannot be written
            to.
        GateFailed: a file differs by more than its gate allows; nothing is written.
    """
    check_stage(quantized, Quantized, "export", "quantize")
    max_drop = check_max_drop(max_drop)
    folded, size = quantized.folded, quantized.integers.size
    classes = folded.classes
    images, truth = check_labelled(test, "test", classes, size)
    names = check_labels(labels, classes)
    origin = folded.origin
    network, graph = origin.network, origin.traced
    if reference is not None and reference is not network[1]:
        found = trace(reference, _check_like(reference, "reference", folded, images))
        network, graph = (nn.Sequential(network[0], *layers).eval() for layers in ([reference], found.layers))
    if isinstance(targets, str):
        raise ExportError(f"targets = {targets!r} is one name; give a list of them, [{targets!r}]")
    options = targets if isinstance(targets, Mapping) else target_options(targets, {})
    dataset = Dataset(data, names, images[:0], truth[:0], images, truth, "as given")
    trained = TrainedNetwork(
        check_name(name),
        names,
        network,
        Path(name),
        _digest(network),
        DatasetReference(data, "as given"),
        size,
        folded=folded,
    )

    input_map, source = network[0], torch_logits(network, images)
    assert isinstance(input_map, InputMap)
    own = Given.of(source, truth, shown(input_map.mean), shown(input_map.std))

    def convert(trained: TrainedNetwork, dataset: Dataset, *, quantize: bool) -> list[Conversion]:
        return _conversions(trained, graph, quantized, dataset, source)

    return export_network(
        trained,
        dataset,
        Path(out),
        quantize=True,
        max_drop=max_drop,
        targets=options,
        convert=convert,
        own=own,
        stage=stage,
    )


def _conversions(
    trained: TrainedNetwork, graph: nn.Module, quantized: Quantized, dataset: Dataset, source: Logits
) -> list[Conversion]:
    """The network in fp32, whose logits on the test images are ``source``, the folded one, and int8."""
    folded = torch_logits(quantized.folded, dataset.test_images)
    if not (np.isfinite(source).all() and np.isfinite(folded).all()):
        raise ExportError("the network answers test images with NaN or infinity; its training went wrong")
    about = _about(trained, graph)
    int8 = replace(_about(trained, quantized.folded), precision="int8")
    size, integers = trained.size, quantized.integers
    fp32 = Conversion("fp32", with_pixels(network_graph(graph, size)), source, about, tolerance=fp32_tolerance(source))
    folded_graph = with_pixels(network_graph(quantized.folded, size))
    return [
        fp32,
        replace(fp32, name="folded fp32", graph=folded_graph, source=folded, written=False),
        Conversion("int8", integer_graph(integers), folded, int8, integers=integers),
    ]


def _about(trained: TrainedNetwork, network: nn.Module) -> ModelMetadata:
    assert isinstance(trained.network, nn.Sequential)
    input_map, costs = trained.network[0], summarize(network, trained.size)
    assert isinstance(input_map, InputMap)
    return ModelMetadata(
        model=trained.name,
        precision="fp32",
        labels=trained.labels,
        parameters=costs.parameters,
        macs=costs.macs,
        weights_sha256=_digest(network),
        test_accuracy=None,
        test_images=0,
        versions={"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        size=trained.size,
        normalization=input_map.text,
    )


def _digest(network: nn.Module) -> str:
    """The SHA-256 of the network's tensors as a safetensors file."""
    state = {name: tensor.clone().contiguous() for name, tensor in network.state_dict().items()}
    return hashlib.sha256(save(state)).hexdigest()


@torch.no_grad()
def _check_like(network: nn.Module, what: str, folded: TracedNetwork, images: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Refuse ``network`` if it does not stand beside the one that was folded; returns its input for two images."""
    check_network(network, what)
    x: torch.Tensor = folded.origin.network[0](pixels_to_input(torch.tensor(images[:2])))
    found, classes = classify(network, x).shape[1], folded.classes
    if found != classes:
        raise ExportError(f"the {what} has {found} classes, but the network has {classes}")
    return x
