"""Which model a command means: the one place that turns a MODEL argument, or none, into a file or a run.

A MODEL is the name of a released model (``gn-cnn``; for one of its files ``gn-cnn.fp32``), a run, a folder or an
``.onnx`` file. An existing file or folder comes before a released name. What is newest is decided by the times recorded
inside the runs, never by those of the file system, which a copy changes.
"""

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import get_args

from cifar_edge.errors import ModelError
from cifar_edge.files import released, zoo
from cifar_edge.messages import did_you_mean, display_name
from cifar_edge.runs.status import (
    RUNS,
    STATE,
    SUMMARY,
    RunStatus,
    folders_in,
    list_runs,
    path_is,
    record_in,
    time_of,
)
from cifar_edge.spec import Precision

DEFAULT_MODEL = "gn-cnn"
MODEL_VARIABLE = "CIFAR_EDGE_MODEL"
EXPORT = "export"
REPORT = "report.json"
WEIGHTS = "model.safetensors"

_STATES = {
    "finished": "is not exported",
    "running": "is still training",
    "interrupted": "was interrupted",
    "failed": "has failed",
}
"""What keeps a run from being taken."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a MODEL argument stands for.

    Attributes:
        path: the ``.onnx`` file (`resolve_model`), or the folder that holds the weights (`resolve_run`).
        reason: why this one was taken, such as "released"; empty for a path that was given.
    """

    path: Path
    reason: str

    def __str__(self) -> str:
        name = display_name(str(self.path))
        return f"{name} ({self.reason})" if self.reason else name


def resolve_model(model: str | os.PathLike[str] | None = None) -> Resolved:
    """The ``.onnx`` file that ``model`` means.

    None takes ``$CIFAR_EDGE_MODEL`` if it is set, else the newest export under ``./runs``, else the released gn-cnn;
    the reason then tells of a run that was begun since. Of an export in both precisions int8 is taken, unless its
    ``report.json`` says to deploy fp32.

    Raises:
        ModelError: there is no such model, or it is not exported, or a folder holds several.
    """
    if model is not None:
        return _given_model(model)
    if variable := os.environ.get(MODEL_VARIABLE):
        return Resolved(_given_model(variable).path, f"${MODEL_VARIABLE}")
    for folder in exported_runs():
        try:
            found = _exported_file(folder / EXPORT)
        except ModelError:
            continue  # a report beside no models, or too many of them: not an export that `cifar-edge export` wrote
        exported = time_of(record_in(folder / EXPORT / REPORT).get("created"))
        return Resolved(found, f"newest export under {RUNS}{_newer_run(exported)}")
    return Resolved(_given_released(DEFAULT_MODEL, EXPORT).path, f"released{_newer_run(None)}")


def precisions_beside(file: Path) -> list[Path]:
    """The files of the export that ``file`` is of, fp32 first; ``file`` alone where its name tells no precision."""
    model, _, precision = file.name.removesuffix(".onnx").rpartition(".")
    if precision not in get_args(Precision):
        return [file]
    names = [file.with_name(f"{model}.{known}.onnx") for known in get_args(Precision)]
    return [name for name in names if name == file or path_is(Path.is_file, name)]


def resolve_run(model: str | os.PathLike[str] | None = None) -> Resolved:
    """The folder that holds the trained weights that ``model`` means: a run, or a released model's.

    None takes the newest finished run under ``./runs``; where there is no run at all, the released gn-cnn.

    Raises:
        ModelError: there is no such run or model, or it holds no weights; or for None, a run that was begun after the
            newest finished one was interrupted or has failed, or no run is finished.
    """
    if model is None:
        return _newest_run()
    path, name = Path(model), display_name(os.fspath(model))
    if not os.fspath(model):  # Path("") would be the current folder
        raise ModelError("the name of the run or model is empty")
    if path_is(Path.is_dir, path):
        if path_is(Path.is_file, path / STATE) and not path_is(Path.is_file, path / SUMMARY):
            raise ModelError(f"{name} is not finished; go on with it: cifar-edge train --resume {_shown(path)}")
        if not path_is(Path.is_file, path / WEIGHTS):
            raise ModelError(f"{name} holds no {WEIGHTS}; is it a run, and is the run finished?")
        return Resolved(path, "")
    if path_is(Path.exists, path):
        raise ModelError(f"{name} is a file; give the folder of a run, or the name of a released model")
    return _given_released(os.fspath(model), "models")


def _newest_run() -> Resolved:
    finished = [folder for folder in _newest_first(SUMMARY, "finished") if path_is(Path.is_file, folder / WEIGHTS)]
    newest = finished[0] if finished else None
    alternatives = " or ".join([*(_shown(folder) for folder in finished[:1]), f"the released {DEFAULT_MODEL}"])
    training = ""
    for run in _unfinished_since(newest):
        shown = _shown(run.path)
        if run.state != "running":
            raise ModelError(
                f"the newest run, {shown}, {_STATES[run.state]}: go on with it, cifar-edge train --resume {shown}, or "
                f"name what to take instead, such as {alternatives}"
            )
        training = training or shown
    if newest is not None:
        passed_over = f"; {training} is passed over: it is still training" if training else ""
        return Resolved(newest, f"newest finished run under {RUNS}{passed_over}")
    if training:
        raise ModelError(f"{training} is still training, and no run is finished; wait, or name {alternatives}")
    return _given_released(DEFAULT_MODEL, "models")


def _unfinished_since(finished: Path | None) -> list[RunStatus]:
    """The unfinished runs that were begun after the finished one, the last begun first; all of them for None."""
    summary = record_in(finished / SUMMARY) if finished is not None else {}
    since = time_of(summary.get("created")) or time_of(summary.get("finished"))
    return [run for run in list_runs() if run.state != "finished" and (since is None or run.created > since)]


def _newer_run(exported: datetime | None) -> str:
    """What is to be said of the last begun run where it was begun after an export, or where there is no export."""
    for run in list_runs()[:1]:
        if exported is None or run.created > exported:
            return f"; {'' if exported is None else 'the newer '}{_shown(run.path)} {_STATES[run.state]}"
    return ""


def _shown(folder: Path) -> str:
    return display_name(shlex.quote(str(folder)))


def exported_runs() -> Iterator[Path]:
    """The folders under ``./runs`` that hold the report of an export, newest first."""
    return _newest_first(f"{EXPORT}/{REPORT}", "created")


def released_exports() -> dict[str, list[Path]]:
    """Released model -> its ``.onnx`` files."""
    return {name: list(_models(zoo() / EXPORT / name)) for name in _released_names(EXPORT)}


def _given_model(model: str | os.PathLike[str]) -> Resolved:
    path, name = Path(model), display_name(os.fspath(model))
    if not os.fspath(model):  # Path("") would be the current folder
        raise ModelError("the name of the model is empty")
    if path_is(Path.is_dir, path):
        for folder in (path, path / EXPORT):
            if any(_models(folder)):
                return Resolved(_exported_file(folder), "")
        if path_is(Path.is_file, path / WEIGHTS):
            raise ModelError(f"{name} is not exported yet; run `cifar-edge export {name}` first")
        raise ModelError(f"{name} holds no .onnx file; give a run, a folder of models, or an .onnx file")
    if path_is(Path.exists, path):
        return Resolved(path, "")
    return _given_released(os.fspath(model), EXPORT)


def _given_released(model: str, kind: str) -> Resolved:
    """The released model, its ``.onnx`` file (``kind`` "export") or the folder of its weights ("models")."""
    names = _released_names(kind)
    base, _, precision = model.partition(".")
    if kind == EXPORT and base in names:
        folder = released(f"{EXPORT}/{base}")
        file = folder / f"{model}.onnx"
        if not precision:
            return Resolved(_exported_file(folder), "released")
        if path_is(Path.is_file, file):
            return Resolved(file, "released")
    elif model in names:
        return Resolved(released(f"{kind}/{model}"), "released")
    files = [file.stem for found in released_exports().values() for file in found] if kind == EXPORT else []
    runs = [str(folder) for folder in folders_in(RUNS)]
    raise ModelError(
        f"no file, run, folder or released model is called {model!r}{did_you_mean(model, [*names, *files, *runs])}; "
        f"released: {', '.join(names) or 'none'}"
    )


def _released_names(kind: str) -> list[str]:
    return sorted(entry.name for entry in folders_in(zoo() / kind) if kind != EXPORT or any(_models(entry)))


def _exported_file(folder: Path) -> Path:
    """The one ``.onnx`` file of a folder that is meant when only the folder is given.

    Raises:
        ModelError: it holds none, or those of several models.
    """
    files = {file.name: file for file in _models(folder)}
    if len(files) == 1:
        return files.popitem()[1]
    preferred = ("fp32", "int8") if record_in(folder / REPORT).get("deploy") == "fp32" else ("int8", "fp32")
    models = {name.rsplit(".", 2)[0] for name in files}
    for precision in preferred:
        for model in models if len(models) == 1 else ():
            if (name := f"{model}.{precision}.onnx") in files:
                return files[name]
    found = ", ".join(map(display_name, sorted(files))) or "no .onnx file"
    raise ModelError(f"{display_name(str(folder))} holds {found}; give the .onnx file you mean")


def _newest_first(record: str, key: str) -> Iterator[Path]:
    """The folders under ``./runs`` whose JSON file ``record`` has a time under ``key``, newest first."""
    dated = [(time, folder) for folder in folders_in(RUNS) if (time := time_of(record_in(folder / record).get(key)))]
    return (folder for _, folder in sorted(dated, reverse=True))


def _models(folder: Path) -> Iterator[Path]:
    """The ``.onnx`` files in ``folder``, but for hidden ones: those are only just being written."""
    try:
        yield from (file for file in sorted(folder.glob("[!.]*.onnx")) if file.is_file())
    except OSError:
        return
