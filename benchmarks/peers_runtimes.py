"""The contestants of peers.py: a network in a runtime each, all with one signature, pixels in and logits out."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from cifar_edge.errors import ModelError
from cifar_edge.models.pixels import PixelNetwork
from cifar_edge.models.summary import summarize
from cifar_edge.runtime.model import load
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME
from cifar_edge.training.checkpoint import TrainedNetwork

Pixels = npt.NDArray[np.uint8]
"""uint8 ``[batch, 32, 32, 3]``."""
Logits = npt.NDArray[Any]
"""``[batch, 10]``, in whatever type the runtime gives them: only which one is the largest counts here."""
Classify = Callable[[Pixels], Logits]

RESNET8_SHA256 = "3c002613d1b2475eb51dd78dfb85a546c8ae658dee71cf6ade43b022fe205415"
RESNET8_PARAMETERS = 78_666
"""As its authors count them, with the batch norms that are folded away in the file."""
RESNET8_MACS = 12_501_632
"""Of its convolutions and its linear layer, by their shapes in the file."""
CALIBRATION_IMAGES = 1024


@dataclass(frozen=True)
class Peer:
    """A network in a runtime.

    Attributes:
        name: unique among the peers.
        network: name of the network.
        runtime: the library that runs it, and its version.
        precision: of most of its arithmetic.
        parameters: of the network.
        macs: multiply-accumulates of its convolutions and linear layers for one image.
        size: bytes of the weights or of the model, all its files together.
        start: threads and batch -> a function that classifies batches of that size.
    """

    name: str
    network: str
    runtime: str
    precision: str
    parameters: int
    macs: int
    size: int
    start: Callable[[int, int], Classify]


def pytorch(trained: TrainedNetwork) -> list[Peer]:
    """The GroupNorm network in PyTorch, eager and compiled."""
    network = PixelNetwork(trained.network).eval()

    def eager(threads: int, batch: int) -> Classify:
        torch.set_num_threads(threads)
        return _without_gradients(network)

    def compiled(threads: int, batch: int) -> Classify:
        torch.set_num_threads(threads)
        return _without_gradients(torch.compile(network, dynamic=False))

    costs = summarize(trained.network)
    about = (trained.name, f"torch {torch.__version__}", "fp32", costs.parameters, costs.macs)
    size = trained.weights.stat().st_size
    return [Peer("PyTorch eager", *about, size, eager), Peer("torch.compile", *about, size, compiled)]


def usual_onnxruntime(trained: TrainedNetwork, training_images: Pixels, folder: Path) -> list[Peer]:
    """What the usual tools make of the GroupNorm network; the files go to ``folder``.

    Each with its defaults, but for the last: quantize_static as its documentation advises, with preprocessing, uint8
    activations, int8 weights per channel, and only convolutions and linear layers quantised.
    """
    names = ("torch.onnx.export", "quantize_dynamic", "quantize_static", "quantize_static tuned")
    fp32, dynamic, static, tuned = (folder / f"{name}.onnx" for name in names)
    torch.onnx.export(
        PixelNetwork(trained.network).eval(),
        (torch.zeros(2, *training_images.shape[1:], dtype=torch.uint8),),
        fp32,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,  # quant_pre_process does not find weights in a file of their own
        verbose=False,
    )
    quantize_dynamic(fp32, dynamic)
    quantize_static(fp32, static, _CalibrationImages(training_images))
    prepared = folder / "prepared.onnx"
    quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        tuned,
        _CalibrationImages(training_images),
        op_types_to_quantize=["Conv", "Gemm"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    costs = summarize(trained.network)
    return [
        Peer(
            name=f"onnxruntime, {name}",
            network=trained.name,
            runtime=_onnxruntime(),
            precision="fp32" if file == fp32 else "int8",
            parameters=costs.parameters,
            macs=costs.macs,
            size=file.stat().st_size,
            start=_start_onnxruntime(file),
        )
        for name, file in zip(names, (fp32, dynamic, static, tuned), strict=True)
    ]


def ours(file: Path) -> Peer:
    """A file of `cifar-edge export`, as cifar-edge runs it."""

    def start(threads: int, batch: int) -> Classify:
        session = load(file, threads).session
        return lambda images: session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]

    precision = load(file).metadata.precision
    return _of_file(file, f"cifar-edge, {precision}", _onnxruntime(), precision, start)


def openvino(file: Path) -> Peer:
    """A file of `cifar-edge export` in OpenVINO, with a fixed batch, which suits it, and the precision it chooses."""
    import openvino as ov

    core: Any = ov.Core()

    def start(threads: int, batch: int) -> Classify:
        model = core.read_model(file)
        model.reshape({0: [batch, 32, 32, 3]})
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        request = core.compile_model(model, "CPU", hints).create_infer_request()
        return lambda images: request.infer([images], share_inputs=True, share_outputs=True)[0]

    precision = load(file).metadata.precision
    chosen = core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string() if precision == "fp32" else precision
    return _of_file(file, f"OpenVINO, {precision} file", f"openvino {version('openvino')}", chosen, start)


def resnet8(file: Path) -> Peer:
    """MLPerf Tiny's pretrained ResNet-8, int8, in LiteRT with its XNNPACK delegate.

    Raises:
        ModelError: it is another file.
    """
    from ai_edge_litert.interpreter import Interpreter

    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != RESNET8_SHA256:
        raise ModelError(f"{file} is not pretrainedResnet_quant.tflite: its SHA-256 is {found}, not {RESNET8_SHA256}")

    def start(threads: int, batch: int) -> Classify:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        source, target = (
            ends[0]["index"] for ends in (interpreter.get_input_details(), interpreter.get_output_details())
        )
        interpreter.resize_tensor_input(source, [batch, 32, 32, 3])
        interpreter.allocate_tensors()

        def classify(images: Pixels) -> Logits:
            # Its int8 is the pixel less 128, which is the pixel with its highest bit turned over.
            interpreter.set_tensor(source, (images ^ 0x80).view(np.int8))
            interpreter.invoke()
            logits: Logits = interpreter.get_tensor(target)
            return logits

        return classify

    return Peer(
        name="LiteRT, ResNet-8",
        network="ResNet-8",
        runtime=f"ai-edge-litert {version('ai-edge-litert')}",
        precision="int8",
        parameters=RESNET8_PARAMETERS,
        macs=RESNET8_MACS,
        size=len(content),
        start=start,
    )


def _without_gradients(module: Callable[[torch.Tensor], torch.Tensor]) -> Classify:
    @torch.inference_mode()
    def classify(images: Pixels) -> Logits:
        logits: Logits = module(torch.from_numpy(images)).numpy()
        return logits

    return classify


def _start_onnxruntime(file: Path) -> Callable[[int, int], Classify]:
    def start(threads: int, batch: int) -> Classify:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # it warns of shapes that quantize_static left in the file
        # As in cifar-edge: threads that spin would take the processor from whichever peer has the next turn.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda images: session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]

    return start


def _onnxruntime() -> str:
    return f"onnxruntime {onnxruntime.__version__}"


def _of_file(file: Path, name: str, runtime: str, precision: str, start: Callable[[int, int], Classify]) -> Peer:
    """A peer that runs a file of `cifar-edge export`, which tells its own costs."""
    metadata = load(file).metadata
    return Peer(
        name, metadata.model, runtime, precision, metadata.parameters, metadata.macs, file.stat().st_size, start
    )


class _CalibrationImages(CalibrationDataReader):  # type: ignore[misc] # onnxruntime ships no types
    """The first `CALIBRATION_IMAGES` training images, one at a time."""

    def __init__(self, images: Pixels) -> None:
        self._images: Iterator[Pixels] = (images[index : index + 1] for index in range(CALIBRATION_IMAGES))

    def get_next(self) -> dict[str, Pixels] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT_NAME: image}
