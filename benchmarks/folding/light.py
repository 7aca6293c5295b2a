"""Accuracy of folded networks that were fine-tuned with several strengths of brightness and contrast.

    python -m benchmarks.folding.light runs/NAME

The run has validation images (``holdout`` in its recipe). Its GroupNorm network is judged on them, as they are and with
the corruptions of the model cards. Then it is folded and fine-tuned with several strengths of brightness and contrast,
and each folded network is judged in the same way. Results are added to benchmarks/folding/light.csv one by one; a case
that is there is not measured again. docs/folding.md has the conclusions.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks import results_file
from benchmarks.cards.corruptions import CORRUPTIONS, corrupt
from benchmarks.folding.ablation import USUAL_DRAW, USUAL_FIT, Ablation, Case
from cifar_edge.cli.loading import data_options, load
from cifar_edge.errors import CifarEdgeError
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.training.loop import logits_of
from cifar_edge.training.machine import DEVICES

RESULTS = Path(__file__).with_suffix(".csv")
CASES = (
    (0, 0.0, 0.0),
    (10, 0.0, 0.0),
    (10, 0.0, 0.5),
    (10, 0.3, 0.5),
    (10, 0.0, 0.8),
    (10, 0.5, 0.8),
    (30, 0.0, 0.0),
    (30, 0.3, 0.5),
)
"""Epochs of fine-tuning, and strengths of brightness and contrast in it."""


@dataclass(frozen=True)
class Result:
    """The accuracies of one network, in [0, 1]; for a corruption it is the mean over its five strengths.

    Attributes:
        epochs: of fine-tuning; 0 is the GroupNorm network.
        brightness: strength in the fine-tuning, see `cifar_edge.training.augmentation.relight`.
        contrast: the same.
        clean: on the validation images as they are.
        noise, blur, brighter, darker, less_contrast, jpeg: on these images with that corruption.
        images: number of validation images.
        weights_sha256: of the run.
    """

    epochs: int
    brightness: float
    contrast: float
    clean: float
    noise: float
    blur: float
    brighter: float
    darker: float
    less_contrast: float
    jpeg: float
    images: int
    weights_sha256: str


def measure(ablation: Ablation, network: nn.Module, epochs: int, brightness: float, contrast: float) -> Result:
    """The accuracies of ``network`` on the validation images."""
    images, labels = ablation.validation
    classes = labels.cpu().numpy()
    pixels = images.cpu().numpy()

    def accuracy(worse: npt.NDArray[np.uint8]) -> float:
        logits = logits_of(network, torch.from_numpy(worse).to(images.device))
        return float((logits.argmax(1).cpu().numpy() == classes).mean())

    noise, blur, brighter, darker, less_contrast, jpeg = (
        round(mean(accuracy(corrupt(pixels, corruption, strength)) for strength in corruption.strengths), 4)
        for corruption in CORRUPTIONS
    )
    return Result(
        epochs=epochs,
        brightness=brightness,
        contrast=contrast,
        clean=round(accuracy(pixels), 4),
        noise=noise,
        blur=blur,
        brighter=brighter,
        darker=darker,
        less_contrast=less_contrast,
        jpeg=jpeg,
        images=len(labels),
        weights_sha256=ablation.weights_sha256,
    )


@click.command()
@click.argument("run")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option(
    "--max-epochs", type=click.IntRange(min=0), default=30, show_default=True, help="Leave out longer fine-tunings."
)
@data_options
def main(run: str, device: str, max_epochs: int, data: str | None, offline: bool) -> None:
    """Fold RUN with several strengths of brightness and contrast; results go to benchmarks/folding/light.csv."""
    try:
        ablation = Ablation(resolve_run(run).path, load(data, offline), device)
        known = {
            (row.epochs, row.brightness, row.contrast)
            for row in results_file.read(RESULTS, Result)
            if row.weights_sha256 == ablation.weights_sha256
        }
        recipe = ablation.recipe
        for epochs, brightness, contrast in CASES:
            if epochs > max_epochs or (epochs, brightness, contrast) in known:
                continue
            network: nn.Module = ablation.network
            if epochs:
                ablation.recipe = recipe.changed({"fold.brightness": brightness, "fold.contrast": contrast})
                network = ablation.fold(
                    Case(
                        fit_images=USUAL_FIT,
                        draw=USUAL_DRAW,
                        epochs=epochs,
                        teacher="none",
                        form="batch norm",
                        learning_rate=recipe.fold.learning_rate,
                    )
                )
            result = measure(ablation, network, epochs, brightness, contrast)
            results_file.append(RESULTS, result)
            click.echo(result)
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
