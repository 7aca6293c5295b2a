"""How to write GroupNorm, and LayerNorm over [C, H, W], for onnxruntime on a CPU: every form that came to mind, timed.

    python -m benchmarks.groupnorm.forms

Each form is used for all norms of a network; the networks are freshly initialised, which costs the same as trained. All
forms of a network take turns within one run, batch 1, one thread. Prints a table for each network and writes
benchmarks/groupnorm/forms.csv. docs/folding.md says what follows from it.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxscript import opset20
from torch import nn

from benchmarks import results_file
from cifar_edge.data import load_dataset
from cifar_edge.export.fp32 import TRANSLATIONS, Translations, group_norm, network_graph, with_pixels
from cifar_edge.export.parity import torch_logits
from cifar_edge.measure.timing import machine, time_alternately
from cifar_edge.models import build
from cifar_edge.spec import IMAGE_SIZE, INPUT_NAME

op: Any = opset20  # its type hints know concrete tensors only, not symbolic values
RESULTS = Path(__file__).with_suffix(".csv")
BASELINE = "as torch exports it"


@dataclass(frozen=True)
class Result:
    """One form in one network; ``nodes_run`` are those left after onnxruntime's own optimisation."""

    network: str
    form: str
    nodes: int
    nodes_run: int
    file_bytes: int
    max_difference: float
    p50_us: float
    ratio: float


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


def _floats(value: float, count: int) -> Any:
    return op.Constant(value_floats=[value] * count)


def _normalize(x: Any, groups: int, eps: float, batch: int = -1) -> Any:
    """Zero mean and unit variance by group, ``[batch, channels, height, width]`` in and out.

    The batch of the second Reshape may be -1, to be inferred, or 0, to be copied: onnxruntime then keeps its name,
    which changes what it fuses and how it plans its memory.
    """
    by_group = op.Reshape(x, _ints(0, groups, -1))
    normalized = op.InstanceNormalization(by_group, _floats(1.0, groups), _floats(0.0, groups), epsilon=eps)
    return _restore(normalized, x, batch)


def _restore(x: Any, like: Any, batch: int = -1) -> Any:
    return op.Reshape(x, _ints(batch, *like.shape[1:]))


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    shape = _ints(-1, 1, 1)
    return op.Add(op.Mul(x, op.Reshape(weight, shape)), op.Reshape(bias, shape))


def mul_add(x: Any, groups: int, weight: Any, bias: Any, eps: float, cudnn: bool) -> Any:
    """Torch's form with a constant shape in the second Reshape."""
    return _affine(_normalize(x, groups, eps), weight, bias)


def depthwise(x: Any, groups: int, weight: Any, bias: Any, eps: float, cudnn: bool) -> Any:
    """The affine as a depthwise 1x1 convolution, into which onnxruntime fuses the ReLU after it, and adds if it can."""
    channels = x.shape[1]
    normalized = _normalize(x, groups, eps, batch=0)  # with -1 it does not see that the summands have one shape
    return op.Conv(normalized, op.Reshape(weight, _ints(channels, 1, 1, 1)), bias, group=channels)


def _batch_norm_affine(x: Any, weight: Any, bias: Any, channels: int) -> Any:
    return op.BatchNormalization(x, weight, bias, _floats(0.0, channels), _floats(1.0, channels), epsilon=0.0)


def copied_batch(x: Any, groups: int, weight: Any, bias: Any, eps: float, cudnn: bool) -> Any:
    """The form that is used, but for the batch dimension of its second Reshape."""
    return _batch_norm_affine(_normalize(x, groups, eps, batch=0), weight, bias, x.shape[1])


def layer_norm(x: Any, groups: int, weight: Any, bias: Any, eps: float, cudnn: bool) -> Any:
    """LayerNormalization over the values of a group, the affine as BatchNormalization."""
    channels, height, width = x.shape[1:]
    values = channels // groups * height * width
    flat = op.Reshape(x, _ints(0, groups, values))
    normalized = op.LayerNormalization(flat, _floats(1.0, values), axis=-1, epsilon=eps)[0]
    return _batch_norm_affine(_restore(normalized, x), weight, bias, channels)


def wide_layer_norm(x: Any, groups: int, weight: Any, bias: Any, eps: float, cudnn: bool) -> Any:
    """LayerNormalization with the affine broadcast to every position: three nodes, and a large file."""
    channels, height, width = x.shape[1:]

    def everywhere(parameter: Any) -> Any:
        shape = _ints(groups, channels // groups, height * width)
        return op.Reshape(op.Expand(op.Reshape(parameter, _ints(groups, -1, 1)), shape), _ints(1, groups, -1))

    values = channels // groups * height * width
    flat = op.Reshape(x, _ints(0, groups, values))
    normalized = op.LayerNormalization(flat, everywhere(weight), everywhere(bias), axis=-1, epsilon=eps)[0]
    return _restore(normalized, x)


def reduce_mean(x: Any, groups: int, weight: Any, bias: Any, eps: float, cudnn: bool) -> Any:
    """The definition, by ReduceMean."""
    flat = op.Reshape(x, _ints(0, groups, -1))
    centred = op.Sub(flat, op.ReduceMean(flat, _ints(2)))
    variance = op.ReduceMean(op.Mul(centred, centred), _ints(2))
    normalized = op.Div(centred, op.Sqrt(op.Add(variance, op.Constant(value_float=eps))))
    return _affine(_restore(normalized, x), weight, bias)


def merged_affine(x: Any, groups: int, weight: Any, bias: Any, eps: float, cudnn: bool) -> Any:
    """Mean and mean square by group, merged with the affine into one scale and one shift a channel."""
    flat = op.Reshape(x, _ints(0, groups, -1))
    mean, square = op.ReduceMean(flat, _ints(2)), op.ReduceMean(op.Mul(flat, flat), _ints(2))
    variance = op.Sub(square, op.Mul(mean, mean))
    by_group = _ints(1, groups, -1)
    scale = op.Div(op.Reshape(weight, by_group), op.Sqrt(op.Add(variance, op.Constant(value_float=eps))))
    shift = op.Sub(op.Reshape(bias, by_group), op.Mul(scale, mean))
    by_channel = _ints(-1, x.shape[1], 1, 1)
    return op.Add(op.Mul(x, op.Reshape(scale, by_channel)), op.Reshape(shift, by_channel))


def nothing(x: Any, groups: int, weight: Any, bias: Any, eps: float, cudnn: bool) -> Any:
    """No norm at all: what is left is the price of everything else."""
    return op.Identity(x)


def instance_norm(x: Any, shape: Any, weight: Any, bias: Any, eps: float, cudnn: bool) -> Any:
    """LayerNorm over [C, H, W] as InstanceNormalization of one group, then Mul and Add at every position."""
    return op.Add(op.Mul(_normalize(x, 1, eps), weight), bias)


GROUP_NORM = {
    "Reshape, InstanceNorm, Reshape, Mul, Add": mul_add,
    "Reshape, InstanceNorm, Reshape, BatchNorm": group_norm,
    "the same, batch dimension copied": copied_batch,
    "Reshape, InstanceNorm, Reshape, depthwise Conv": depthwise,
    "Reshape, LayerNorm, Reshape, BatchNorm": layer_norm,
    "Reshape, LayerNorm with affine, Reshape": wide_layer_norm,
    "ReduceMean twice, Mul, Add": reduce_mean,
    "ReduceMean twice, merged affine": merged_affine,
    "(no norm)": nothing,
}
LAYER_NORM = {"Reshape, InstanceNorm, Reshape, Mul, Add": instance_norm}


def forms_of(name: str) -> dict[str, Translations]:
    """Form -> how to write it, for the norm that the network of that name has."""
    norm, forms = (
        (torch.ops.aten.layer_norm.default, LAYER_NORM)
        if name == "s8-layer"
        else (torch.ops.aten.group_norm.default, GROUP_NORM)
    )
    others = {operator: form for operator, form in TRANSLATIONS.items() if operator is not norm}
    return {BASELINE: others} | {form: {**others, norm: function} for form, function in forms.items()}


def randomize_norms(network: nn.Module) -> None:
    """Give every norm an affine that matters: as initialised it is the identity."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)


def session(content: bytes, optimized: Path) -> onnxruntime.InferenceSession:
    """A session on one thread that leaves the graph it really runs at ``optimized``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns that the optimised graph is for this machine only; it is not kept
    options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def measure(name: str, images: np.ndarray[Any, np.dtype[np.uint8]]) -> list[Result]:
    """All forms of one network, side by side."""
    torch.manual_seed(0)
    network = build(name).eval()
    randomize_norms(network)
    reference = torch_logits(network, images)
    models: Mapping[str, onnx.ModelProto] = {
        form: with_pixels(network_graph(network, IMAGE_SIZE, translations))
        for form, translations in forms_of(name).items()
    }
    with tempfile.TemporaryDirectory() as folder:
        optimized = {form: Path(folder, f"{index}.onnx") for index, form in enumerate(models)}
        sessions = {form: session(model.SerializeToString(), optimized[form]) for form, model in models.items()}
        nodes_run = {form: len(onnx.load(path).graph.node) for form, path in optimized.items()}
    timings = time_alternately(sessions, images, rounds=50)
    return [
        Result(
            network=name,
            form=form,
            nodes=len(model.graph.node),
            nodes_run=nodes_run[form],
            file_bytes=model.ByteSize(),
            max_difference=float(np.abs(sessions[form].run(None, {INPUT_NAME: images})[0] - reference).max()),
            p50_us=round(timings[form].p50_seconds * 1e6, 1),
            ratio=round(timings[form].p50_seconds / timings[BASELINE].p50_seconds, 3),
        )
        for form, model in models.items()
    ]


def main() -> None:
    """Measure, print, and write the CSV."""
    argparse.ArgumentParser("python -m benchmarks.groupnorm.forms", description=__doc__.partition("\n")[0]).parse_args()
    images = load_dataset("sample").test_images[:64]
    results = [result for name in ("gn-cnn", "s8-group", "s8-layer") for result in measure(name, images)]
    print(f"{machine()}, onnxruntime {onnxruntime.__version__}, one thread, batch 1, median\n")
    for row in results:
        print(
            f"{row.network:<9} {row.form:<47} {row.nodes:>4} {row.nodes_run:>4} {row.file_bytes:>8,} B "
            f"{row.max_difference:8.1e} {row.p50_us:>7.1f} us {row.ratio:>6.3f}"
        )
    results_file.write(RESULTS, Result, results)


if __name__ == "__main__":
    main()
