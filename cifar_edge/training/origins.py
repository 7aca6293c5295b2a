"""What a training learns from besides its images: the run that it begins with, and its teachers.

An image that one of these was trained on is no fair test of what comes of it.
"""

from dataclasses import dataclass
from pathlib import Path

from cifar_edge.data.dataset import Dataset
from cifar_edge.data.folder.trained_on import has_trained_on, trained_on
from cifar_edge.errors import TrainingError
from cifar_edge.messages import display_name
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import Run
from cifar_edge.training.own_images import beginning
from cifar_edge.training.phases import teacher_folders


@dataclass(frozen=True, slots=True)
class Seen:
    """How many images of a dataset an earlier run was trained on.

    Attributes:
        run: its folder.
        training: of the training images; all where the run has no record of them, and the same dataset.
        test: of the test images, likewise none.
    """

    run: Path
    training: int
    test: int


def origins(recipe: Recipe) -> list[Path]:
    """The folders of the runs and released models that a training by ``recipe`` learns from.

    Raises:
        ModelError: there is no such run or model.
    """
    return [*([beginning(recipe.init)] if recipe.init else []), *teacher_folders(recipe)]


def seen_before(recipe: Recipe, dataset: Dataset) -> list[Seen]:
    """Which of the `origins` were trained on images of ``dataset``.

    Raises:
        ModelError: there is no such run or model, or its record of images is damaged.
    """
    found = [_seen(folder, dataset) for folder in origins(recipe)]
    return [each for each in found if each.training or each.test]


def _seen(folder: Path, dataset: Dataset) -> Seen:
    if dataset.folder is not None and has_trained_on(folder):
        images = (dataset.train_images, dataset.test_images)
        training, test = (int(trained_on(dataset, each, folder).sum()) for each in images)
        return Seen(folder, training, test)
    reference = Run(folder).summary.data
    own = None if dataset.folder is None else str(dataset.folder)
    same = reference is not None and reference.folder == own  # CIFAR-10 has no folder
    return Seen(folder, len(dataset.train_images) if same else 0, 0)


def warnings_of_test_images(recipe: Recipe, dataset: Dataset) -> list[str]:
    """A line for each of the `origins` that was trained on images that are test images now.

    Raises:
        ModelError: as `seen_before`.
    """
    images = f"{len(dataset.test_images):,} test images"
    return [
        f"{display_name(str(each.run))} was trained on {each.test:,} of the {images}, so the test accuracy will be too "
        "high; learn from another run, or test by other images"
        for each in seen_before(recipe, dataset)
        if each.test
    ]


def check_cross_validation(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse to cross-validate what learns from a run that was trained on the same images: no fold would be new to it.

    Raises:
        TrainingError: it does.
        ModelError: as `seen_before`.
    """
    for each in seen_before(recipe, dataset):
        if each.training:
            raise TrainingError(
                f"{display_name(str(each.run))} was trained on {each.training:,} of the {len(dataset.train_images):,} "
                "training images, and would be judged by them; leave --cross-validate out, or learn from another run"
            )
