"""The targets, formats that an integer network is written in; each has a module and a line in `TARGETS`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import CannotRun, ExportError, GateFailed
from cifar_edge.export.targets import onnx
from cifar_edge.integer import IntegerNetwork
from cifar_edge.messages import did_you_mean
from cifar_edge.spec import ModelMetadata

Files: TypeAlias = Mapping[str, bytes]
"""File name -> content. The files of a target may lie in a folder: ``gn-cnn.c/gn_cnn.h``."""

GATE_IMAGES = 512
"""Images on which a target's files are compared with the integer network."""


@dataclass(frozen=True, slots=True)
class Target:
    """A format.

    Attributes:
        write: network, metadata and options -> the files.
        options: class of the options: a frozen dataclass in which every field has a default.
        run: the files, and pixels uint8 ``[n, size, size, 3]`` -> their logits ``[n, classes]``: float32, or the int32
            sums if the format has them. It raises `CannotRun` on a machine that cannot run the files.
        figures: network and files -> what the files cost on a device, as JSON values for ``report.json``.
    """

    write: Callable[[IntegerNetwork, ModelMetadata, Any], Files]
    options: Callable[[], Any]
    run: Callable[[Files, npt.NDArray[np.uint8]], npt.NDArray[np.float32] | npt.NDArray[np.int32]]
    figures: Callable[[IntegerNetwork, Files], Mapping[str, Any]] = lambda network, files: {}


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a target that were not refused by its gate.

    Attributes:
        files: name -> content.
        images: number of images on which they were compared with the integer network.
        not_compared: why they could not be compared on this machine; None if they were.
        figures: see `Target`.
    """

    files: Files
    images: int
    not_compared: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


ALWAYS = "onnx"
"""The target that every export writes, because the runtime of this package reads it."""

TARGETS: dict[str, Target] = {
    ALWAYS: Target(onnx.write, onnx.OnnxOptions, onnx.run),
}
"""Name for `cifar-edge export --target` -> target."""


def target_options(names: Iterable[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the targets ``names``: name -> an instance of the target's options class.

    Args:
        names: keys of `TARGETS`.
        given: field -> value, for the targets whose options have that field; the others keep their defaults.

    Raises:
        ExportError: there is no target of one of the names, none of them has an option of ``given``, or a value is not
            one that the option may have.
    """
    chosen: dict[str, Any] = {}
    used: set[str] = set()
    for name in dict.fromkeys(names):
        if name not in TARGETS:
            known = ", ".join(sorted(TARGETS))
            raise ExportError(f"no target is called {name!r}{did_you_mean(name, TARGETS)}; there are {known}")
        defaults = TARGETS[name].options()
        own = {option.name: given[option.name] for option in fields(defaults) if option.name in given}
        try:
            chosen[name] = replace(defaults, **own)
        except ValueError as error:
            raise ExportError(f"the target {name} cannot be written so: {error}") from error
        used |= own.keys()
    if unused := sorted(given.keys() - used):
        targets = ", ".join(name for name, target in TARGETS.items() if hasattr(target.options(), unused[0]))
        raise ExportError(f"--{unused[0]} is an option of the target {targets}, which --target names")
    return chosen


def write_targets(
    targets: Mapping[str, Any], network: IntegerNetwork, metadata: ModelMetadata, images: npt.NDArray[np.uint8]
) -> dict[str, Written]:
    """The files of ``network`` for `ALWAYS` and for ``targets``: target -> its files.

    The logits of each are compared with those of the network, and are the same, bit for bit.

    Args:
        targets: key of `TARGETS` -> options, as `target_options` returns them.
        network: to write.
        metadata: to write into the files.
        images: uint8 ``[n, size, size, 3]``, to compare on; the first `GATE_IMAGES` are used.

    Raises:
        ExportError: a target cannot write a layer of the network, or two targets write files of the same name.
        GateFailed: the files of a target give other logits.
    """
    compared = images[:GATE_IMAGES]
    sums = network(compared)
    written: dict[str, Written] = {}
    for name, options in ({ALWAYS: TARGETS[ALWAYS].options()} | dict(targets)).items():
        target = TARGETS[name]
        try:
            files = target.write(network, metadata, options)
        except TypeError as error:  # a layer that the format has no form for
            raise ExportError(f"the target {name} cannot write this network: {error}") from error
        taken = {file for others in written.values() for file in others.files} & files.keys()
        if taken:
            raise ExportError(f"two targets write {', '.join(sorted(taken))}; export them into two folders")
        figures = target.figures(network, files)
        try:
            logits = target.run(files, compared)
        except CannotRun as error:
            written[name] = Written(files, 0, str(error), figures)
            continue
        wanted = sums if logits.dtype == np.int32 else sums.astype(np.float32) * network.logit_scale
        if differing := int(np.count_nonzero((logits != wanted).any(axis=1))):
            largest = np.abs(logits - wanted.astype(np.float64)).max()
            raise GateFailed(
                f"{name} does not compute what the integer network does: {differing} of {len(compared)} images get "
                f"other logits, by up to {largest:.2g}; nothing was written"
            )
        written[name] = Written(files, len(compared), None, figures)
    return written
