"""The contestants of peers.py: one network and runtime each, all with one signature, pixels in and logits out."""

import hashlib
import importlib.metadata
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from cifar_edge.models.pixels import PixelNetwork
from cifar_edge.models.summary import summarize
from cifar_edge.runtime.model import load
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME, ModelMetadata
from cifar_edge.training.checkpoint import TrainedNetwork

Pixels = npt.NDArray[np.uint8]
"""uint8 ``[batch, 32, 32, 3]``."""
Logits = npt.NDArray[Any]
"""``[batch, 10]``; the largest counts, in whatever type the runtime gives them."""
Classify = Callable[[Pixels], Logits]

RESNET8_SHA256 = "3c002613d1b2475eb51dd78dfb85a546c8ae658dee71cf6ade43b022fe205415"
RESNET8_PARAMETERS = 78_666
"""As its authors count them, batch norm included; it is folded into the file."""
RESNET8_MACS = 12_501_632
"""Of its convolutions and its linear layer, from their shapes in the file."""
CALIBRATION_IMAGES = 1024


@dataclass(frozen=True)
class Peer:
    """A network in a runtime.

    Attributes:
        name: unique among the peers.
        runtime: library and version that runs it.
        precision: of most of its arithmetic.
        parameters: of the network.
        macs: multiply-accumulates of its convolutions and linear layers for one image.
        size: bytes of the weights or of the model, all files together.
        start: threads, batch -> a function that classifies batches of that size.
    """

    name: str
    runtime: str
    precision: str
    parameters: int
    macs: int
    size: int
    start: Callable[[int, int], Classify]


def pytorch(trained: TrainedNetwork) -> list[Peer]:
    """The GroupNorm network in PyTorch, eager and compiled."""
    network = PixelNetwork(trained.network).eval()
    costs = summarize(trained.network)

    def start(threads: int, module: Callable[[torch.Tensor], torch.Tensor]) -> Classify:
        torch.set_num_threads(threads)

        @torch.inference_mode()
        def classify(images: Pixels) -> Logits:
            return module(torch.from_numpy(images)).numpy()

        return classify

    def compiled(threads: int, batch: int) -> Classify:
        torch.compiler.reset()
        return start(threads, torch.compile(network, dynamic=False))

    def eager(threads: int, batch: int) -> Classify:
        return start(threads, network)

    about = (f"torch {torch.__version__}", "fp32", costs.parameters, costs.macs, trained.weights.stat().st_size)
    return [
        Peer(f"{trained.name}, PyTorch eager", *about, eager),
        Peer(f"{trained.name}, torch.compile", *about, compiled),
    ]


def naive_onnxruntime(trained: TrainedNetwork, training_images: Pixels, folder: Path) -> list[Peer]:
    """What the usual tools make of the GroupNorm network, each with its defaults; the files go to ``folder``.

    The last one is quantize_static with the options that its documentation and many a forum advise: preprocessed, uint8
    activations, int8 weights per channel, convolutions and linear layers only.
    """
    costs = summarize(trained.network)
    names = ("torch.onnx.export", "quantize_dynamic", "quantize_static", "quantize_static, tuned")
    fp32, dynamic, static, tuned = (folder / f"{name}.onnx" for name in names)
    example = torch.zeros(2, *training_images.shape[1:], dtype=torch.uint8)
    torch.onnx.export(
        PixelNetwork(trained.network).eval(),
        (example,),
        fp32,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    quantize_dynamic(fp32, dynamic)
    quantize_static(fp32, static, _Calibration(training_images))
    with tempfile.NamedTemporaryFile(suffix=".onnx") as prepared:
        quant_pre_process(fp32, prepared.name, skip_symbolic_shape=True)
        quantize_static(
            prepared.name,
            tuned,
            _Calibration(training_images),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm"],
        )
    return [
        Peer(
            name=f"{trained.name}, onnxruntime, {name}",
            runtime=f"onnxruntime {onnxruntime.__version__}",
            precision="fp32" if file == fp32 else "int8",
            parameters=costs.parameters,
            macs=costs.macs,
            size=sum(part.stat().st_size for part in folder.glob(f"{file.name}*")),
            start=_onnxruntime(file),
        )
        for name, file in zip(names, (fp32, dynamic, static, tuned), strict=True)
    ]


def ours(file: Path) -> Peer:
    """A file of `cifar-edge export` as cifar-edge runs it."""
    metadata = load(file).metadata

    def start(threads: int, batch: int) -> Classify:
        session = load(file, threads).session
        return lambda images: session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]

    return _exported(f"{file.stem}, cifar-edge", f"onnxruntime {onnxruntime.__version__}", file, metadata, start)


def openvino(file: Path) -> Peer:
    """A file of `cifar-edge export` in OpenVINO, with a fixed batch, which suits it best, and its own choice of precision.

    Raises:
        RuntimeError: OpenVINO does not know an operator of the file.
    """
    import openvino as ov

    core = ov.Core()

    def start(threads: int, batch: int) -> Classify:
        model = core.read_model(file)
        model.reshape({0: [batch, *model.input(0).partial_shape.to_shape()[1:]]} if False else {0: [batch, 32, 32, 3]})
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        request = core.compile_model(model, "CPU", hints).create_infer_request()
        return lambda images: request.infer([images], share_inputs=True, share_outputs=True)[0]

    return _exported(f"{file.stem}, OpenVINO", _version("openvino"), file, load(file).metadata, start)
