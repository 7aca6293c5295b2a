"""The usual tools of a PC: PyTorch, onnxruntime and OpenVINO, with what they make of a network."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic, quantize_static
from torch import nn

from benchmarks.peers.peer import CALIBRATION_IMAGES, IMAGE_SHAPE, Classify, Logits, Network, Peer, Pixels
from benchmarks.quantize_static import CalibrationImages, quantize_tuned
from cifar_edge.models.pixels import PixelNetwork
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME
from cifar_edge.training.checkpoint import TrainedNetwork

_OPERATORS = ("Conv", "Gemm")
"""What quantize_static, tuned, computes in integers."""


def eager(trained: TrainedNetwork) -> Peer:
    """The GroupNorm network in PyTorch, as it was trained."""
    return _in_pytorch("PyTorch eager", trained, lambda module: module)


def compiled(trained: TrainedNetwork) -> Peer:
    """The GroupNorm network in PyTorch, compiled."""
    return _in_pytorch("torch.compile", trained, partial(torch.compile, dynamic=False))


def _in_pytorch(name: str, trained: TrainedNetwork, prepared: Callable[[nn.Module], Any]) -> Peer:
    pixels = PixelNetwork(trained.network).eval()

    def start() -> Classify:
        torch.set_num_threads(1)
        return _without_gradients(prepared(pixels))

    network = Network.of(trained.name, trained.network)
    return Peer(name, network, f"torch {torch.__version__}", "fp32", trained.weights.stat().st_size, start)


@dataclass(frozen=True)
class ToolFile:
    """An ``.onnx`` file that a usual tool wrote.

    Attributes:
        tool: its name.
        network: what is in the file.
        path: of the file.
        precision: of most of its arithmetic.
        compared: whether OpenVINO runs it too; its own strength is the float network, and one that was quantised well.
    """

    tool: str
    network: Network
    path: Path
    precision: str
    compared: bool = True


def usual_tools(trained: TrainedNetwork, training_images: Pixels, folder: Path) -> list[ToolFile]:
    """What the usual tools make of the network; the files go to ``folder``.

    Each tool with its defaults, and quantize_static also "tuned", as its documentation advises: with preprocessing,
    uint8 activations, int8 weights per channel, and only convolutions and linear layers quantised. Where the network
    has a folded form, that is tried too, to tell what folding brings from what `cifar-edge export` makes of it.
    """
    fp32, dynamic, static, tuned = (folder / f"{name}.onnx" for name in ("fp32", "dynamic", "static", "tuned"))
    network, calibration = Network.of(trained.name, trained.network), training_images[:CALIBRATION_IMAGES]
    _export(trained.network, fp32)
    quantize_dynamic(fp32, dynamic)
    quantize_static(fp32, static, CalibrationImages(calibration))
    quantize_tuned(fp32, tuned, calibration, _OPERATORS)
    files = [
        ToolFile("torch.onnx.export", network, fp32, "fp32"),
        ToolFile("quantize_dynamic", network, dynamic, "int8", compared=False),
        ToolFile("quantize_static", network, static, "int8", compared=False),
        ToolFile("quantize_static tuned", network, tuned, "int8"),
    ]
    if trained.folded is not None:
        folded, folded_tuned = folder / "folded.onnx", folder / "folded-tuned.onnx"
        _export(trained.folded, folded)
        quantize_tuned(folded, folded_tuned, calibration, _OPERATORS)
        network = Network.of(f"{trained.name}, folded", trained.folded)
        files.append(ToolFile("folded, quantize_static tuned", network, folded_tuned, "int8"))
    return files


def _without_gradients(module: Callable[[torch.Tensor], torch.Tensor]) -> Classify:
    @torch.inference_mode()
    def classify(images: Pixels) -> Logits:
        logits: Logits = module(torch.from_numpy(images)).numpy()
        return logits

    return classify


def _export(network: nn.Module, file: Path) -> None:
    torch.onnx.export(
        PixelNetwork(network).eval(),
        (torch.zeros(2, *IMAGE_SHAPE, dtype=torch.uint8),),
        file,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,  # quant_pre_process does not find weights in a file of their own
        verbose=False,
    )


def in_onnxruntime(file: ToolFile) -> Peer:
    """A usual tool's file in onnxruntime."""

    def start() -> Classify:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # it warns of shapes that quantize_static left in the file
        session = onnxruntime.InferenceSession(file.path, options, providers=["CPUExecutionProvider"])
        return lambda images: session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]

    runtime = f"onnxruntime {onnxruntime.__version__}"
    size = file.path.stat().st_size
    return Peer(f"onnxruntime, {file.tool}", file.network, runtime, file.precision, size, start)


def in_openvino(file: ToolFile) -> Peer:
    """The same in OpenVINO, with a fixed batch, which suits it, and without copies of what goes in and comes out.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
    """
    openvino: Any = importlib.import_module("openvino")

    def start() -> Classify:
        core = openvino.Core()
        model = core.read_model(file.path)
        model.reshape({INPUT_NAME: [1, *IMAGE_SHAPE]})
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}
        request = core.compile_model(model, "CPU", hints).create_infer_request()
        return lambda images: request.infer([images], share_inputs=True, share_outputs=True)[0]

    precision = file.precision
    if precision == "fp32":
        # It computes a float network in the precision that it chooses for this processor.
        chosen = str(openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string())
        precision = {"f32": "fp32"}.get(chosen, chosen)
    runtime = f"openvino {version('openvino')}"
    return Peer(f"OpenVINO, {file.tool}", file.network, runtime, precision, file.path.stat().st_size, start)
