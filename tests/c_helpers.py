"""C of integer networks, compiled with the options of a test."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cifar_edge import c
from cifar_edge.c import gate
from cifar_edge.integer import IntegerNetwork
from cifar_edge.spec import CIFAR10_LABELS, ModelMetadata

ABOUT = ModelMetadata("gn-cnn", "int8", CIFAR10_LABELS, 1, 1, "0" * 64, 0.9, 10000, {}, "now")
SANITIZERS = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

Images = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.int32]


def c_logits(network: IntegerNetwork, images: Images) -> Logits:
    """What the C of ``network`` computes, with all kernels that this processor runs."""
    return c.run(c.write(network, ABOUT, c.COptions()), images)


def compiled(network: IntegerNetwork, folder: Path, flags: Sequence[str]) -> Callable[[Images], Logits]:
    """The C of ``network``, compiled in ``folder`` with each set of kernels: from images to logits, the same of all."""
    command = gate.compiler()
    assert command is not None
    files = c.write(network, ABOUT, c.COptions())
    sources = gate.write_sources(files, folder)
    programs = [
        gate.build(command, sources, folder / name, (*flags, *kernels))
        for name, kernels in gate.variants(files).items()
    ]

    def logits(images: Images) -> Logits:
        first, *others = (gate.logits_of(program, images) for program in programs)
        for other in others:
            assert np.array_equal(first, other)
        return first

    return logits


def write_folder(network: IntegerNetwork, folder: Path, name: str = "gn_cnn") -> Path:
    """Write the C of ``network`` into ``folder``; returns the path of the source."""
    for file, content in c.write(network, ABOUT, c.COptions(name=name)).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder / "gn-cnn.c" / f"{name}.c"
