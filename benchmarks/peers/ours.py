"""The files of `cifar-edge export` in the runtimes that read them, and our integers in LiteRT and in C."""

import subprocess
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import onnxruntime

from benchmarks.peers.desktop import ToolFile, in_openvino
from benchmarks.peers.peer import Classify, Network, Peer
from cifar_edge.c import figures
from cifar_edge.c.gate import compiler
from cifar_edge.export.targets import litert
from cifar_edge.integer import IntegerNetwork
from cifar_edge.runtime.model import ONNXRUNTIME, C, load
from cifar_edge.spec import INPUT_NAME, OUTPUT_NAME, ModelMetadata
from cifar_edge.training.checkpoint import TrainedNetwork


def in_our_runtime(file: Path, trained: TrainedNetwork) -> Peer:
    """A file of `cifar-edge export`, as cifar-edge runs it; int8 is made of the folded network where there is one."""
    metadata = load(file).metadata
    name, runtime = f"cifar-edge, {metadata.precision}", f"onnxruntime {onnxruntime.__version__}"
    return _peer(name, runtime, file.read_bytes(), metadata, trained)


def in_c(file: Path, trained: TrainedNetwork) -> Peer:
    """The integers of an int8 file as C, compiled on this machine; its size is what plain C takes in flash.

    Raises:
        CannotRun: there is no C compiler, or it fails.
    """
    metadata, network = load(file).metadata, IntegerNetwork.from_onnx(file)
    kernels = load(file, engine=C).session.library.kernels
    command = compiler() or []
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()
    peer = _peer("cifar-edge, C", f"{said[0]} ({kernels})", file.read_bytes(), metadata, trained, C)
    return replace(peer, size=figures(network)["flash_bytes"])


def in_litert(file: Path, trained: TrainedNetwork) -> Peer:
    """The integers of an int8 file, written by ``--target litert``, in LiteRT with XNNPACK.

    Raises:
        MissingExtra: LiteRT is not installed.
    """
    metadata = load(file).metadata
    (content,) = litert.write(IntegerNetwork.from_onnx(file), metadata, litert.LitertOptions()).values()
    return _peer("cifar-edge, LiteRT", f"ai-edge-litert {version('ai-edge-litert')}", content, metadata, trained)


def ours_in_openvino(file: Path, trained: TrainedNetwork) -> Peer:
    """An int8 file as it is in OpenVINO: it consists of standard operators only.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
    """
    metadata = load(file).metadata
    tool = f"cifar-edge {metadata.precision}"
    return in_openvino(ToolFile(tool, _network(metadata, trained), file, metadata.precision))


def exported_network(file: Path, trained: TrainedNetwork) -> Network:
    """The network that is in a file of `cifar-edge export`."""
    return _network(load(file).metadata, trained)


def _network(metadata: ModelMetadata, trained: TrainedNetwork) -> Network:
    name = f"{trained.name}, folded" if metadata.precision == "int8" and trained.folded else trained.name
    return Network(name, metadata.parameters, metadata.macs)


def _peer(
    name: str, runtime: str, content: bytes, metadata: ModelMetadata, trained: TrainedNetwork, engine: str = ONNXRUNTIME
) -> Peer:
    def start() -> Classify:
        session = load(content, engine=engine).session
        return lambda images: session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]

    return Peer(name, _network(metadata, trained), runtime, metadata.precision, len(content), start)
