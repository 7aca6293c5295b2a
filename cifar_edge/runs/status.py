"""The folders of runs: what lies in them, which one is meant, who writes to it, and how far they are."""

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from cifar_edge.errors import CifarEdgeError, ModelError, TrainingError
from cifar_edge.files import make_folder, read_bounded, try_lock
from cifar_edge.json_values import count, number, text
from cifar_edge.messages import did_you_mean, display_name
from cifar_edge.runs.recipe import Recipe
from cifar_edge.spec import METADATA_KEY

RUNS = Path("runs")
SUMMARY = "summary.json"
"""What a finished run says of itself."""
RECIPE = "recipe.toml"
METRICS = "metrics.csv"
STATE = "state.safetensors"
"""What an unfinished run goes on from; a finished one has none."""
FAILURE = "failure.txt"
"""Why the training of an unfinished run ended, if it could still say so."""

_LOCK = ".lock"
_MAX_HEADER_BYTES = 16 * 1024 * 1024
_MAX_RECORD_BYTES = 16 * 1024 * 1024
"""No report or summary is larger; a file that is, is something else."""
_MAX_FAILURE_BYTES = 64 * 1024
_ATTEMPTS, _PAUSE_SECONDS = 10, 0.1
"""Whoever looks whether a run is held holds it for a moment."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is.

    Attributes:
        path: its folder.
        model: registered name of the network.
        state: ``finished``; ``running`` while a living process trains it; ``failed`` if its training ended with an
            error; else ``interrupted``. The last two can be resumed.
        epoch: epochs that are done, those of folding included.
        epochs: all there are to be.
        accuracy: of a finished run on the test images, folded if it is; else the last one watched; in [0, 1].
        created: when it began.
        failure: the line of the error, of a failed run.
    """

    path: Path
    model: str
    state: Literal["finished", "running", "failed", "interrupted"]
    epoch: int
    epochs: int
    accuracy: float | None
    created: datetime
    failure: str | None = None


def list_runs() -> list[RunStatus]:
    """The runs under ``./runs``, the last begun first; folders that hold none are passed over."""
    found = [status for folder in folders_in(RUNS) if (status := _status(folder)) is not None]
    return sorted(found, key=lambda status: status.created, reverse=True)


def _status(folder: Path) -> RunStatus | None:
    try:
        summary = record_in(folder / SUMMARY)
        # A summary ends the run, even if its process was killed before it could remove the state.
        if not summary and (state := _state_record(folder / STATE)):
            return _unfinished(folder, state)
        created = time_of(summary["created"])
        epochs = count(summary["epochs"]) + count(summary.get("fold_epochs", 0))
        accuracy = number(summary.get("folded_test_accuracy", summary["test_accuracy"]), high=1.0)
        model = text(summary["model"])
    except (CifarEdgeError, KeyError, TypeError, ValueError, AttributeError, OverflowError):  # the last of 1e999 epochs
        return None
    return RunStatus(folder, model, "finished", epochs, epochs, accuracy, created) if created else None


def _unfinished(folder: Path, record: dict[str, Any]) -> RunStatus | None:
    records, recipe, created = record["records"], Recipe.from_mapping(record["recipe"]), time_of(record["created"])
    failure = None
    with contextlib.suppress(OSError, ValueError):
        failure = read_bounded(folder / FAILURE, _MAX_FAILURE_BYTES).decode(errors="replace").strip()
    if created is None:
        return None
    return RunStatus(
        path=folder,
        model=recipe.model,
        state="running" if is_held(folder) else "failed" if failure else "interrupted",
        epoch=len(records),
        epochs=recipe.epochs + recipe.fold.epochs,
        accuracy=number(records[-1]["accuracy"], high=1.0) if records else None,
        created=created,
        failure=failure,
    )


def _state_record(path: Path) -> dict[str, Any]:
    """What a state says of itself, read from the header of the safetensors file; empty where there is no such file."""
    try:
        with path.open("rb") if path.is_file() else io.BytesIO() as file:
            record = header_record(file)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return record if isinstance(record, dict) else {}


def header_record(file: BinaryIO) -> Any:
    """The JSON that cifar-edge keeps in the header of a safetensors file, whose own library reads it from paths alone.

    The format is 8 bytes of the header's length, little-endian, the header in JSON, and the tensors.

    Raises:
        ValueError, KeyError, TypeError: there is none.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes")
    try:
        return json.loads(json.loads(file.read(length))["__metadata__"][METADATA_KEY])
    except RecursionError as error:
        raise ValueError("a header of brackets in brackets") from error


def find_run(name: str) -> Path:
    """The folder of the run, finished or not: that path, or that name under ``./runs``.

    Raises:
        ModelError: there is no such folder.
    """
    for folder in (Path(name), RUNS / name):
        if name and folder.is_dir():
            return folder
    hint = did_you_mean(name, [folder.name for folder in folders_in(RUNS)])
    raise ModelError(f"no run is called {display_name(name)!r}{hint}; give a folder, or the name of one under {RUNS}")


def read_summary(folder: Path) -> dict[str, Any]:
    """The ``summary.json`` of a finished run.

    Raises:
        ModelError: it is damaged.
    """
    summary = record_in(folder / SUMMARY)
    try:
        for key in ("model", "device"):
            text(summary[key])
        for key in ("epochs", "parameters", *(key for key in summary if key.endswith("_images"))):
            count(summary[key])
        for key in ("seconds", *(key for key in summary if key.endswith("_accuracy"))):
            number(summary[key])
    except KeyError as error:
        raise ModelError(f"{folder / SUMMARY} is damaged: it lacks {error}") from error
    except ValueError as error:
        raise ModelError(f"{folder / SUMMARY} is damaged: {key}, {error}") from error
    return summary


@contextmanager
def held(folder: Path, busy: CifarEdgeError | None = None) -> Iterator[None]:
    """Hold the run for this process, which alone may write to it; the folder is made if it is missing.

    The operating system lets go of it when the process ends, however it ends.

    Args:
        folder: of the run.
        busy: raised if another process holds it; None for the error below.

    Raises:
        TrainingError: another process holds it.
        CifarEdgeError: the folder cannot be written.
    """
    lock = folder / _LOCK
    try:
        for _ in range(_ATTEMPTS):
            make_folder(folder)  # whoever let go of it removes an empty one
            file = lock.open("ab")
            # Whoever let go of the lock has removed the file too, perhaps since it was opened here.
            if try_lock(file) and lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                break
            file.close()
            time.sleep(_PAUSE_SECONDS)
        else:
            raise busy or TrainingError(
                f"{folder} is in the hands of another process, which trains, folds or exports it"
            )
    except OSError as error:
        raise CifarEdgeError(f"cannot write {folder}: {error.strerror or error}") from error
    with file:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows removes no open file
                lock.unlink()
                folder.rmdir()  # if it is empty, because the work failed before it began


def is_held(folder: Path) -> bool:
    """Whether a living process holds the run."""
    # Read-only where it is another user's, or on a read-only disk; a network's file system locks only what is written.
    for mode in ("r+b", "rb"):
        with contextlib.suppress(OSError):
            if not (folder / _LOCK).is_file():  # a pipe would be waited for
                return False
            with (folder / _LOCK).open(mode) as file:
                return not try_lock(file)
    return False


def folders_in(parent: Path) -> list[Path]:
    """The folders in ``parent``; none where it is missing or cannot be read."""
    try:
        return [entry for entry in parent.iterdir() if path_is(Path.is_dir, entry)]
    except OSError:
        return []


def record_in(path: Path) -> dict[str, Any]:
    """The JSON object in the file; an empty one where there is no file, or something else in it."""
    try:
        record = json.loads(read_bounded(path, _MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def time_of(recorded: object) -> datetime | None:
    """The time of an ISO 8601 string, in UTC where it names no zone; None of anything else."""
    try:
        time = datetime.fromisoformat(recorded) if isinstance(recorded, str) else None
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


def path_is(test: Any, path: Path) -> bool:
    """A test of `pathlib.Path`, with "no" where the operating system refuses to look."""
    try:
        return bool(test(path))
    except OSError:
        return False
