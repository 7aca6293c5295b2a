"""The targets, formats that an integer network is written in; each has a module and a line in `TARGETS`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import ExportError, GateFailed
from cifar_edge.export.targets import onnx
from cifar_edge.integer import IntegerNetwork
from cifar_edge.messages import did_you_mean
from cifar_edge.spec import ModelMetadata

Files: TypeAlias = Mapping[str, bytes]
"""File name -> content."""

GATE_IMAGES = 512
"""Images on which a target's files are compared with the integer network."""


@dataclass(frozen=True, slots=True)
class Target:
    """A format.

    Attributes:
        write: network, metadata and options -> the files.
        options: class of the options: a frozen dataclass in which every field has a default.
        run: the files, and pixels uint8 ``[n, size, size, 3]`` -> their logits, float32 ``[n, classes]``.
    """

    write: Callable[[IntegerNetwork, ModelMetadata, Any], Files]
    options: Callable[[], Any]
    run: Callable[[Files, npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


ALWAYS = "onnx"
"""The target that every export writes, because the runtime of this package reads it."""

TARGETS: dict[str, Target] = {
    ALWAYS: Target(onnx.write, onnx.OnnxOptions, onnx.run),
}
"""Name for `cifar-edge export --target` -> target."""


def check_names(names: Sequence[str]) -> None:
    """Check that there are targets of these names.

    Raises:
        ExportError: there is no target of one of the names.
    """
    for name in names:
        if name not in TARGETS:
            known = ", ".join(sorted(TARGETS))
            raise ExportError(f"no target is called {name!r}{did_you_mean(name, TARGETS)}; there are {known}")


def write_targets(
    names: Sequence[str], network: IntegerNetwork, metadata: ModelMetadata, images: npt.NDArray[np.uint8]
) -> dict[str, Files]:
    """The files of ``network`` for `ALWAYS` and the targets ``names``, with default options: target -> files.

    The logits of each are compared with those of the network, and are the same, bit for bit.

    Args:
        names: keys of `TARGETS`.
        network: to write.
        metadata: to write into the files.
        images: uint8 ``[n, size, size, 3]``, to compare on; the first `GATE_IMAGES` are used.

    Raises:
        ExportError: a target cannot write a layer of the network, or two targets write files of the same name.
        GateFailed: the files of a target give other logits.
    """
    compared = images[:GATE_IMAGES]
    wanted = network(compared).astype(np.float32) * network.logit_scale
    written: dict[str, Files] = {}
    for name in dict.fromkeys((ALWAYS, *names)):
        target = TARGETS[name]
        try:
            files = target.write(network, metadata, target.options())
        except TypeError as error:  # a layer that the format has no form for
            raise ExportError(f"the target {name} cannot write this network: {error}") from error
        taken = {file for others in written.values() for file in others} & files.keys()
        if taken:
            raise ExportError(f"two targets write {', '.join(sorted(taken))}; export them into two folders")
        logits = target.run(files, compared)
        if differing := int(np.count_nonzero((logits != wanted).any(axis=1))):
            raise GateFailed(
                f"{name} does not compute what the integer network does: {differing} of {len(compared)} images get "
                f"other logits, by up to {np.abs(logits - wanted).max():.2g}; nothing was written"
            )
        written[name] = files
    return written
