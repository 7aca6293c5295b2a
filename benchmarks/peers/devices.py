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

_CHANNELS_FIRST = (IMAGE_CHANNELS, IMAGE_SIZE, IMAGE_SIZE)


def in_ncnn(file: Path, network: Network) -> Peer:
    """The integers of our int8 ``file`` in ncnn, whose activations have a bit less (see ncnn_files.py).

    It has no batches: images of one run after another, with the threads inside each layer.

    Raises:
        ModuleNotFoundError: ncnn is not installed.
    """
    ncnn: Any = importlib.import_module("ncnn")
    files = ncnn_files(IntegerNetwork.from_onnx(file))
    mean, scale = [float(PIXEL_ZERO_POINT)] * IMAGE_CHANNELS, [float(PIXEL_SCALE)] * IMAGE_CHANNELS

    def start(threads: int, batch: int) -> Classify:
        net = ncnn.Net()
        net.opt.num_threads = threads
        with tempfile.TemporaryDirectory() as folder:
            numbers = Path(folder, "model.bin")
            numbers.write_bytes(files.numbers)
            if net.load_param_mem(files.graph) or net.load_model(str(numbers)):
                raise RuntimeError("ncnn refuses the file")

        def one(image: Pixels) -> Logits:
            given = ncnn.Mat.from_pixels(image, ncnn.Mat.PixelType.PIXEL_RGB, IMAGE_SIZE, IMAGE_SIZE)
            given.substract_mean_normalize(mean, scale)
            extractor = net.create_extractor()
            extractor.input(INPUT, given)
            return np.array(extractor.extract(OUTPUT)[1])[None]

        return lambda images: one(images[0]) if len(images) == 1 else np.concatenate([one(image) for image in images])

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
    example = torch.zeros(2, *_CHANNELS_FIRST)
    batch = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(module.eval(), (example,), source, dynamic_shapes=batch, external_data=False, verbose=False)
    tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target)])

    def start(threads: int, batch: int) -> Classify:
        interpreter = mnn.Interpreter(str(target))
        session = interpreter.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
        given, shape = interpreter.getSessionInput(session), (batch, *_CHANNELS_FIRST)
        interpreter.resizeTensor(given, shape)
        interpreter.resizeSession(session)
        answer = interpreter.getSessionOutput(session)

        def classify(images: Pixels) -> Logits:
            values = pixels_to_input(torch.from_numpy(images)).numpy()
            given.copyFrom(mnn.Tensor(shape, mnn.Halide_Type_Float, values, mnn.Tensor_DimensionType_Caffe))
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
    programs = {1: _program(module, training_images, 1)}

    def start(threads: int, batch: int) -> Classify:
        # All programs of a process share one pool of threads; the programs that are started here, too.
        runtime._unsafe_reset_threadpool(threads)
        if batch not in programs:
            programs[batch] = _program(module, training_images, batch)
        program = runtime._load_for_executorch_from_buffer(programs[batch])

        @torch.inference_mode()
        def classify(images: Pixels) -> Logits:
            logits: Logits = program.forward([pixels_to_input(torch.from_numpy(images))])[0].numpy()
            return logits

        return classify

    about = (Network.of(name, module), f"executorch {version('executorch')}", "int8")
    return Peer("ExecuTorch, folded", *about, len(programs[1]), start)


def _program(module: nn.Module, training_images: Pixels, batch: int) -> bytes:
    """An ExecuTorch program of ``module`` for batches of that size, in int8 by XNNPACK."""
    quantizer: Any = importlib.import_module("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    partitioner: Any = importlib.import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    lower: Callable[..., Any] = importlib.import_module("executorch.exir").to_edge_transform_and_lower
    pt2e: Any = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
    images = pixels_to_input(torch.from_numpy(training_images[:CALIBRATION_IMAGES]))
    example = (images[:batch],)
    configuration = quantizer.get_symmetric_quantization_config(is_per_channel=True)
    exported = torch.export.export(module.eval(), example).module()
    prepared = pt2e.prepare_pt2e(exported, quantizer.XNNPACKQuantizer().set_global(configuration))
    with torch.no_grad():
        for part in images.split(batch):
            prepared(part)
    quantized = torch.export.export(pt2e.convert_pt2e(prepared), example)
    program: bytes = lower(quantized, partitioner=[partitioner.XnnpackPartitioner()]).to_executorch().buffer
    return program
