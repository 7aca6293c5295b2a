"""What a model card tells: what lies in the released folders, and what is measured on all test images."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.cards import trainings
from benchmarks.cards.calibration import Logits
from benchmarks.cards.corruptions import CORRUPTIONS, corrupt
from benchmarks.cards.trainings import Training
from cifar_edge.cli.report import NAME as REPORT_PAGE
from cifar_edge.data import Dataset
from cifar_edge.errors import DataError
from cifar_edge.export.parity import torch_logits
from cifar_edge.files import released
from cifar_edge.measure.accuracy import Evaluation, evaluate
from cifar_edge.models.summary import summarize
from cifar_edge.runs.exports import REPORT
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import Run
from cifar_edge.runs.summary import RunSummary
from cifar_edge.runtime.model import load, run
from cifar_edge.spec import Precision
from cifar_edge.training.checkpoint import TrainedNetwork, load_network

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Form:
    """One form of a released model.

    Attributes:
        name: as its export report has it.
        precision: ``fp32`` or ``int8``.
        file: its ``.onnx`` file; None for one that was only measured, for comparison.
        parameters: of the PyTorch module it was made of.
        macs: of that module, for one image.
        temperature: of its scores; 1 where none was fitted.
        logits: float32 ``[n, classes]`` of uint8 ``[n, 32, 32, 3]``.
    """

    name: str
    precision: Precision
    file: Path | None
    parameters: int
    macs: int
    temperature: float
    logits: Callable[[Images], Logits]


@dataclass(frozen=True)
class Released:
    """A released model, as it lies in ``models/NAME`` and ``export/NAME``.

    Attributes:
        name: its name.
        folder: ``models/NAME``.
        export: ``export/NAME``.
        trained: its networks.
        recipe: what it was trained by.
        summary: what its training said of itself.
        report: ``report.json`` of its export.
        trainings: see `benchmarks.cards.trainings`.
        forms: fp32 first, int8 last.
    """

    name: str
    folder: Path
    export: Path
    trained: TrainedNetwork
    recipe: Recipe
    summary: RunSummary
    report: Mapping[str, Any]
    trainings: tuple[Training, ...]
    forms: tuple[Form, ...]

    @property
    def files(self) -> list[Path]:
        """All that was released of it, but for the card itself."""
        found = [*self.folder.iterdir(), *self.export.iterdir()]
        return sorted(path for path in found if path.is_file() and path.name not in ("README.md", REPORT_PAGE))

    @property
    def exported(self) -> list[Form]:
        """The forms that have a file."""
        return [form for form in self.forms if form.file is not None]

    @property
    def deployed(self) -> Form:
        """The file that its export report says to deploy."""
        return next(form for form in self.exported if form.precision == self.report["deploy"])

    @property
    def twin(self) -> Training | None:
        """The training with held-out images, by which the temperatures were fitted."""
        return next((each for each in self.trainings if each.model == self.name and each.holdout), None)


@dataclass(frozen=True)
class Measured:
    """What the forms of a released model do on all test images.

    Attributes:
        logits: of each form, by its name.
        classes: the true ones, int64 ``[images]``.
        evaluations: of each form, by its name.
        corrupted: accuracy of each form on corrupted ones, by its name and the corruption's, weakest first.
    """

    logits: Mapping[str, Logits]
    classes: npt.NDArray[np.int64]
    evaluations: Mapping[str, Evaluation]
    corrupted: Mapping[tuple[str, str], Sequence[float]]


def read(name: str) -> Released:
    """Read the released model of that name.

    Raises:
        ModelError: there is none, or it is not exported, or a file of it is damaged.
    """
    folder, report_file = released(f"models/{name}"), released(f"export/{name}/{REPORT}")
    trained, export = load_network(folder), report_file.parent
    report = json.loads(report_file.read_text())
    return Released(
        name=name,
        folder=folder,
        export=export,
        trained=trained,
        recipe=Run(folder).recipe,
        summary=Run(folder).summary,
        report=report,
        trainings=tuple(trainings.read(folder)),
        forms=tuple(_form(row, export, trained) for row in report["rows"]),
    )


def _form(row: Mapping[str, Any], export: Path, trained: TrainedNetwork) -> Form:
    if row["file"] is None:
        folded = trained.folded
        assert folded is not None
        costs = summarize(folded)
        return Form(
            row["name"], "fp32", None, costs.parameters, costs.macs, 1.0, lambda images: torch_logits(folded, images)
        )
    file = export / row["file"]
    session, about = load(file)
    return Form(
        row["name"],
        about.precision,
        file,
        about.parameters,
        about.macs,
        about.temperature,
        lambda images: run(session, images),
    )


def measure(model: Released, dataset: Dataset, report: Callable[[str], None]) -> Measured:
    """Measure every form on the test images, as they are and corrupted.

    Args:
        model: what is released.
        dataset: with all 10,000 test images.
        report: told of each step, some of which take minutes.

    Raises:
        DataError: a form does not reach what its export's report says, or the data set has other classes.
    """
    if dataset.labels != model.trained.labels:
        raise DataError(f"{model.name} knows other classes than {dataset.name} has")
    images, classes = dataset.test_images, dataset.test_labels
    logits = {form.name: form.logits(images) for form in model.forms}
    evaluations = {name: evaluate(answers, classes, dataset.labels) for name, answers in logits.items()}
    for row in model.report["rows"]:
        found, said = evaluations[row["name"]].accuracy, row["accuracy"]
        if (found.value, found.images) != (said["value"], said["images"]):
            raise DataError(
                f"{model.name}, {row['name']}: {found.value:.2%} of {found.images} images are right, {REPORT} says "
                f"{said['value']:.2%} of {said['images']}; export it again"
            )
    corrupted: dict[tuple[str, str], list[float]] = {}
    for corruption in CORRUPTIONS:
        report(f"{model.name}: {corruption.name}")
        for strength in corruption.strengths:
            worse = corrupt(images, corruption, strength)
            for form in model.forms:
                right = form.logits(worse).argmax(axis=1) == classes
                corrupted.setdefault((form.name, corruption.name), []).append(float(np.mean(right)))
    return Measured(logits, classes, evaluations, corrupted)
