"""The formats that an integer network is written in: a module and a line in `TARGETS` for each."""

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
        options: class of the last one: a frozen dataclass that has a default for everything.
        run: the files, and pixels uint8 ``[n, size, size, 3]`` -> what the files answer, float32 ``[n, classes]``.
    """

    write: Callable[[IntegerNetwork, ModelMetadata, Any], Files]
    options: Callable[[], Any]
    run: Callable[[Files, npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


ALWAYS = "onnx"
"""The target that every export writes: the runtime of this package reads it."""

TARGETS: dict[str, Target] = {
    ALWAYS: Target(onnx.write, onnx.OnnxOptions, onnx.run),
}
"""Name, as `cifar-edge export --target` takes it -> target."""


def check_names(names: Sequence[str]) -> None:
    """See that there are targets of these names.

    Raises:
        ExportError: there is none of some name.
    """
    for name in names:
        if name not in TARGETS:
            known = ", ".join(sorted(TARGETS))
            raise ExportError(f"no target is called {name!r}{did_you_mean(name, TARGETS)}; there are {known}")


def write_targets(
    names: Sequence[str], network: IntegerNetwork, metadata: ModelMetadata, images: npt.NDArray[np.uint8]
) -> dict[str, Files]:
    """The files of ``network`` for `ALWAYS` and the targets ``names``, by name of the target, each with its defaults.

    Each answers what the network itself answers, bit for bit.

    Args:
        names: keys of `TARGETS`.
        network: to write.
        metadata: what the files say of themselves.
        images: uint8 ``[n, size, size, 3]``, to compare by; the first `GATE_IMAGES` are used.

    Raises:
        ExportError: a target cannot write a layer of the network, or two targets write files of one name.
        GateFailed: the files of a target answer otherwise.
    """
    shown = images[:GATE_IMAGES]
    wanted = network(shown).astype(np.float32) * network.logit_scale
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
        answers = target.run(files, shown)
        if differing := int(np.count_nonzero((answers != wanted).any(axis=1))):
            raise GateFailed(
                f"{name} does not compute what the integer network does: {differing} of {len(shown)} images get other "
                f"logits, by up to {np.abs(answers - wanted).max():.2g}; nothing was written"
            )
        written[name] = files
    return written
