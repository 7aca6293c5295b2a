"""The whole way of one network: fold, quantize, export, and each file against the others."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from torch import nn

import cifar_edge.export as edge
from benchmarks.own_network.results import Line
from benchmarks.quantize_static import quantize_tuned
from cifar_edge.data import Dataset
from cifar_edge.errors import GateFailed
from cifar_edge.export.report import Report
from cifar_edge.export.targets import litert
from cifar_edge.measure.timing import machine, session_run, take_turns
from cifar_edge.models.summary import count_parameters
from cifar_edge.runtime.model import load, run

_TARGETS = ("c", "litert")
_OPERATORS = ("Conv", "Gemm", "Relu", "Clip", "Add", "MaxPool", "GlobalAveragePool")
"""What quantize_static computes in integers."""
_ROUNDS, _RUNS, _WARM_UP = 20, 20, 5
_TIMED = 100
"""Images that each file classifies in turn, since one image again and again makes branches predictable."""

Images = npt.NDArray[np.uint8]
Call = Callable[[Images], Any]


@dataclass(frozen=True)
class Subject:
    """A network, and what it is tried on.

    Attributes:
        weights: what they are, for the table.
        mean: what the network's input subtracts, a channel.
        std: what it divides by.
        official: its publishers' own int8 file; None if there is none.
    """

    name: str
    network: nn.Module
    weights: str
    dataset: Dataset
    mean: tuple[float, ...]
    std: tuple[float, ...]
    official: Path | None = None


def measured(subject: Subject, out: Path, finetune: int, calibration: int, test_images: int) -> Line:
    """The way of one network; files are written into ``out``."""
    dataset = subject.dataset
    images, labels = dataset.test_images[:test_images], dataset.test_labels[:test_images]
    folded = edge.fold(subject.network, dataset.train_images[:1000], mean=subject.mean, std=subject.std)
    if finetune:
        data = dataset.train_images[:5000], dataset.train_labels[:5000]
        folded = edge.finetune(folded, data, teacher=subject.network, epochs=finetune)
    quantized = edge.quantize(folded, dataset.train_images[:calibration])
    report, outcome = _exported(quantized, out, subject, (images, labels))

    ours = {precision: load(out / f"{subject.name}.{precision}.onnx") for precision in ("fp32", "int8")}
    sessions = {precision: model.session for precision, model in ours.items()}
    sessions["static"] = static(out / f"{subject.name}.fp32.onnx", dataset.train_images[:calibration])
    sessions["c"] = load(out / f"{subject.name}.int8.onnx", engine="c").session
    (tflite,) = litert.write(quantized.integers, ours["int8"].metadata, litert.LitertOptions()).values()
    sessions["litert"] = load(tflite).session  # also where its gate refused it
    answers = {name: run(session, images) for name, session in sessions.items() if name != "fp32"}
    if not (answers["c"] == answers["int8"]).all():
        raise GateFailed(f"{subject.name} in C gives other logits than int8")
    right = {name: round(100 * float(np.mean(logits.argmax(1) == labels)), 2) for name, logits in answers.items()}
    calls: dict[str, Call] = {name: _call(session) for name, session in sessions.items()}
    if subject.official:
        calls["official"] = official(subject.official)
        found = [np.argmax(calls["official"](image[None])) for image in images]
        right["official"] = round(100 * float(np.mean(found == labels)), 2)
    times = _times(calls, images)

    fp32, folding, int8 = report.rows
    return Line(
        network=subject.name,
        weights=subject.weights,
        size=dataset.size,
        parameters=count_parameters(subject.network),
        macs=ours["fp32"].metadata.macs,
        finetuned=finetune,
        images=len(images),
        outcome=outcome,
        accuracy=round(100 * fp32.accuracy.value, 2),
        folded=round(100 * folding.accuracy.value, 2),
        int8=right["int8"],
        agreement=round(100 * int8.comparison.agreement, 2),
        static=right["static"],
        litert=right["litert"],
        official=right.get("official"),
        c_images=len(images),
        fp32_time=times["fp32"],
        static_time=times["static"],
        litert_time=times["litert"],
        c_time=times["c"],
        official_time=times.get("official"),
        machine=machine(),
    )


def _exported(
    quantized: edge.Quantized, out: Path, subject: Subject, test: tuple[Images, npt.NDArray[np.int64]]
) -> tuple[Report, str]:
    """The report of an export into ``out``, and what the gates said; they are lifted if they refuse it."""
    outcome = "passed"
    for max_drop, targets in ((0.5, _TARGETS), (100.0, _TARGETS), (100.0, ("c",))):
        try:
            report = edge.export(
                quantized,
                out,
                test=test,
                labels=subject.dataset.labels,
                targets=targets,
                name=subject.name,
                max_drop=max_drop,
            )
        except GateFailed as error:
            outcome = str(error) if outcome == "passed" else outcome
            continue
        return report, outcome
    raise GateFailed(outcome)


def static(file: Path, images: Images) -> onnxruntime.InferenceSession:
    """What quantize_static makes of an ``.onnx`` file, tuned as its documentation advises, with one thread."""
    target = file.with_suffix(".static.onnx")
    quantize_tuned(file, target, images, _OPERATORS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it warns of shapes that quantize_static left in the file
    return onnxruntime.InferenceSession(target, options, providers=["CPUExecutionProvider"])


def _call(session: object) -> Call:
    return lambda images: session_run(session, images)()


def official(file: Path) -> Call:
    """An int8 ``.tflite`` file whose input is the pixel less 128, in LiteRT with XNNPACK, one thread."""
    interpreter = Interpreter(model_content=file.read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    source, target = (ends[0]["index"] for ends in (interpreter.get_input_details(), interpreter.get_output_details()))

    def classify(images: Images) -> object:
        interpreter.set_tensor(source, (images ^ 0x80).view(np.int8))
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return classify


def _times(calls: dict[str, Call], images: Images) -> dict[str, float]:
    """The median time of an image, as a ratio to int8's."""
    shown = {name: itertools.cycle(images[:_TIMED, None]) for name in calls}
    turns = {name: (lambda name=name: calls[name](next(shown[name]))) for name in calls}
    seconds = take_turns(turns, _ROUNDS, _RUNS, _WARM_UP)
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    return {name: round(median / medians["int8"], 3) for name, median in medians.items()}
