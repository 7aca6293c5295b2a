"""Runtimes for phones and small computers, on this one: ncnn, MNN and ExecuTorch, of the folded network.

They take float images in PyTorch's order of axes, so the way there from uint8 pixels is a part of their time.
"""

import importlib
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peers.ncnn_files import INPUT, OUTPUT, ncnn_files
from benchmarks.peers.peer import CALIBRATION_IMAGES, Classify, Logits, Network, Peer, Pixels
from cifar_edge.integer import IntegerNetwork
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.spec import IMAGE_CHANNELS, IMAGE_SIZE, PIXEL_SCALE, PIXEL_ZERO_POINT

_SHAPE = (1, IMAGE_CHANNELS, IMAGE_SIZE, IMAGE_SIZE)


def in_ncnn(file: Path, network: Network) -> Peer:
    """The integers of our int8 ``file`` in ncnn, whose activations have a bit less (see ncnn_files.py).

    Raises:
        ModuleNotFoundError: ncnn is not installed.
    """
    ncnn: Any = importlib.import_module("ncnn")
    files = ncnn_files(IntegerNetwork.from_onnx(file))
    mean, scale = [float(PIXEL_ZERO_POINT)] * IMAGE_CHANNELS, [float(PIXEL_SCALE)] * IMAGE_CHANNELS

    def start() -> Classify:
        net = ncnn.Net()
        net.opt.num_threads = 1
        with tempfile.TemporaryDirectory() as folder:
            numbers = Path(folder, "model.bin")
            numbers.write_bytes(files.numbers)
            if net.load_param_mem(files.graph) or net.load_model(str(numbers)):
                raise RuntimeError("ncnn refuses the file")

        def classify(images: Pixels) -> Logits:
            given = ncnn.Mat.from_pixels(images[0], ncnn.Mat.PixelType.PIXEL_RGB, IMAGE_SIZE, IMAGE_SIZE)
            given.substract_mean_normalize(mean, scale)
            extractor = net.create_extractor()
            extractor.input(INPUT, given)
            return np.array(extractor.extract(OUTPUT)[1])[None]

        return classify

    size = len(files.graph) + len(files.numbers)
    return Peer("ncnn, cifar-edge int8", network, f"ncnn {version('ncnn')}", "int8", size, start)


def in_mnn(module: nn.Module, name: str, folder: Path) -> Peer:
    """The folded network in MNN, in float, because its int8 tool, mnnquant, crashes; files go to ``folder``.

    Raises:
        ModuleNotFoundError: MNN is not installed.
    """
    mnn: Any = importlib.import_module("MNN")
    # What the command mnnconvert calls. The command itself installs a package, and reports its use over the network.
    tools: Any = importlib.import_module("_tools")
    source, target = folder / "mnn.onnx", folder / "model.mnn"
    torch.onnx.export(module.eval(), (torch.zeros(_SHAPE),), source, external_data=False, verbose=False)
    tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target)])

    def start() -> Classify:
        interpreter = mnn.Interpreter(str(target))
        session = interpreter.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
        given, answer = interpreter.getSessionInput(session), interpreter.getSessionOutput(session)

        def classify(images: Pixels) -> Logits:
            values = pixels_to_input(torch.from_numpy(images)).numpy()
            given.copyFrom(mnn.Tensor(_SHAPE, mnn.Halide_Type_Float, values, mnn.Tensor_DimensionType_Caffe))
            interpreter.runSession(session)
            return np.array(answer.getNumpyData())

        return classify

    size = target.stat().st_size
    return Peer("MNN, folded", Network.of(name, module), f"MNN {version('MNN')}", "fp32", size, start)


def in_executorch(module: nn.Module, name: str, training_images: Pixels) -> Peer:
    """The folded network in ExecuTorch, quantised by its own XNNPACK quantizer, per channel, with its defaults.

    Raises:
        ModuleNotFoundError: ExecuTorch is not installed.
    """
    runtime: Any = importlib.import_module("executorch.extension.pybindings.portable_lib")
    content = _program(module, training_images)

    def start() -> Classify:
        runtime._unsafe_reset_threadpool(1)  # its own pool, which torch.set_num_threads does not reach
        program = runtime._load_for_executorch_from_buffer(content)

        @torch.inference_mode()
        def classify(images: Pixels) -> Logits:
            logits: Logits = program.forward([pixels_to_input(torch.from_numpy(images))])[0].numpy()
            return logits

        return classify

    about = (Network.of(name, module), f"executorch {version('executorch')}", "int8")
    return Peer("ExecuTorch, folded", *about, len(content), start)


def _program(module: nn.Module, training_images: Pixels) -> bytes:
    """An ExecuTorch program of ``module`` for one image, in int8 by XNNPACK."""
    quantizer: Any = importlib.import_module("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    partitioner: Any = importlib.import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    lower: Callable[..., Any] = importlib.import_module("executorch.exir").to_edge_transform_and_lower
    pt2e: Any = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
    images = pixels_to_input(torch.from_numpy(training_images[:CALIBRATION_IMAGES]))
    example = (images[:1],)
    configuration = quantizer.get_symmetric_quantization_config(is_per_channel=True)
    exported = torch.export.export(module.eval(), example).module()
    prepared = pt2e.prepare_pt2e(exported, quantizer.XNNPACKQuantizer().set_global(configuration))
    with torch.no_grad():
        for image in images.split(1):
            prepared(image)
    quantized = torch.export.export(pt2e.convert_pt2e(prepared), example)
    program: bytes = lower(quantized, partitioner=[partitioner.XnnpackPartitioner()]).to_executorch().buffer
    return program
