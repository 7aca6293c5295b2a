"""MLPerf Tiny's pretrained ResNet-8 for CIFAR-10, in LiteRT."""

import hashlib
import importlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.peer import Classify, Logits, Network, Peer, Pixels
from cifar_edge.errors import ModelError

RESNET8_SHA256 = "3c002613d1b2475eb51dd78dfb85a546c8ae658dee71cf6ade43b022fe205415"

RESNET8 = Network("ResNet-8", parameters=78_666, macs=12_501_632)
"""Parameters as its authors count them, with the batch norms that are folded away in the file; MACs of its convolutions
and its linear layer, by their shapes in the file."""


def resnet8(file: Path) -> Peer:
    """MLPerf Tiny's pretrained ResNet-8, int8, in LiteRT with its XNNPACK delegate.

    Raises:
        ModelError: it is another file.
        ModuleNotFoundError: LiteRT is not installed.
    """
    interpreters: Any = importlib.import_module("ai_edge_litert.interpreter")
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != RESNET8_SHA256:
        raise ModelError(f"{file} is not pretrainedResnet_quant.tflite: its SHA-256 is {found}, not {RESNET8_SHA256}")

    def start() -> Classify:
        interpreter = interpreters.Interpreter(model_content=content, num_threads=1)
        source = interpreter.get_input_details()[0]["index"]
        target = interpreter.get_output_details()[0]["index"]
        interpreter.allocate_tensors()

        def classify(images: Pixels) -> Logits:
            # Its int8 is the pixel less 128, which is the pixel with its highest bit turned over.
            interpreter.set_tensor(source, (images ^ 0x80).view(np.int8))
            interpreter.invoke()
            logits: Logits = interpreter.get_tensor(target)
            return logits

        return classify

    return Peer("LiteRT, ResNet-8", RESNET8, f"ai-edge-litert {version('ai-edge-litert')}", "int8", len(content), start)
