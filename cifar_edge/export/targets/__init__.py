"""The targets, formats that an integer network is written in; each has a module and a line in `TARGETS`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.c import COptions
from cifar_edge.c import figures as c_figures
from cifar_edge.c import run as run_c
from cifar_edge.errors import ExportError
from cifar_edge.export.folder import model_file, renamed
from cifar_edge.export.targets import c, litert, onnx
from cifar_edge.export.targets.gate import GATE_IMAGES, Files, Images, Outcome, Reference, Runner, Tolerance, check
from cifar_edge.integer import IntegerNetwork
from cifar_edge.messages import did_you_mean
from cifar_edge.spec import ModelMetadata


@dataclass(frozen=True, slots=True)
class Target:
    """A format.

    Attributes:
        write: network, metadata and options -> the files.
        options: class of the options: a frozen dataclass in which every field has a default.
        path: of the one file, or of the folder of the files, where ``{stem}`` is what they are called by.
        runners: the programs that read the files; the gate compares each with the network.
        figures: network -> what its files cost on a device, as JSON values for ``report.json``.
        session: the files -> what runs them, called as onnxruntime's ``InferenceSession``, to be timed beside it; None
            if they are not timed.
        next_step: what to do with the files, where ``{path}`` is the file, or the folder that they lie in.
    """

    write: Callable[[IntegerNetwork, ModelMetadata, Any], Files]
    options: Callable[[], Any]
    path: str
    runners: tuple[Runner, ...]
    figures: Callable[[IntegerNetwork], Mapping[str, Any]] = lambda network: {}
    session: Callable[[Files], Any] | None = None
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a target that were not refused by its gate.

    Attributes:
        files: name -> content.
        outcomes: of its gate, one for each program that reads them.
        figures: see `Target`.
    """

    files: Files
    outcomes: tuple[Outcome, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)


ALWAYS = "onnx"
"""The target that every export writes, because the runtime of this package reads it."""

_PREDICT = "cifar-edge predict --model {path} photo.jpg"

TARGETS: dict[str, Target] = {
    ALWAYS: Target(
        onnx.write,
        onnx.OnnxOptions,
        "{stem}.int8.onnx",
        (Runner("onnxruntime", onnx.run, images=GATE_IMAGES),),
        next_step=_PREDICT,
    ),
    "c": Target(
        c.write,
        COptions,
        "{stem}.c",
        (Runner("C", run_c),),
        c_figures,
        next_step="compile it as {path}/README.md says",
    ),
    "onnx-float-head": Target(
        onnx.write_float_head,
        onnx.OnnxOptions,
        "{stem}.float-head.onnx",
        (Runner("onnxruntime", onnx.run, Tolerance(agreement=0.9999, drop=0.01)),),
        next_step="cv2.dnn.readNetFromONNX, or another runtime",
    ),
    "litert": Target(
        litert.write,
        litert.LitertOptions,
        "{stem}.int8.tflite",
        litert.RUNNERS,
        session=litert.session,
        next_step=_PREDICT,
    ),
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
            known = ", ".join(sorted(TARGETS.keys() - {ALWAYS}))
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
    targets: Mapping[str, Any],
    network: IntegerNetwork,
    metadata: ModelMetadata,
    images: Images,
    labels: npt.NDArray[np.integer] | None,
    stem: str | None = None,
    float_classes: npt.NDArray[np.integer] | None = None,
    exported: bytes | None = None,
    stage: Callable[[str], None] = lambda name: None,
) -> dict[str, Written]:
    """The files of ``network`` for `ALWAYS` and for ``targets``: target -> its files.

    The logits of each are compared with those of the network: they are the same, bit for bit, or the classes are, as
    far as the target promises.

    Args:
        targets: key of `TARGETS` -> options, as `target_options` returns them.
        network: to write.
        metadata: to write into the files.
        images: uint8 ``[n, size, size, 3]``, to compare on.
        labels: their true classes, ``[n]``; None if they are not known, and accuracy is not compared.
        stem: what the files are called by; None for the name of the model.
        float_classes: classes of the images by the network before rounding, ``[n]``; None if it is not at hand.
        exported: the file of `ALWAYS`, if ``network`` was read from it; None writes one.
        stage: called with what is done next, in a few words.

    Raises:
        MissingExtra: a package that writes a target is not installed.
        ExportError: a target cannot write a layer of the network, or two targets write files of the same name.
        GateFailed: the files of a target give other logits than its gate allows.
    """
    there = {} if exported is None else {ALWAYS: {model_file(metadata.model, metadata.precision): exported}}
    written: dict[str, Written] = {}

    @cache
    def logits() -> npt.NDArray[np.float32]:
        return onnx.run(written[ALWAYS].files, images)  # it has passed its gate by then

    reference = Reference(images, labels, network(images[:GATE_IMAGES]), network.logit_scale, logits, float_classes)
    for name, options in ({ALWAYS: TARGETS[ALWAYS].options()} | dict(targets)).items():
        target = TARGETS[name]
        stage(f"writing {name}, and comparing it with the integer network")
        try:
            files: Files = there.get(name) or target.write(network, metadata, options)
        except TypeError as error:  # a layer that the format has no form for
            raise ExportError(f"the target {name} cannot write this network: {error}") from error
        files = renamed(files, metadata.model, stem or metadata.model)
        taken = {file for others in written.values() for file in others.files} & files.keys()
        if taken:
            raise ExportError(f"two targets write {', '.join(sorted(taken))}; export them into two folders")
        outcomes = tuple(check(name, runner, files, reference) for runner in target.runners)
        written[name] = Written(files, outcomes, target.figures(network))
    return written
