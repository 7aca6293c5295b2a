"""Reads and writes a run: the folder that holds a training.

Looking at a run loads no weights. Its recipe and progress are in its small files, and in the header of the state that
an unfinished run resumes from.
"""

import contextlib
import io
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cifar_edge.errors import ModelError, RecipeError, TrainingError
from cifar_edge.files import check_writable, is_released, read_bounded, write_text
from cifar_edge.messages import display_name, reason
from cifar_edge.runs.exports import EXPORT, Export
from cifar_edge.runs.lock import check_free, is_held
from cifar_edge.runs.reading import NamedNetwork, folders_in, header_record, network_named, path_is, record_in
from cifar_edge.runs.summary import RunSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cifar_edge.runs.dataset import DatasetReference
    from cifar_edge.runs.epochs import EpochRecord
    from cifar_edge.runs.out_of_fold import OutOfFold
    from cifar_edge.runs.progress import Progress
    from cifar_edge.runs.recipe import Recipe

RUNS = Path("runs")
SUMMARY = "summary.json"
RECIPE = "recipe.toml"
METRICS = "metrics.csv"
FOLD_METRICS = "fold-metrics.csv"
OUT_OF_FOLD = "out-of-fold.csv"
STATE = "state.safetensors"
FAILURE = "failure.txt"
WEIGHTS = "model.safetensors"
FOLDED_WEIGHTS = "deploy.safetensors"

_NEEDED = ("model", "device", "epochs", "parameters", "seconds")
"""The fields of a summary that every version wrote."""
_MAX_FAILURE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class RunStatus:
    """State and progress of a run.

    Attributes:
        path: its folder.
        model: registered name of the network.
        state: ``finished``; ``running`` while a process trains it; ``failed`` if its training ended with an error; else
            ``interrupted``. The last two can be resumed.
        epoch: finished epochs, with those of folding.
        epochs: epochs that the recipe asks for, with those of folding.
        accuracy: in [0, 1]; for a finished run the test accuracy, of the folded network if there is one; else the
            accuracy of the last epoch.
        created: when it began.
        failure: the error of a failed run, one line.
    """

    path: Path
    model: str
    state: Literal["finished", "running", "failed", "interrupted"]
    epoch: int
    epochs: int
    accuracy: float | None
    created: datetime
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run, or the weights of a released model, on disk. The folder may be missing: methods say what they do then.

    Attributes:
        path: its folder.
    """

    path: Path

    @property
    def is_begun(self) -> bool:
        """Whether the folder holds a run, finished or not."""
        return any((self.path / name).exists() for name in (RECIPE, STATE))

    @property
    def is_finished(self) -> bool:
        """Whether the run has a summary, which is written last."""
        return path_is(Path.is_file, self.path / SUMMARY)

    @property
    def is_resumable(self) -> bool:
        """Whether the run has a state to resume from, and is not finished."""
        return path_is(Path.is_file, self.path / STATE) and not self.is_finished

    @property
    def is_trained(self) -> bool:
        """Whether the run has the weights of the network as trained."""
        return path_is(Path.is_file, self.weights())

    @property
    def status(self) -> RunStatus | None:
        """State and progress; None if the folder holds no run, or one with a damaged summary or state."""
        summary = self.summary
        # A run with a summary is finished, even if its process was killed before it removed the state.
        if summary == RunSummary() and not summary.damage:
            return self._unfinished()
        if summary.model is None or summary.created is None or summary.epochs is None or summary.test_accuracy is None:
            return None
        if {"fold_epochs", "folded_test_accuracy"} & summary.damage.keys():
            return None
        epochs = summary.epochs + (summary.fold_epochs or 0)
        return RunStatus(self.path, summary.model, "finished", epochs, epochs, summary.accuracy, summary.created)

    def _unfinished(self) -> RunStatus | None:
        if (progress := self.progress) is None:
            return None
        failure = None
        with contextlib.suppress(OSError, ValueError):
            failure = read_bounded(self.path / FAILURE, _MAX_FAILURE_BYTES).decode(errors="replace").strip()
        return RunStatus(
            path=self.path,
            model=progress.recipe.model,
            state="running" if is_held(self.path) else "failed" if failure else "interrupted",
            epoch=len(progress.records),
            epochs=progress.recipe.epochs + progress.recipe.fold.epochs,
            accuracy=progress.records[-1].accuracy if progress.records else None,
            created=progress.created,
            failure=failure,
        )

    @property
    def progress(self) -> "Progress | None":
        """The progress of an unfinished run; None if its state is missing or damaged."""
        from cifar_edge.runs.progress import progress_of

        path = self.path / STATE
        try:
            with path.open("rb") if path.is_file() else io.BytesIO() as file:
                return progress_of(header_record(file))
        except (RecipeError, OSError, LookupError, TypeError, ValueError, AttributeError):
            return None

    @property
    def summary(self) -> RunSummary:
        """What can be read from ``summary.json``, also of early versions; all None if there is no such file."""
        return RunSummary.from_record(record_in(self.path / SUMMARY))

    def whole_summary(self) -> RunSummary:
        """The summary of a finished run.

        Raises:
            ModelError: it is missing or damaged.
        """
        summary = self.summary
        for name in _NEEDED:
            if getattr(summary, name) is None and name not in summary.damage:
                raise ModelError(f"{display_name(self.path / SUMMARY)} is damaged: it lacks {name!r}")
        for name, error in summary.damage.items():
            raise ModelError(f"{display_name(self.path / SUMMARY)} is damaged: {name}, {error}")
        return summary

    def write_summary(self, summary: RunSummary) -> None:
        """Write ``summary.json``. The run is finished then.

        Raises:
            CifarEdgeError: the file cannot be written.
        """
        write_text(self.path / SUMMARY, json.dumps(summary.to_record(), indent=2) + "\n")

    @property
    def data(self) -> "DatasetReference":
        """The dataset that it was trained on, by its summary.

        Raises:
            ModelError: there is no summary, or it is damaged.
        """
        if (data := self.summary.data) is None:
            raise ModelError(
                f"{display_name(self.path / SUMMARY)} is missing or damaged; was the training interrupted?"
            )
        return data

    @property
    def recipe(self) -> "Recipe":
        """The recipe that it is trained by.

        Raises:
            RecipeError: ``recipe.toml`` is missing or damaged.
        """
        from cifar_edge.runs.recipe import Recipe

        return Recipe.from_file(self.path / RECIPE)

    def write_recipe(self, recipe: "Recipe") -> None:
        """Write ``recipe.toml``.

        Raises:
            CifarEdgeError: the file cannot be written.
        """
        write_text(self.path / RECIPE, recipe.to_toml())

    def metrics(self, name: str = METRICS) -> "list[EpochRecord]":
        """The epochs, from ``metrics.csv``, or from `FOLD_METRICS`.

        Raises:
            ModelError: the file is missing or damaged.
        """
        from cifar_edge.runs.epochs import read_csv

        return read_csv(self.path / name)

    def fold_metrics(self) -> "list[EpochRecord]":
        """The epochs of the last folding: of the run's own, or of `FOLD_METRICS` if it was folded after the training.

        Raises:
            ModelError: a file is damaged, or there is none.
        """
        if (self.path / FOLD_METRICS).exists():
            return self.metrics(FOLD_METRICS)
        return [record for record in self.metrics() if record.phase == "fold"]

    def write_metrics(self, records: "Sequence[EpochRecord]", name: str = METRICS, *, durable: bool = True) -> None:
        """Write the epochs as ``metrics.csv``, or as `FOLD_METRICS` if the run was folded after the training.

        Raises:
            CifarEdgeError: the file cannot be written.
        """
        from cifar_edge.runs.epochs import to_csv

        write_text(self.path / name, to_csv(records), durable=durable)

    def out_of_fold(self) -> "list[OutOfFold]":
        """What cross-validation said of each training image; empty if there was none, as in runs of early versions.

        Raises:
            ModelError: the file is damaged.
        """
        from cifar_edge.runs.out_of_fold import read_csv

        path = self.path / OUT_OF_FOLD
        return read_csv(path) if path_is(Path.is_file, path) else []

    def write_out_of_fold(self, predictions: "Sequence[OutOfFold]") -> None:
        """Write what cross-validation said of each training image, as ``out-of-fold.csv``.

        Raises:
            CifarEdgeError: the file cannot be written.
        """
        from cifar_edge.runs.out_of_fold import to_csv

        write_text(self.path / OUT_OF_FOLD, to_csv(predictions))

    def weights(self, *, folded: bool = False) -> Path:
        """Path of the safetensors file of the network as trained, or folded. The file may be missing.

        Of some released models a wheel has the folded network alone, which then stands for both.
        """
        trained = self.path / WEIGHTS
        alone = is_released(self.path) and not path_is(Path.is_file, trained)
        return self.path / FOLDED_WEIGHTS if folded or alone else trained

    def network(self) -> NamedNetwork:
        """The network, as the header of the weights names it. The weights are not read.

        Raises:
            ModelError: the file is missing or damaged.
        """
        try:
            with self.weights().open("rb") if self.is_trained else io.BytesIO() as file:
                return network_named(file)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{self.weights()} has no weights of a cifar-edge network ({reason(error)})") from error

    @property
    def export(self) -> Export:
        """The folder of its export, which may be missing."""
        return Export(self.path / EXPORT)

    @property
    def exports(self) -> list[Path]:
        """The ``.onnx`` files of its export."""
        return self.export.files

    def check_new(self) -> None:
        """Refuse, before any work is done, to write over a run, or where nothing can be written.

        Raises:
            TrainingError: the folder holds a run.
            CifarEdgeError: nothing can be written there.
        """
        check_writable(self.path / RECIPE)
        if self.is_begun:
            raise TrainingError(f"{display_name(self.path)} already holds a run; give another --name")

    def check_resumable(self) -> None:
        """Refuse, before any work is done, to go on with what is no training, or what another process trains.

        Raises:
            ModelError: an unfinished run has no state.
            TrainingError: another process holds it.
        """
        if self.is_finished:
            return
        if not path_is(Path.exists, self.path / STATE):
            raise self.no_state()
        check_free(self.path)

    def no_state(self) -> ModelError:
        """The error where there is no state to go on from."""
        return ModelError(f"{display_name(self.path)} holds no {STATE} to go on from; was it a training?")

    def check_foldable(self, *, continued: bool) -> None:
        """Refuse to fold again a network that is folded, and to go on with a folded one that is not there.

        Raises:
            TrainingError: it is so.
            ModelError: the weights are missing or damaged.
        """
        if self.network().layers is not None:
            raise TrainingError(f"{display_name(self.path)} began with a folded network: it has no norms to fold")
        if continued and not path_is(Path.exists, self.weights(folded=True)):
            raise TrainingError(
                f"{display_name(self.path)} has no folded network to go on from; fold it without --continue"
            )


def runs() -> list[Run]:
    """The folders in ``./runs``, runs or not."""
    return [Run(folder) for folder in folders_in(RUNS)]


def damaged_runs() -> list[Run]:
    """The runs in ``./runs`` whose summary or state is damaged, so that `list_runs` leaves them out."""
    return [run for run in runs() if run.status is None and (run.is_finished or run.is_resumable)]


def list_runs() -> list[RunStatus]:
    """The runs in ``./runs``, newest first. Folders that are not runs are left out."""
    found = [status for run in runs() if (status := run.status) is not None]
    return sorted(found, key=lambda status: status.created, reverse=True)
