"""The folder of an export: replaced as a whole or not at all, by one process at a time, even if that is killed."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

from cifar_edge.errors import ExportError
from cifar_edge.files import check_writable, exchange, make_folder, sync_folder, write_bytes
from cifar_edge.messages import display_name
from cifar_edge.runs.exports import REPORT, Export
from cifar_edge.runs.lock import check_free, held
from cifar_edge.runs.run import Run
from cifar_edge.spec import Precision, is_model_name

REPORT_TEXT = "report.md"

Replace = Callable[[Mapping[str, bytes]], None]
"""Replaces the files of the earlier export by these: name -> content."""


@contextmanager
def replacing_export(out: Path) -> Iterator[Replace]:
    """Lock ``out`` and the run that contains it; yield the function that replaces the export in it.

    Files are written to a folder next to ``out``, ``.NAME.work``, which is then exchanged with ``out`` in one step.
    Leftovers of a killed process are removed. Other files in ``out`` stay.

    Raises:
        ExportError: another process exports to ``out``, or it cannot be written to or replaced as a whole.
        TrainingError: it lies in a run that another process trains, folds or exports.
    """
    out = out.resolve()
    work, shown = _work(out), display_name(out)
    made: list[Path] = []

    def replace(contents: Mapping[str, bytes]) -> None:
        with _refusal(shown):
            _replace(out, work, contents)

    try:
        with _refusal(shown):
            check_replaceable(out)
            made = make_folder(work)
        with held(*_lock(out, shown)):
            with _refusal(shown):
                work.mkdir(exist_ok=True)  # the process that held the lock before has removed it
                _sweep(out, work)
            try:
                yield replace
            except BaseException:
                with _refusal(shown):
                    _sweep(out, work)  # what was written before the disk was full, for example
                raise
    finally:
        for folder in (work, *made):
            with suppress(OSError):  # a folder that is not empty is needed
                folder.rmdir()


@contextmanager
def _refusal(shown: str) -> Iterator[None]:
    """The operating system's errors as an `ExportError` that names the folder."""
    try:
        yield
    except OSError as error:
        raise ExportError(f"cannot write to {shown}: {error.strerror or error}") from error


def check_replaceable(out: Path) -> None:
    """Refuse, before any work is done, a folder that could not be replaced after it.

    Raises:
        ExportError: it cannot be renamed, or another process exports to it.
        TrainingError: it lies in a run that another process trains, folds or exports.
        CifarEdgeError: nothing can be written there.
    """
    out = out.resolve()
    if out.exists() and not out.is_dir():
        raise ExportError(f"cannot write to {display_name(out)}: it is a file")
    check_writable(out)
    current = Path.cwd().resolve()
    if current.is_relative_to(out) or os.path.ismount(out):
        what = "is the current folder, or holds it" if current.is_relative_to(out) else "is the root of a file system"
        raise ExportError(f"{display_name(out)} {what}, so it cannot be replaced as a whole; give a folder in it")
    check_free(*_lock(out, display_name(out)))


def _lock(out: Path, shown: str) -> tuple[Path, ExportError | None]:
    """The folder whose lock is held while ``out`` is replaced, and the error if another process holds it, as in `held`.

    It is the run that contains ``out``, or else the folder that files are written to first.
    """
    if Run(out.parent).is_trained:
        return out.parent, None
    return _work(out), ExportError(f"{shown} is being written by another export")


def _work(out: Path) -> Path:
    return out.with_name(f".{out.name}.work")


def _replace(out: Path, work: Path, contents: Mapping[str, bytes]) -> None:
    staged, swap, before = (work / name for name in ("staged", "swap", "before"))
    staged.mkdir(parents=True)
    for name, content in contents.items():
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(staged / name, content, called=out / name)
    if not out.exists():
        staged.rename(out)
    else:
        shutil.copymode(out, staged)
        staged.rename(swap)
        if not exchange(swap, out):
            out.rename(before)  # if the process is killed here, the next export brings it back
            swap.rename(out)
            before.rename(swap)
    sync_folder(out.parent)
    _sweep(out, work)


def _sweep(out: Path, work: Path) -> None:
    """Remove what a finished or killed export left in ``work``; put its earlier export back if ``out`` is missing."""
    staged, swap, before = (work / name for name in ("staged", "swap", "before"))
    if before.exists() and not out.exists():
        before.rename(out)
    elif before.exists():
        before.rename(swap)
    shutil.rmtree(staged, ignore_errors=True)
    if swap.exists():
        for name in _files(swap) | _files(out):
            with suppress(NotADirectoryError):
                (swap / name).unlink(missing_ok=True)
            for folder in Path(name).parents[:-1]:
                with suppress(OSError):  # it holds files of the user, or there is none
                    (swap / folder).rmdir()
        _keep(swap, out)
        shutil.rmtree(swap)


def _keep(before: Path, out: Path) -> None:
    """Move files of the user from ``before`` to ``out``, where no other file has their name."""
    for other in list(before.iterdir()):
        if not (out / other.name).exists():
            other.rename(out / other.name)
        elif other.is_dir() and (out / other.name).is_dir():
            _keep(other, out / other.name)


def model_file(stem: str, precision: Precision) -> str:
    """The name of an ``.onnx`` file of an export whose files are called by ``stem``."""
    return f"{stem}.{precision}.onnx"


def stem_of(name: str, model: str) -> str:
    """The stem of files of ``model`` that belong to the run or file called ``name``: that, as far as files allow it."""
    stem = re.sub(r"[^\w.-]", "_", name).lstrip("-.")
    return stem if is_model_name(stem) else model


def renamed(files: Mapping[str, bytes], model: str, stem: str) -> dict[str, bytes]:
    """``files`` that are called by ``model``, called by ``stem``."""
    start = f"{model}."
    return {stem + name[len(model) :] if name.startswith(start) else name: files[name] for name in files}


def _files(folder: Path) -> set[str]:
    """The names that files of the export in ``folder`` may have, for the model that its report names."""
    export = Export(folder)
    models = {model_file(export.model, precision) for precision in get_args(Precision) if export.model}
    return {REPORT, REPORT_TEXT} | models | export.row_files | export.target_files
