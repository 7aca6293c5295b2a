"""Finds the model that a command means: turns a MODEL argument, or none, into a file or a run.

A MODEL is an ``.onnx`` file or a folder, the name of a run in ``./runs``, or the name of a released model
(``gn-cnn``; for one of its files ``gn-cnn.fp32``), looked for in this order. The newest run is found by the times
recorded in the runs. Times of the file system are not used, as copying changes them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import get_args

from cifar_edge.errors import ModelError
from cifar_edge.files import is_released, released, zoo
from cifar_edge.messages import did_you_mean, display_name, listed, shell_word
from cifar_edge.runs.exports import EXPORT, Export
from cifar_edge.runs.lock import is_held
from cifar_edge.runs.reading import folders_in, path_is
from cifar_edge.runs.run import RUNS, WEIGHTS, Run, RunStatus, list_runs, runs
from cifar_edge.spec import Precision

DEFAULT_MODEL = "gn-cnn"
MODEL_VARIABLE = "CIFAR_EDGE_MODEL"

_NOT_IN_A_WHEEL = ("s8-batch", "s8-group", "s8-layer")
"""Released models that only the repository and the sdist have: see ``force-include`` in pyproject.toml."""

_STATES = {
    "finished": "is not exported",
    "running": "is still training",
    "interrupted": "was interrupted",
    "failed": "has failed",
}
"""State of a run -> why it has no export to use."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The model that a MODEL argument means.

    Attributes:
        path: the ``.onnx`` file (`resolve_model`), or the folder that holds the weights (`resolve_run`).
        reason: why this one was chosen, such as "released"; empty if a path was given.

    As text a released model has its name, such as "released gn-cnn.int8": where a package lies tells a reader nothing.
    """

    path: Path
    reason: str

    def __str__(self) -> str:
        if self.reason and is_released(self.path):
            name = f"released {self.path.name.removesuffix('.onnx')}"
            reason = self.reason.removeprefix("released").removeprefix("; ")
        else:
            name, reason = display_name(self.path), self.reason
        return f"{name} ({reason})" if reason else name


def resolve_model(model: str | os.PathLike[str] | Resolved | None = None) -> Resolved:
    """The ``.onnx`` file that ``model`` means.

    None means ``$CIFAR_EDGE_MODEL`` if it is set, else the newest export in ``./runs``, else the released gn-cnn. The
    reason then mentions a run that was begun since. An export in both precisions gives int8, unless its
    ``report.json`` says to deploy fp32.

    Raises:
        ModelError: there is no such model, it is not exported, or a folder holds several.
    """
    if isinstance(model, Resolved):
        return model
    if model is not None:
        return _given_model(model)
    if variable := os.environ.get(MODEL_VARIABLE):
        try:
            return Resolved(_given_model(variable).path, f"${MODEL_VARIABLE}")
        except ModelError as error:
            raise ModelError(f"${MODEL_VARIABLE}: {error}") from error
    for run in exported_runs():
        try:
            found = run.export.file()
        except ModelError:
            continue  # a report without files, or with those of several models: not what `cifar-edge export` writes
        return Resolved(found, f"newest export under {RUNS}{_newer_run(run.export.created)}")
    return Resolved(_given_released(DEFAULT_MODEL, EXPORT).path, f"released{_newer_run(None)}")


def precisions_beside(file: Path) -> list[Path]:
    """The files of the export that ``file`` belongs to, fp32 first; only ``file`` if its name has no precision."""
    model, _, precision = file.name.removesuffix(".onnx").rpartition(".")
    if precision not in get_args(Precision):
        return [file]
    names = [file.with_name(f"{model}.{known}.onnx") for known in get_args(Precision)]
    return [name for name in names if name == file or path_is(Path.is_file, name)]


def resolve_run(model: str | os.PathLike[str] | None = None) -> Resolved:
    """The folder of the trained weights that ``model`` means: a run's or a released model's.

    None means the newest finished run in ``./runs``, or the released gn-cnn if there are no runs.

    Raises:
        ModelError: there is no such run or model, or it has no weights. For None: a run that was begun after the newest
            finished one was interrupted or has failed, or runs exist and none is finished.
    """
    if model is None:
        return _newest_run()
    if not os.fspath(model):  # Path("") would be the current folder
        raise ModelError("the name of the run or model is empty")
    path = named(model)
    if path is None:
        return _given_released(os.fspath(model), "models")
    run, name = Run(path), display_name(path)
    if not path_is(Path.is_dir, path):
        raise ModelError(f"{name} is a file; give the folder of a run, or the name of a released model")
    if run.is_resumable:
        if is_held(path):
            raise ModelError(f"{name} is still training; wait until it is finished")
        raise ModelError(f"{name} is not finished; resume it: cifar-edge train --resume {_shown(path)}")
    if not run.is_trained:
        raise ModelError(f"{name} has no {WEIGHTS}; is it a run, and is the run finished?")
    return Resolved(path, "")


def named(name: str | os.PathLike[str]) -> Path | None:
    """The file or folder at that path, else the folder of the run of that name; None if there is neither.

    If both exist, a folder at that path is taken only if it holds a run or models, and not images for example.
    """
    path = Path(name)
    run = RUNS / path if ".." not in path.parts and path_is(Path.is_dir, RUNS / path) else None
    if path_is(Path.exists, path) and (run is None or not path_is(Path.is_dir, path) or _holds_models(path)):
        return path
    return run


def _holds_models(folder: Path) -> bool:
    run = Run(folder)
    return run.is_begun or run.is_finished or run.is_trained or bool(Export(folder).files or run.export.files)


def find_run(name: str) -> Run:
    """The run, finished or not, at that path or of that name in ``./runs``.

    Raises:
        ModelError: there is no such folder.
    """
    folder = named(name) if name else None
    if folder is not None and folder.is_dir():
        return Run(folder)
    hint = did_you_mean(name, [folder.name for folder in folders_in(RUNS)])
    raise ModelError(f"no run is called {display_name(name)!r}{hint}; give a folder, or the name of one under {RUNS}")


def located(name: str | None) -> tuple[Run, Export]:
    """The run, finished or not, that ``name`` means, and the folder of its export, which may be missing.

    None means the newest finished run, else the released gn-cnn.

    Raises:
        ModelError: there is no such run or released model.
    """
    folder = named(name) if name else None
    if folder is not None and Run(folder).is_begun:
        return Run(folder), Run(folder).export
    run = Run(resolve_run(name).path)
    return run, Export(zoo() / EXPORT / run.path.name) if is_released(run.path) else run.export


def _newest_run() -> Resolved:
    dated = [(time, run.path) for run in runs() if (time := run.summary.finished) and run.is_trained]
    finished = [folder for _, folder in sorted(dated, reverse=True)]
    newest = finished[0] if finished else None
    alternatives = " or ".join([*(_shown(folder) for folder in finished[:1]), f"the released {DEFAULT_MODEL}"])
    training = ""
    for run in _unfinished_since(newest):
        shown = _shown(run.path)
        if run.state != "running":
            raise ModelError(
                f"the newest run, {shown}, {_STATES[run.state]}: resume it, cifar-edge train --resume {shown}, or "
                f"name what to use instead, such as {alternatives}"
            )
        training = training or shown
    if newest is not None:
        left_out = f"; {training} is left out: it is still training" if training else ""
        return Resolved(newest, f"newest finished run under {RUNS}{left_out}")
    if training:
        raise ModelError(f"{training} is still training, and no run is finished; wait, or name {alternatives}")
    return _given_released(DEFAULT_MODEL, "models")


def _unfinished_since(finished: Path | None) -> list[RunStatus]:
    """The unfinished runs that were begun after the finished one, newest first; all of them for None."""
    summary = Run(finished).summary if finished is not None else None
    since = (summary.created or summary.finished) if summary is not None else None
    return [run for run in list_runs() if run.state != "finished" and (since is None or run.created > since)]


def _newer_run(exported: datetime | None) -> str:
    """A note about the newest run if it was begun after the export, or if there is no export; else empty."""
    for run in list_runs()[:1]:
        if exported is None or run.created > exported:
            return f"; {'' if exported is None else 'the newer '}{_shown(run.path)} {_STATES[run.state]}"
    return ""


def _shown(folder: Path) -> str:
    return shell_word(str(folder))


def exported_runs() -> Iterator[Run]:
    """The runs in ``./runs`` that have the report of an export, newest export first."""
    dated = [(time, run.path) for run in runs() if (time := run.export.created)]
    return (Run(folder) for _, folder in sorted(dated, reverse=True))


def released_exports() -> dict[str, list[Path]]:
    """Released model -> its ``.onnx`` files."""
    return {name: Export(zoo() / EXPORT / name).files for name in _released_names(EXPORT)}


def released_models() -> list[str]:
    """The names of the released models."""
    return _released_names("models")


def _given_model(model: str | os.PathLike[str]) -> Resolved:
    if not os.fspath(model):  # Path("") would be the current folder
        raise ModelError("the name of the model is empty")
    path = named(model)
    if path is None:
        return _given_released(os.fspath(model), EXPORT)
    if not path_is(Path.is_dir, path):
        return Resolved(path, "")
    name = display_name(path)
    for export in (Export(path), Run(path).export):
        if export.files:
            return Resolved(export.file(), "")
    if Run(path).is_trained:
        raise ModelError(f"{name} is not exported yet; run `cifar-edge export {_shown(path)}` first")
    if path.suffix == ".c":
        beside = Export(path.parent)
        example = f", such as {display_name(beside.file())}" if beside.files else ""
        raise ModelError(f"{name} is C, for a compiler; give an .onnx or .tflite file{example}")
    raise ModelError(f"{name} has no .onnx file; give a run, a folder of models, or an .onnx file")


def _given_released(model: str, kind: str) -> Resolved:
    """The released model: its ``.onnx`` file if ``kind`` is "export", the folder of its weights if it is "models"."""
    names = _released_names(kind)
    base, _, precision = model.partition(".")
    if kind == EXPORT and base in names:
        folder = released(f"{EXPORT}/{base}")
        file = folder / f"{model}.onnx"
        if not precision:
            return Resolved(Export(folder).file(), "released")
        if path_is(Path.is_file, file):
            return Resolved(file, "released")
        if precision == "fp32":
            raise ModelError(
                f"{model} is not in this wheel, which has the int8 file only; `cifar-edge export {base}` writes both, "
                "and needs the extra train"
            )
    elif model in names:
        return Resolved(released(f"{kind}/{model}"), "released")
    if base in _NOT_IN_A_WHEEL and base not in names:
        raise ModelError(
            f"{base} is not in this wheel, which has no reference networks; take {kind}/{base} of the repository, or "
            "of the sdist, and give its path"
        )
    files = [file.stem for found in released_exports().values() for file in found] if kind == EXPORT else []
    folders = [str(folder) for folder in folders_in(RUNS)]
    known = [*names, *files, *folders, *(Path(folder).name for folder in folders)]
    own = _own_names(kind)
    raise ModelError(
        f"no file, run, folder or released model is called {model!r}{did_you_mean(model, known)}; "
        f"{f'runs: {listed(own)}; ' if own else ''}released: {', '.join(names) or 'none'}"
    )


def _own_names(kind: str) -> list[str]:
    """The names of the runs in ``./runs``, newest first; where an export is looked for, those that have one first."""
    exported = [run.path.name for run in exported_runs()] if kind == EXPORT else []
    return list(dict.fromkeys([*exported, *(run.path.name for run in list_runs())]))


def _released_names(kind: str) -> list[str]:
    return sorted(entry.name for entry in folders_in(zoo() / kind) if kind != EXPORT or Export(entry).files)
