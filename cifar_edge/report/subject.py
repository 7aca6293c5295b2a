"""What a report shows of a run: everything that its files hold, and the answers of its network on the test images."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from cifar_edge.c.figures import figures
from cifar_edge.data.dataset import Dataset
from cifar_edge.errors import ContractError, ModelError
from cifar_edge.export.parity import torch_logits
from cifar_edge.files import is_released
from cifar_edge.integer import IntegerNetwork
from cifar_edge.measure.accuracy import Evaluation, evaluate
from cifar_edge.report.exported import Exported, read_exported
from cifar_edge.runs.epochs import EpochRecord
from cifar_edge.runs.exports import Export
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import METRICS, RECIPE, SUMMARY, Run
from cifar_edge.runs.summary import RunSummary
from cifar_edge.training.checkpoint import TrainedNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """The answers of a network on the test images.

    Attributes:
        dataset: the images.
        logits: float32 ``[test images, classes]``, divided by the temperature that the exported file has.
        network: that gave them, in evaluation mode: the folded one if there is one.
        evaluation: accuracy, confusion matrix and recall.
    """

    dataset: Dataset
    logits: npt.NDArray[np.float32]
    network: nn.Module
    evaluation: Evaluation

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which test images are classified correctly, ``[test images]``."""
        found: npt.NDArray[np.bool_] = self.logits.argmax(axis=1) == self.dataset.test_labels
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A run, or a released model, as a report shows it. What it lacks is None or empty.

    Attributes:
        run: its folder.
        name: how a person calls it: a path, or the name of a released model.
        model: registered name of the network.
        summary: of a finished run.
        recipe: that it was trained by.
        records: its epochs.
        exported: its export.
        ram: bytes that an image takes on a microcontroller, by the int8 file and plain C.
        flash: bytes of flash there.
        tested: answers on the test images.
        untested: why ``tested`` is None.
    """

    run: Run
    name: str
    model: str
    summary: RunSummary
    recipe: Recipe | None
    records: Sequence[EpochRecord]
    exported: Exported | None
    ram: int | None
    flash: int | None
    tested: Tested | None
    untested: str = ""

    @property
    def argument(self) -> str:
        """Its name as it is typed in a shell."""
        return shlex.quote(self.name)

    @property
    def is_finished(self) -> bool:
        """Whether its training has ended."""
        return self.run.is_finished

    @property
    def is_folded(self) -> bool:
        """Whether its norms were folded."""
        return self.summary.folded_test_accuracy is not None


def classify(trained: TrainedNetwork, dataset: Dataset) -> Tested:
    """The answers of a network, folded if it can be, on the test images of ``dataset``, which has its classes.

    Raises:
        ModelError: the dataset has other classes.
    """
    if dataset.labels != trained.labels:
        raise ModelError(f"{dataset.name} has other classes than {trained.name}; give the data it was trained on")
    network = trained.folded or trained.network
    temperature = trained.temperatures.get("int8" if trained.folded is not None else "fp32", 1.0)
    logits = torch_logits(network, dataset.test_images) / np.float32(temperature)
    return Tested(dataset, logits, network, evaluate(logits, dataset.test_labels, dataset.labels))


def subject_of(run: Run, export: Export, tested: Tested | None, untested: str = "") -> Subject:
    """Read what the files of ``run`` and of its ``export`` say.

    Args:
        run: finished or not.
        export: the folder of its export.
        tested: its answers on the test images, if they are known.
        untested: why they are not.

    Raises:
        ModelError: the summary, the metrics or the report of the export are damaged.
        RecipeError: the recipe is damaged.
    """
    summary = run.summary  # those of early versions lack some figures
    for field, error in summary.damage.items():
        raise ModelError(f"{run.path / SUMMARY} is damaged: {field}, {error}")
    progress = None if run.is_finished else run.progress
    recipe = progress.recipe if progress is not None else None
    if (run.path / RECIPE).exists():
        recipe = run.recipe
    ram, flash = _on_a_microcontroller(export)
    model = summary.model or (recipe.model if recipe else run.network().model)
    return Subject(
        run=run,
        name=run.path.name if is_released(run.path) else str(run.path),
        model=model,
        summary=summary,
        recipe=recipe,
        records=_records(run) if progress is None else progress.records,
        exported=read_exported(export.path),
        ram=ram,
        flash=flash,
        tested=tested,
        untested=untested,
    )


def _records(run: Run) -> list[EpochRecord]:
    """The epochs of a finished run, those of a later folding in place of the first one."""
    if not (run.path / METRICS).exists():
        return []
    return [*(record for record in run.metrics() if record.phase == "train"), *run.fold_metrics()]


def _on_a_microcontroller(export: Export) -> tuple[int | None, int | None]:
    """RAM and flash of the export's int8 file in plain C, in bytes; None where there is none, or one with norms."""
    files: list[Path] = [file for file in export.files if file.name.endswith(".int8.onnx")]
    for file in files[:1]:
        with suppress(ContractError, ModelError, TypeError):
            found = figures(IntegerNetwork.from_onnx(file))
            return found["state_bytes"], found["flash_bytes"]
    return None, None
