"""The target ``litert``: a ``.tflite`` file for LiteRT, formerly TensorFlow Lite, and for tools that read such files.

The integers, scales and zero points are those of the `cifar_edge.integer.IntegerNetwork`; only activations are int8
there, that is, codes minus 128. The pixels are uint8, and the logits float32 of a float head. LiteRT rounds sums to
codes in its own way, so some logits differ; the gate bounds how many classes may.

The schema is https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs, by the classes that
the package ai-edge-litert generates of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import CannotRun
from cifar_edge.export.targets.gate import Runner, Tolerance
from cifar_edge.integer import IntegerNetwork
from cifar_edge.runtime.litert import Session, missing
from cifar_edge.runtime.model import run
from cifar_edge.spec import ModelMetadata

_MICRO_IMAGES = 2_000  # for tflite-micro, whose kernels take about 10 ms an image
_MICRO_ARENA = 64 << 20
"""Bytes that tflite-micro may use here. Its default, ten times the file, is too little for a small network's images."""


@dataclass(frozen=True, slots=True)
class LitertOptions:
    """Options of the file.

    Attributes:
        scores: the output is the scores, a softmax of the logits over the metadata's temperature.
        grouped: depthwise kernels of more than 25 weights a channel, such as 7x7, become convolutions of groups of 8
            channels. XNNPACK, which phones use, computes those several times faster, but there are 8 times as many
            weights. False keeps them depthwise, for tflite-micro and for compilers to an NPU.
    """

    scores: bool = False
    grouped: bool = True


def write(network: IntegerNetwork, metadata: ModelMetadata, options: LitertOptions) -> dict[str, bytes]:
    """The one file of ``network``: name -> content.

    Raises:
        MissingExtra: LiteRT is not installed.
    """
    try:
        from cifar_edge.export.targets.litert_graph import Graph
        from cifar_edge.export.targets.litert_metadata import packed
    except ImportError as error:
        raise missing() from error
    graph = Graph(network.size, network.pixels, grouped=options.grouped)
    graph.chain(network.layers[:-1])
    graph.head(network.head, network.logit_scale)
    if options.scores:
        graph.softmax(metadata.temperature)
    return {
        f"{metadata.model}.{metadata.precision}.tflite": packed(graph, network.pixels, metadata, scores=options.scores)
    }


def session(files: Mapping[str, bytes]) -> Session:
    """The file in LiteRT, with XNNPACK."""
    (content,) = files.values()
    return Session(content)


def _xnnpack(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return run(session(files), images)


def _built_in(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    (content,) = files.values()
    return run(Session(content, built_in=True), images)


def _micro(files: Mapping[str, bytes], images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The logits that TensorFlow Lite for Microcontrollers computes.

    Raises:
        CannotRun: it is not installed, or has no form for a layer.
    """
    try:
        from tflite_micro import runtime as micro
    except ImportError as error:
        raise CannotRun("the package tflite-micro is not installed") from error
    (content,) = files.values()
    logits = []
    try:
        interpreter: Any = micro.Interpreter.from_bytes(content, arena_size=_MICRO_ARENA + 10 * len(content))
        for image in images:
            interpreter.set_input(image[None], 0)
            interpreter.invoke()
            logits.append(interpreter.get_output(0)[0])
    except RuntimeError as error:  # an operator that it does not have, or too little memory
        raise CannotRun(f"it cannot run this file ({error})") from error
    return np.array(logits, np.float32)


RUNNERS = (
    Runner("LiteRT", _xnnpack, Tolerance(agreement=0.999, drop=0.05)),
    Runner("LiteRT without XNNPACK", _built_in, Tolerance(agreement=0.99, drop=0.15)),
    Runner("tflite-micro", _micro, Tolerance(agreement=0.99, drop=0.15), images=_MICRO_IMAGES),
)
"""LiteRT with XNNPACK, as it is installed, rounds once; its built-in kernels and those of tflite-micro round twice."""
