"""The contestants: a network in a runtime each, all with one signature, pixels in and logits out."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import openvino
import torch
from ai_edge_litert.interpreter import Interpreter
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from cifar_edge.errors import ModelError
from cifar_edge.models.pixels import PixelNetwork
from cifar_edge.models.summary import summarize
from cifar_edge.runtime.model import load
from cifar_edge.spec import IMAGE_CHANNELS, IMAGE_SIZE, INPUT_NAME, OUTPUT_NAME, ModelMetadata
from cifar_edge.training.checkpoint import TrainedNetwork

Pixels = npt.NDArray[np.uint8]
"""uint8 ``[batch, 32, 32, 3]``."""
Logits = npt.NDArray[Any]
"""``[batch, 10]``, in whatever type the runtime gives them: only which one is the largest counts here."""
Classify = Callable[[Pixels], Logits]
Start = Callable[[int, int], Classify]
"""Threads and batch -> a function that classifies batches of that size."""

IMAGE_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, IMAGE_CHANNELS)
CALIBRATION_IMAGES = 1024

RESNET8_SHA256 = "3c002613d1b2475eb51dd78dfb85a546c8ae658dee71cf6ade43b022fe205415"


@dataclass(frozen=True)
class Network:
    """A network, with its parameters and its multiply-accumulates for one image."""

    name: str
    parameters: int
    macs: int


RESNET8 = Network("ResNet-8", parameters=78_666, macs=12_501_632)
"""Parameters as its authors count them, with the batch norms that are folded away in the file; MACs of its convolutions
and its linear layer, by their shapes in the file."""


@dataclass(frozen=True)
class Peer:
    """A network in a runtime.

    Attributes:
        name: unique among the peers.
        network: what is run.
        runtime: the library that runs it, and its version.
        precision: of most of its arithmetic.
        size: bytes of the weights or of the model.
        start: gets it ready.
    """

    name: str
    network: Network
    runtime: str
    precision: str
    size: int
    start: Start


def pytorch(trained: TrainedNetwork) -> list[Peer]:
    """The GroupNorm network in PyTorch, eager and compiled."""
    pixels = PixelNetwork(trained.network).eval()

    def eager(threads: int, batch: int) -> Classify:
        torch.set_num_threads(threads)
        return _without_gradients(pixels)

    def compiled(threads: int, batch: int) -> Classify:
        torch.set_num_threads(threads)
        return _without_gradients(torch.compile(pixels, dynamic=False))

    about = (_network(trained.name, trained.network), f"torch {torch.__version__}", "fp32")
    size = trained.weights.stat().st_size
    return [Peer("PyTorch eager", *about, size, eager), Peer("torch.compile", *about, size, compiled)]


def usual_tools(trained: TrainedNetwork, training_images: Pixels, folder: Path) -> list[Peer]:
    """What the usual tools make of the network, in onnxruntime and OpenVINO; the files go to ``folder``.

    Each tool with its defaults, and quantize_static also "tuned", as its documentation advises: with preprocessing,
    uint8 activations, int8 weights per channel, and only convolutions and linear layers quantised. Where the network
    has a folded form, that is tried too, to tell what folding brings from what `cifar-edge export` makes of it.
    """
    fp32, dynamic, static, tuned = (folder / f"{name}.onnx" for name in ("fp32", "dynamic", "static", "tuned"))
    network = _network(trained.name, trained.network)
    _export(trained.network, fp32)
    quantize_dynamic(fp32, dynamic)
    quantize_static(fp32, static, _CalibrationImages(training_images))
    _quantize_tuned(fp32, tuned, training_images)
    peers = [
        _in_onnxruntime("torch.onnx.export", network, fp32, "fp32"),
        _in_onnxruntime("quantize_dynamic", network, dynamic, "int8"),
        _in_onnxruntime("quantize_static", network, static, "int8"),
        _in_onnxruntime("quantize_static tuned", network, tuned, "int8"),
        _in_openvino("torch.onnx.export", network, fp32, _openvino_float()),
        _in_openvino("quantize_static tuned", network, tuned, "int8"),
    ]
    if trained.folded is not None:
        folded, folded_tuned = folder / "folded.onnx", folder / "folded-tuned.onnx"
        network = _network(f"{trained.name}, folded", trained.folded)
        _export(trained.folded, folded)
        _quantize_tuned(folded, folded_tuned, training_images)
        peers += [
            _in_onnxruntime("folded, quantize_static tuned", network, folded_tuned, "int8"),
            _in_openvino("folded, quantize_static tuned", network, folded_tuned, "int8"),
        ]
    return peers


def resnet8(file: Path) -> Peer:
    """MLPerf Tiny's pretrained ResNet-8, int8, in LiteRT with its XNNPACK delegate.

    Raises:
        ModelError: it is another file.
    """
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != RESNET8_SHA256:
        raise ModelError(f"{file} is not pretrainedResnet_quant.tflite: its SHA-256 is {found}, not {RESNET8_SHA256}")

    def start(threads: int, batch: int) -> Classify:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        source = interpreter.get_input_details()[0]["index"]
        target = interpreter.get_output_details()[0]["index"]
        interpreter.resize_tensor_input(source, [batch, *IMAGE_SHAPE])
        interpreter.allocate_tensors()

        def classify(images: Pixels) -> Logits:
            # Its int8 is the pixel less 128, which is the pixel with its highest bit turned over.
            interpreter.set_tensor(source, (images ^ 0x80).view(np.int8))
            interpreter.invoke()
            logits: Logits = interpreter.get_tensor(target)
            return logits

        return classify

    return Peer("LiteRT, ResNet-8", RESNET8, f"ai-edge-litert {version('ai-edge-litert')}", "int8", len(content), start)


def ours(file: Path, trained: TrainedNetwork) -> Peer:
    """A file of `cifar-edge export`, as cifar-edge runs it; int8 is made of the folded network where there is one."""
    metadata = load(file).metadata

    def start(threads: int, batch: int) -> Classify:
        session = load(file, threads).session
        return lambda images: session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]

    return Peer(
        name=f"cifar-edge, {metadata.precision}",
        network=_exported_network(metadata, trained),
        runtime=f"onnxruntime {onnxruntime.__version__}",
        precision=metadata.precision,
        size=file.stat().st_size,
        start=start,
    )


def ours_in_openvino(file: Path, trained: TrainedNetwork) -> Peer:
    """The same file in another runtime: it consists of standard operators only."""
    metadata = load(file).metadata
    return _in_openvino(
        f"cifar-edge {metadata.precision}", _exported_network(metadata, trained), file, metadata.precision
    )


def _exported_network(metadata: ModelMetadata, trained: TrainedNetwork) -> Network:
    name = f"{trained.name}, folded" if metadata.precision == "int8" and trained.folded else trained.name
    return Network(name, metadata.parameters, metadata.macs)


def _network(name: str, module: nn.Module) -> Network:
    costs = summarize(module)
    return Network(name, costs.parameters, costs.macs)


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


def _quantize_tuned(fp32: Path, target: Path, training_images: Pixels) -> None:
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        _CalibrationImages(training_images),
        op_types_to_quantize=["Conv", "Gemm"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


class _CalibrationImages(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
    """The first `CALIBRATION_IMAGES` training images, one at a time."""

    def __init__(self, images: Pixels) -> None:
        self._images: Iterator[Pixels] = (images[index : index + 1] for index in range(CALIBRATION_IMAGES))

    def get_next(self) -> dict[str, Pixels] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT_NAME: image}


def _in_onnxruntime(tool: str, network: Network, file: Path, precision: str) -> Peer:
    def start(threads: int, batch: int) -> Classify:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # it warns of shapes that quantize_static left in the file
        # As in cifar-edge: threads that spin would take the processor from whichever peer has the next turn.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda images: session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]

    runtime = f"onnxruntime {onnxruntime.__version__}"
    return Peer(f"onnxruntime, {tool}", network, runtime, precision, file.stat().st_size, start)


def _in_openvino(tool: str, network: Network, file: Path, precision: str) -> Peer:
    """With a fixed batch, which suits OpenVINO, and without copies of what goes in and comes out."""

    def start(threads: int, batch: int) -> Classify:
        core = openvino.Core()
        model = core.read_model(file)
        model.reshape({INPUT_NAME: [batch, *IMAGE_SHAPE]})
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        request = core.compile_model(model, "CPU", hints).create_infer_request()
        return lambda images: request.infer([images], share_inputs=True, share_outputs=True)[0]

    runtime = f"openvino {version('openvino')}"
    return Peer(f"OpenVINO, {tool}", network, runtime, precision, file.stat().st_size, start)


def _openvino_float() -> str:
    """The precision in which OpenVINO computes a float network on this processor, unless it is told otherwise."""
    chosen = str(openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string())
    return {"f32": "fp32"}.get(chosen, chosen)
