"""The target ``c``: the C of `cifar_edge.c`, and a self-test with real images."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from cifar_edge import c
from cifar_edge.c.gate import kernels_in, run_kernels
from cifar_edge.c.kernels import GENERIC, KERNELS
from cifar_edge.data import load_dataset
from cifar_edge.export.targets.gate import Runner
from cifar_edge.integer import IntegerNetwork
from cifar_edge.runtime.model import C, load
from cifar_edge.spec import ModelMetadata


def write(network: IntegerNetwork, metadata: ModelMetadata, options: c.COptions) -> dict[str, bytes]:
    """The folder ``MODEL.c`` of ``network``: name -> content. Its self-test runs images of CIFAR-10 in this package.

    Raises:
        TypeError: the network has a layer or a size that has no form in C.
    """
    images = load_dataset("sample", size=network.size).test_images
    return c.write(network, metadata, options) | c.selftest(network, metadata, options, images)


def session(files: Mapping[str, bytes], content: bytes) -> Any:
    """The int8 ``.onnx`` file ``content`` in C, as ``--engine c`` runs it.

    Raises:
        CannotRun: there is no C compiler, or it fails.
    """
    return load(content, engine=C).session


def _runner(name: str) -> Runner:
    return Runner(
        "C" if name == GENERIC else f"C with {name}",
        partial(run_kernels, name),
        reads=lambda files: name in kernels_in(files),
    )


RUNNERS = tuple(_runner(name) for name in (GENERIC, *KERNELS))
"""One for each set of kernels: those of other processors are not compared here."""


def figures(network: IntegerNetwork, files: Mapping[str, bytes]) -> dict[str, Any]:
    """What the C of ``network`` costs on a device."""
    return c.figures(network)
