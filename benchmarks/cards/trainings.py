"""What other trainings by a released model's recipe reach, and the temperature at which its scores can be believed.

    cifar-edge train --recipe models/gn-cnn/teacher.toml --name teacher
    cifar-edge train --recipe models/gn-cnn/recipe.toml --set seed=1 --name seed1
    cifar-edge train --recipe models/gn-cnn/recipe.toml --set seed=2 --name seed2
    cifar-edge train --recipe models/gn-cnn/recipe.toml --set holdout=5000 --name twin
    python -m benchmarks.cards.trainings gn-cnn runs/seed1 runs/seed2 runs/twin runs/teacher

writes models/gn-cnn/trainings.json, the released training first. A run that held images out is judged by these, another
one by the test images; each is exported for that as `cifar-edge export --quantize` does. The temperatures of the twin,
the run of the released network that held images out, go into models/gn-cnn/summary.json, whence the export takes them.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.cards.calibration import fit_temperature
from cifar_edge.cli.loading import data_options, load
from cifar_edge.data import Dataset
from cifar_edge.errors import CifarEdgeError
from cifar_edge.export.conversion import conversions
from cifar_edge.export.graphs import serialize
from cifar_edge.files import released, write_text
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.run import Run
from cifar_edge.runtime import model as runtime
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.phases import training_images

TRAININGS = "trainings.json"
FIRST = "first.toml"
"""What a model was trained by first, where its folded network was then fine-tuned on by another recipe."""


@dataclass(frozen=True)
class Training:
    """A training and what it gave.

    Attributes:
        model: registered name of the network.
        seed: of its first recipe.
        epochs: before any folding.
        holdout: training images that were held out; 0 for a training on all of them.
        images: how many images it is judged by, held-out ones if there are any, else test images.
        accuracy: of each form of the network, as `cifar_edge.export.conversion` names them, in [0, 1].
        weights_sha256: of its ``model.safetensors``.
    """

    model: str
    seed: int
    epochs: int
    holdout: int
    images: int
    accuracy: dict[str, float]
    weights_sha256: str


def read(folder: Path) -> list[Training]:
    """The trainings that stand in the folder of a released model, its own first; none if none were recorded."""
    path = folder / TRAININGS
    return [Training(**record) for record in json.loads(path.read_text())] if path.exists() else []


def judge(run: Path, dataset: Dataset, quantize: bool) -> tuple[Training, dict[str, float]]:
    """Judge a run by the images it has not seen; with it come, if they are held-out ones, temperatures by precision.

    Args:
        run: folder of a finished run.
        dataset: the one it was trained on.
        quantize: judge int8 too.

    Raises:
        CifarEdgeError: it is no finished run, or cannot be converted.
    """
    recipe, trained = Run(run).recipe, load_network(run)
    images, _, held_out = training_images(dataset, recipe.holdout, torch.device("cpu"))
    if held_out is not None:
        unseen, classes = held_out[0].numpy(), held_out[1].numpy()
        dataset = replace(dataset, train_images=images.numpy(), test_images=unseen, test_labels=classes)
    accuracy: dict[str, float] = {}
    temperatures: dict[str, float] = {}
    for conversion in conversions(trained, dataset, quantize=quantize):
        session = runtime.load(serialize(conversion.graph, conversion.about)).session
        logits = runtime.run(session, dataset.test_images)
        accuracy[conversion.name] = float(np.mean(logits.argmax(axis=1) == dataset.test_labels))
        if recipe.holdout and conversion.written:
            temperatures[conversion.about.precision] = round(fit_temperature(logits, dataset.test_labels), 3)
    first = run / FIRST
    begun_by = Recipe.from_file(first) if first.exists() else recipe
    training = Training(
        model=trained.name,
        seed=begun_by.seed,
        epochs=begun_by.epochs,
        holdout=recipe.holdout,
        images=len(dataset.test_labels),
        accuracy=accuracy,
        weights_sha256=trained.sha256,
    )
    return training, temperatures


@click.command()
@click.argument("model")
@click.argument("runs", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_options
def main(model: str, runs: tuple[Path, ...], data: str | None, offline: bool) -> None:
    """Judge the released MODEL and other RUNS; what they give is written beside its weights."""
    try:
        folder, dataset = released(f"models/{model}"), load(data, offline)
        trainings: list[Training] = []
        temperatures: dict[str, float] = {}
        for run in (folder, *runs):
            quantize = Run(run).recipe.model == model
            training, fitted = judge(run, dataset, quantize)
            trainings.append(training)
            if quantize:
                temperatures |= fitted
            click.echo(f"{run}: {training} {fitted}")
        write_text(folder / TRAININGS, json.dumps([asdict(training) for training in trainings], indent=2) + "\n")
        if temperatures:
            released_run = Run(folder)
            released_run.write_summary(replace(released_run.summary, temperature=temperatures))
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
