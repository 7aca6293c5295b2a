"""The self-test of a network in C: images, their logits, and a checksum of each layer's rows."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.c.figures import IMAGES
from cifar_edge.c.options import COptions
from cifar_edge.c.plan import plan
from cifar_edge.c.sources import filled, folder_of, quoted
from cifar_edge.c.tables import integer_constants
from cifar_edge.integer import IntegerNetwork, Layer, Quantization, Residual
from cifar_edge.integer.quantization import Codes
from cifar_edge.spec import ModelMetadata


def selftest(
    network: IntegerNetwork, metadata: ModelMetadata, options: COptions, images: npt.NDArray[np.uint8]
) -> dict[str, bytes]:
    """The file ``selftest.c`` in the folder of ``network``: name -> content.

    Args:
        network: as for `cifar_edge.c.write`.
        metadata: likewise.
        options: likewise.
        images: uint8 ``[n, size, size, 3]``, of which the first `IMAGES` are used.
    """
    used = images[:IMAGES]
    names = [step.name for step in plan(network).steps]
    layers = [_checksums(codes) for codes in _activations(network.layers[:-1], used, network.pixels)]
    tests = (
        _by_image("uint8_t", "images", used.reshape(len(used), -1))
        + _by_image("int32_t", "expected", network(used))
        + _by_image("uint32_t", "checksums", np.stack([*layers, np.zeros(len(used), np.uint32)], axis=1))
        + f"static const char *const names[LAYERS + 1] = {{{', '.join(map(quoted, names))}}};\n"
    )
    values = {"IMAGES": str(len(used)), "TESTS": tests}
    content = filled("selftest.c", values, options.prefix(metadata.model)).encode()
    return {f"{folder_of(metadata)}/selftest.c": content}


def _by_image(kind: str, name: str, values: npt.NDArray[Any]) -> str:
    """A constant array of what belongs to each image, ``[n, ...]``; a macro leaves the last ones out."""
    rows = [
        f"#if NETWORK_SELFTEST_IMAGES > {image}\n{integer_constants(row)}#endif\n" for image, row in enumerate(values)
    ]
    return f"static const {kind} {name}[] = {{\n{''.join(rows)}}};\n"


def _activations(layers: Sequence[Layer], codes: Codes, given: Quantization) -> Iterator[Codes]:
    """What each step of `plan` makes, in its order; the last one is the output of ``layers``."""
    for layer in layers:
        if isinstance(layer, Residual):
            for branch in (layer.layers, layer.shortcut):
                yield from _activations(branch, codes, given)
        codes, given = layer(codes, given)
        yield codes


def _checksums(codes: Codes) -> npt.NDArray[np.uint32]:
    """For each image the sum of all partial sums of its codes, modulo 2^32."""
    flat = codes.reshape(len(codes), -1).astype(np.uint64)
    total: npt.NDArray[np.uint32] = flat.cumsum(axis=1).sum(axis=1).astype(np.uint32)
    return total
