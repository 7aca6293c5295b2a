"""The whole export of a trained network: convert, compare, measure, then write the files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from cifar_edge.data.dataset import Dataset
from cifar_edge.errors import ExportError
from cifar_edge.export.conversion import Conversion, Convert, conversions, has_integers
from cifar_edge.export.folder import REPORT_TEXT, model_file, replacing_export
from cifar_edge.export.graphs import serialize
from cifar_edge.export.layer_signals import LayerSignal, layer_signals
from cifar_edge.export.own_accuracy import FINETUNE, Given
from cifar_edge.export.parity import (
    Comparison,
    Logits,
    Verdict,
    compare,
    judge_fp32,
    judge_int8,
    torch_logits,
)
from cifar_edge.export.report import Report, Row, TargetGate
from cifar_edge.export.targets import ALWAYS, TARGETS, Written, write_targets
from cifar_edge.export.threshold import Calibration, Chosen, choose
from cifar_edge.folding.fold import can_fold
from cifar_edge.measure.metrics import CONCLUSIVE_IMAGES, Estimate, accuracy
from cifar_edge.measure.timing import Timing, machine, time_alternately
from cifar_edge.messages import display_name, listed
from cifar_edge.runs.exports import REPORT
from cifar_edge.runtime.model import load, run
from cifar_edge.spec import ModelMetadata
from cifar_edge.training.checkpoint import TrainedNetwork


def export_network(
    trained: TrainedNetwork,
    dataset: Dataset,
    out: Path,
    *,
    quantize: bool,
    max_drop: float,
    targets: Mapping[str, Any] | None = None,
    threshold: Calibration | None = None,
    debug: Callable[[Sequence[LayerSignal]], None] | None = None,
    convert: Convert = conversions,
    own: Given | None = None,
    stem: str | None = None,
    stage: Callable[[str], None] = lambda name: None,
) -> Report:
    """Write ``<stem>.fp32.onnx``, with ``quantize`` ``<stem>.int8.onnx``, and a report into the folder ``out``.

    Int8 is made of the folded network if there is one, else of the network as trained. An earlier export in ``out`` is
    replaced as a whole, after every gate has been passed.

    Args:
        trained: on the CPU, in evaluation mode.
        dataset: training images calibrate, test images judge; if these are few, rounding is judged on both.
        out: made if it is missing; other files in it stay.
        quantize: also make int8.
        max_drop: percentage points of accuracy that int8 may lose.
        targets: formats to write int8 in besides ONNX, with their options; see
            `cifar_edge.export.targets.target_options`.
        threshold: the images that a threshold of each file is chosen by; None for no threshold.
        debug: called with the signal after each layer of int8, before int8 is judged.
        convert: makes the graphs, as `cifar_edge.export.conversion.conversions` does.
        own: what the user gave; None for a network of this package.
        stem: what the files are called by; None for the name of the model.
        stage: called with what is done next, in a few words.

    Raises:
        GateFailed: a file differs from the PyTorch module, or from the integer network, by more than its gate allows.
        ExportError: dataset and network differ in their classes, the network's logits are NaN, a target cannot
            write this network, ``out`` cannot be written to, or another process writes to it.
        TrainingError: another process trains, folds or exports the run that ``out`` lies in.
    """
    if dataset.labels != trained.labels:
        raise ExportError(
            f"{trained.name} has the classes {listed(trained.labels)}, but the dataset "
            f"{display_name(dataset.name)} has {listed(dataset.labels)}; give the data it was trained on with --data"
        )
    targets = targets or {}
    if set(targets) - {ALWAYS} and not (quantize and has_integers(trained)):
        raise ExportError(
            f"{', '.join(targets)}: a target other than {ALWAYS} is written of an integer network; {trained.name} has "
            "none, since its norms are not folded, or int8 is not asked for"
        )
    with replacing_export(out) as replace_files:
        stage("making fp32 and int8" if quantize else "making fp32")
        made = convert(trained, dataset, quantize=quantize)
        if debug is not None and quantize:
            debug(layer_signals(made[-2].graph, made[-1].graph, dataset.train_images))
        judged = []
        for each in made:
            stage(f"comparing {each.name} with PyTorch on {len(dataset.test_labels):,} images")
            judged.append(_judge(each, trained, made[0].source, dataset, max_drop, threshold, own))
        stem = stem or trained.name
        written = _written(judged[-1], dataset, targets, stem, stage)
        stage("measuring latency")
        report = _report(trained, dataset, judged, max_drop, written, stem, own)
        contents = {row.file: export.content for row, export in zip(report.rows, judged, strict=True) if row.file}
        for target in written.values():
            contents.update(target.files)
        replace_files(contents | {REPORT_TEXT: report.to_markdown().encode(), REPORT: report.to_json().encode()})
    return report


@dataclass(frozen=True, slots=True)
class _Judged:
    """A conversion that has passed its gates; for the rest see `cifar_edge.export.report.Row`."""

    conversion: Conversion
    about: ModelMetadata
    content: bytes
    accuracy: Estimate
    comparison: Comparison
    against_folded: Comparison | None
    rounding: Comparison | None
    verdict: Verdict
    chosen: Chosen | None


def _judge(
    conversion: Conversion,
    trained: TrainedNetwork,
    exact: Logits,
    dataset: Dataset,
    max_drop: float,
    threshold: Calibration | None,
    own: Given | None,
) -> _Judged:
    """Check the gates: compare ``conversion`` with the module that it was made of and with the one that was trained.

    Args:
        conversion: of ``trained``.
        trained: the network, and its folded form.
        exact: logits of the network as trained, on the test images.
        dataset: to judge by.
        max_drop: percentage points of accuracy that int8 may lose.
        threshold: images to choose a threshold by.
        own: what the user gave, if the network is not of this package.
    """
    graph, about, labels = conversion.graph, conversion.about, dataset.test_labels
    session = load(serialize(graph, about)).session
    logits = run(session, dataset.test_images)
    comparison = compare(logits, exact, labels)
    against_folded = None if conversion.source is exact else compare(logits, conversion.source, labels)
    rounding = None
    if about.precision == "fp32":
        verdict = judge_fp32(against_folded or comparison, conversion.tolerance)
    else:
        rounding = _rounding(session, logits, conversion, trained.folded or trained.network, dataset)
        made_of, parts = "the network as trained", ""
        if against_folded is not None:
            folded, rounded = compare(conversion.source, exact, labels).drop.value, against_folded.drop.value
            made_of = "the folded network"
            parts = f" (on the test images folding lost {100 * folded:.2f}, rounding {100 * rounded:.2f})"
        gates = [(rounding, made_of), (comparison, "the network as trained")]
        advice = "export without --quantize" if own is None else f"try {FINETUNE}"
        verdicts = {judge_int8(each, max_drop, reference, parts, advice) for each, reference in gates}
        verdict = "undecided" if "undecided" in verdicts else "passed"
    right = accuracy(int(np.count_nonzero(logits.argmax(axis=1) == labels)), len(labels))
    chosen = None
    if threshold is not None and conversion.written:
        chosen = choose(lambda pixels: run(session, pixels), logits, threshold)
        about = replace(about, threshold=chosen.threshold)
    # The metadata contains the accuracy, so the file is complete only now; its graph is the one just judged.
    about = replace(about, test_accuracy=right.value, test_images=right.images)
    return _Judged(
        conversion, about, serialize(graph, about), right, comparison, against_folded, rounding, verdict, chosen
    )


def _written(
    int8: _Judged, dataset: Dataset, targets: Mapping[str, Any], stem: str, stage: Callable[[str], None]
) -> dict[str, Written]:
    """The files of each target, after their gate; none if there is no integer network."""
    integers = int8.conversion.integers
    if integers is None:
        return {}
    float_classes = int8.conversion.source.argmax(axis=1)
    return write_targets(
        targets, integers, int8.about, dataset.test_images, dataset.test_labels, stem, float_classes, stage=stage
    )


def _rounding(session: Any, logits: Logits, conversion: Conversion, network: nn.Module, dataset: Dataset) -> Comparison:
    """Int8 compared with ``network``, which it was made of; on training images too, if test images are few."""
    if len(dataset.test_labels) >= CONCLUSIVE_IMAGES or not len(dataset.train_labels):
        return compare(logits, conversion.source, dataset.test_labels)
    return compare(
        np.concatenate([logits, run(session, dataset.train_images)]),
        np.concatenate([conversion.source, torch_logits(network, dataset.train_images)]),
        np.concatenate([dataset.test_labels, dataset.train_labels]),
    )


def _report(
    trained: TrainedNetwork,
    dataset: Dataset,
    judged: Sequence[_Judged],
    max_drop: float,
    written: Mapping[str, Written],
    stem: str,
    own: Given | None,
) -> Report:
    sessions = {export.conversion.name: load(export.content).session for export in judged}
    others = {name: TARGETS[name].session for name in written}
    sessions |= {name: session(written[name].files) for name, session in others.items() if session is not None}
    timings = time_alternately(sessions, dataset.test_images)
    about = judged[0].conversion.about
    return Report(
        model=trained.name,
        created=about.created,
        rows=tuple(_row(stem, export, timings[export.conversion.name]) for export in judged),
        max_drop=max_drop,
        unfolded=trained.folded is None and can_fold(trained.network),
        data=f"{dataset.name} ({dataset.source})",
        machine=machine(),
        versions=about.versions,
        targets={name: tuple(target.files) for name, target in written.items()},
        target_gates={
            name: TargetGate(target.outcomes, target.figures, timings.get(name))
            for name, target in written.items()
            if name != ALWAYS
        },
        own=own,
    )


def _row(stem: str, export: _Judged, timing: Timing) -> Row:
    conversion = export.conversion
    return Row(
        name=conversion.name,
        precision=conversion.about.precision,
        file=model_file(stem, conversion.about.precision) if conversion.written else None,
        size=len(export.content),
        accuracy=export.accuracy,
        comparison=export.comparison,
        against_folded=export.against_folded,
        rounding=export.rounding,
        verdict=export.verdict,
        threshold=export.chosen,
        timing=timing,
    )
