"""The target ``c``: the C of `cifar_edge.c`, and a self-test with real images."""

from cifar_edge import c
from cifar_edge.data import load_dataset
from cifar_edge.integer import IntegerNetwork
from cifar_edge.spec import ModelMetadata


def write(network: IntegerNetwork, metadata: ModelMetadata, options: c.COptions) -> dict[str, bytes]:
    """The folder ``MODEL.c`` of ``network``: name -> content. Its self-test runs images of CIFAR-10 in this package.

    Raises:
        TypeError: the network has a layer or a size that has no form in C.
    """
    images = load_dataset("sample", size=network.size).test_images
    return c.write(network, metadata, options) | c.selftest(network, metadata, options, images)
