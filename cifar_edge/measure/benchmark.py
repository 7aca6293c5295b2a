"""Measures latency, throughput, start-up time, memory and size of models on this machine, side by side."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import ModelError
from cifar_edge.measure.timing import ROUNDS, Latency, session_run, time_batches, time_singles
from cifar_edge.messages import display_name, reason
from cifar_edge.runs.exports import EXPORT
from cifar_edge.runtime.classifier import Classifier
from cifar_edge.runtime.model import ONNXRUNTIME, load

PROCESSES = 5
"""Number of fresh processes that load each model."""

_STARTUP = "cifar_edge.measure.startup"


@dataclass(frozen=True, slots=True)
class Start:
    """Start-up cost of a fresh process, as medians (see `cifar_edge.measure.startup`).

    Attributes:
        creation_seconds: time to create a `Classifier`: read the file, create the session, check the contract.
        peak_bytes: peak physical memory of the process until it has classified one image; None if unknown.
        model_bytes: difference of that to the peak after the imports.
    """

    creation_seconds: float
    peak_bytes: int | None
    model_bytes: int | None


@dataclass(frozen=True, slots=True)
class Cost:
    """The measured cost of one model.

    Attributes:
        name: display name (see `row_names`).
        path: the ``.onnx`` file.
        file_bytes: size of the file.
        session_run: latency of ``InferenceSession.run`` on an array of one image.
        predict: latency of `Classifier.predict` on an array of one image.
        images_per_second: throughput of ``InferenceSession.run`` on a batch, by the median.
        start: start-up cost of a fresh process.
        engine: what ran it, if it is an ``.onnx`` file.
    """

    name: str
    path: Path
    file_bytes: int
    session_run: Latency
    predict: Latency
    images_per_second: float
    start: Start
    engine: str = ONNXRUNTIME


def benchmark(
    paths: Sequence[Path],
    images: Callable[[int], npt.NDArray[np.uint8]],
    *,
    threads: int = 1,
    batch: int = 64,
    engines: Sequence[str] = (ONNXRUNTIME,),
    rounds: int = ROUNDS,
    processes: int = PROCESSES,
) -> list[Cost]:
    """Measure the ``.onnx`` files ``paths`` in turn, so that a drift of the machine affects all of them.

    Args:
        paths: files; the same one may be given twice, to see how much two measurements differ.
        images: size S -> images, uint8 ``[n, S, S, 3]``, at least one; the batch repeats them.
        threads: threads of every session.
        batch: images in a call of the throughput measurement.
        engines: what runs each of the files, see `cifar_edge.runtime.model.ENGINES`.
        rounds: number of rounds, in each of which every model has its turn.
        processes: fresh processes a model.

    Raises:
        ModelError: a file is not a model (`ContractError`: it violates the contract), or its fresh process fails.
    """
    named = [
        (f"{name} ({engine})" if len(engines) > 1 else name, path, engine)
        for name, path in zip(row_names(paths), paths, strict=True)
        for engine in engines
    ]
    given = [(path, engine) for _, path, engine in named]
    sessions = [load(path, threads, engine=engine).session for path, engine in given]
    classifiers = [Classifier(path, threads, engine) for path, engine in given]
    starts = _starts(given, threads, processes)
    seen = [images(classifier.size) for classifier in classifiers]
    calls = {}
    for index, (session, classifier) in enumerate(zip(sessions, classifiers, strict=True)):
        calls[index, "run"] = session_run(session, seen[index][:1])
        calls[index, "predict"] = _predict(classifier, seen[index][0])
    latencies = {key: Latency.of(seconds) for key, seconds in time_singles(calls, rounds).items()}
    many = [np.resize(each, (batch, *each.shape[1:])) for each in seen]
    batches = time_batches({index: session_run(session, many[index]) for index, session in enumerate(sessions)}, rounds)
    return [
        Cost(
            name=name,
            path=path,
            file_bytes=path.stat().st_size,
            session_run=latencies[index, "run"],
            predict=latencies[index, "predict"],
            images_per_second=batch / median(batches[index]),
            start=starts[index],
            engine=engine,
        )
        for index, (name, path, engine) in enumerate(named)
    ]


def _predict(classifier: Classifier, image: npt.NDArray[np.uint8]) -> Any:
    return lambda: classifier.predict(image)


def row_names(paths: Sequence[Path]) -> list[str]:
    """Display names that tell the files apart: by name, by run or folder, or both; by number if one is given twice."""
    files = [path.name.removesuffix(".onnx") for path in paths]
    places = [_place(path) for path in paths]
    names = []
    for file, place in zip(files, places, strict=True):
        rivals = {other for name, other in zip(files, places, strict=True) if name == file}
        folders = _differing(place, rivals)
        names.append(display_name("/".join(folders if folders and len(set(files)) == 1 else [*folders, file])))
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name} #{seen[name]}" if names.count(name) > 1 else name)
    return numbered


def _place(path: Path) -> tuple[str, ...]:
    """The names of the folders above a file, the nearest first, without that of an export in a run."""
    nearest_first = path.parent.resolve().parts[::-1]
    return nearest_first[1:] if nearest_first[0] == EXPORT else nearest_first


def _differing(place: tuple[str, ...], rivals: Collection[tuple[str, ...]]) -> list[str]:
    """The shortest path of folders that tells ``place`` from the others in ``rivals``, outermost first."""
    found: list[str] = []
    left = set(rivals)
    for depth, name in enumerate(place):
        if len(left) < 2:
            break
        alike = {other for other in left if other[depth : depth + 1] == (name,)}
        if alike != left:
            found.insert(0, name)
        left = alike
    return found


def _starts(given: Sequence[tuple[Path, str]], threads: int, processes: int) -> list[Start]:
    """Start each model ``processes`` times, all of them in turn."""
    records: list[list[dict[str, Any]]] = [[] for _ in given]
    for _ in range(processes):
        for index, (path, engine) in enumerate(given):
            records[index].append(_start(path, threads, engine))
    return [
        Start(
            creation_seconds=median(record["creation_seconds"] for record in starts),
            peak_bytes=_median([record["peak_bytes"] for record in starts]),
            model_bytes=_median([_difference(record["peak_bytes"], record["imports_bytes"]) for record in starts]),
        )
        for starts in records
    ]


def _start(path: Path, threads: int, engine: str) -> dict[str, Any]:
    # -P and PYTHONPATH: it imports the same modules as this process, never those of the current folder.
    command = [sys.executable, "-P", "-m", _STARTUP, os.fspath(path), str(threads), engine]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)}
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    try:
        record: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        said = done.stderr.strip().splitlines() or ["without a word"]
        raise ModelError(
            f"a fresh process that loads {display_name(path)} ended with {done.returncode}: "
            f"{reason(Exception(said[-1]))}"
        ) from error
    return record


def _difference(peak: int | None, before: int | None) -> int | None:
    return None if peak is None or before is None else peak - before


def _median(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return int(median(known)) if known else None
