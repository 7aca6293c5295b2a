"""What a training learns from besides its images: the run that it begins with, and its teachers.

An image that one of these was trained on is no fair test of what comes of it.
"""

from pathlib import Path

from cifar_edge.data.dataset import Dataset, Images
from cifar_edge.data.folder.trained_on import has_trained_on, trained_on
from cifar_edge.errors import TrainingError
from cifar_edge.messages import display_name
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import Run
from cifar_edge.training.own_images import beginning
from cifar_edge.training.phases import teacher_folders


def origins(recipe: Recipe) -> list[Path]:
    """The folders of the runs and released models that a training by ``recipe`` learns from.

    Raises:
        ModelError: there is no such run or model.
    """
    return [*([beginning(recipe.init)] if recipe.init else []), *teacher_folders(recipe)]


def warnings_of_test_images(recipe: Recipe, dataset: Dataset) -> list[str]:
    """A line for each of the `origins` that was trained on images that are test images now.

    Raises:
        ModelError: there is no such run or model, or its record of images is damaged.
    """
    seen = {folder: _known(folder, dataset, dataset.test_images) for folder in origins(recipe)}
    images = f"{len(dataset.test_images):,} test images"
    return [
        f"{display_name(str(folder))} was trained on {count:,} of the {images}, so the test accuracy will be too high; "
        "learn from another run, or test by other images"
        for folder, count in seen.items()
        if count
    ]


def check_cross_validation(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse to cross-validate what learns from a run that was trained on the same images: no fold would be new to it.

    Raises:
        TrainingError: it does.
        ModelError: as `warnings_of_test_images`.
    """
    own = None if dataset.folder is None else str(dataset.folder)
    for folder in origins(recipe):
        reference = Run(folder).summary.data
        same = reference is not None and reference.folder == own  # CIFAR-10 has no folder
        recorded = dataset.folder is not None and has_trained_on(folder)
        images = dataset.train_images
        count = _known(folder, dataset, images) if recorded else len(images) if same else 0
        if count:
            raise TrainingError(
                f"{display_name(str(folder))} was trained on {count:,} of the {len(images):,} training images, and "
                "would be judged by them; leave --cross-validate out, or learn from another run"
            )


def _known(folder: Path, dataset: Dataset, images: Images) -> int:
    """How many of ``images`` of ``dataset`` the run in ``folder`` has a record of having been trained on."""
    return 0 if dataset.folder is None else int(trained_on(dataset, images, folder).sum())
