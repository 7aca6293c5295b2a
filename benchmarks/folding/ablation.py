"""An ablation of norm folding: images of the fit, and epochs, teacher, form and optimiser of the fine-tuning.

    python -m benchmarks.folding.ablation runs/NAME

The run has validation images (``holdout`` in its recipe), and only these judge. Settings that are not varied are those
of the run's recipe, except that SGD trains all weights if no rate of Muon is given. Each result is added to
benchmarks/folding/ablation.csv at once; a case that is there is not repeated. docs/folding.md has the conclusions.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from benchmarks import results_file
from benchmarks.search import space as search_space
from cifar_edge.cli.loading import data_options, load
from cifar_edge.data import Dataset
from cifar_edge.errors import CifarEdgeError, ModelError, RecipeError, TrainingError
from cifar_edge.folding.batch_norm import with_batch_norm, without_batch_norm
from cifar_edge.folding.fold import can_fold, fold
from cifar_edge.folding.network import BatchNormNetwork, FoldedNetwork
from cifar_edge.models.gn_cnn import EARLIER_GN_CNN_LAYERS
from cifar_edge.runs.recipe import Recipe
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.runs.run import Run
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.loop import fit, logits_of
from cifar_edge.training.machine import DEVICES, choose_device, resolve_precision
from cifar_edge.training.phases import training_images
from cifar_edge.training.teacher import Teacher

RESULTS = Path(__file__).with_suffix(".csv")
FIT_IMAGES = (100, 500, 2_000, 5_000)
DRAWS = (1, 2, 3)
USUAL_FIT = 2_000
USUAL_DRAW = 1
"""As in `cifar_edge.training.phases`."""
EPOCHS = (1, 2, 5, 10)
AFFINE_EPOCHS = 5
MUON_RATES = (0.0025, 0.005, 0.01, 0.02)
MUON_EPOCHS = 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to fold.

    Attributes:
        fit_images: number of training images of the least-squares fit.
        draw: seed by which they are drawn.
        epochs: of fine-tuning; 0 for the fit alone, and then the rest is empty.
        teacher: ``none``, ``self`` (the GroupNorm network) or the name of a larger network.
        form: form that is fine-tuned: ``batch norm``, or ``affine`` with biases.
        learning_rate: peak of the schedule.
        temperature: of the distillation; None without a teacher.
        muon_learning_rate: for the weights of convolutions; None if SGD trains them too.
    """

    fit_images: int
    draw: int
    epochs: int = 0
    teacher: str = ""
    form: str = ""
    learning_rate: float | None = None
    temperature: float | None = None
    muon_learning_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Result(Case):
    """A line of the CSV file: a case and its result.

    Attributes:
        spec: the network, as in benchmarks/search/space.py.
        train_epochs: number of epochs of the GroupNorm network.
        mixup: of that training, and of the fine-tuning.
        weights_sha256: of its file; empty if that was not recorded.
        group_norm_accuracy: of the GroupNorm network on the validation images, in [0, 1].
        held_out_accuracy: of the folded network, in [0, 1]; empty if the loss became infinite.
        held_out_images: number of validation images.
        device: the one it was computed on.
    """

    spec: str
    train_epochs: int
    mixup: float
    weights_sha256: str
    group_norm_accuracy: float
    held_out_accuracy: float | None
    held_out_images: int
    device: str


def cases(recipe: Recipe) -> Iterator[Case]:
    """The ablation, quick ones first."""
    for images in FIT_IMAGES:
        yield from (Case(fit_images=images, draw=draw) for draw in DRAWS)

    usual = Case(fit_images=USUAL_FIT, draw=USUAL_DRAW, learning_rate=recipe.fold.learning_rate)
    for epochs in EPOCHS:
        alone = replace(usual, epochs=epochs, teacher="none", form="batch norm")
        yield alone
        yield replace(alone, teacher="self", temperature=recipe.temperature)
        if epochs == AFFINE_EPOCHS:
            # Without a norm, the affine form may need a lower rate than the recipe's.
            low = replace(alone, learning_rate=recipe.fold.learning_rate / 10)
            yield from (replace(alone, form="affine"), replace(low, form="affine"), low)
            yield replace(low, form="affine", teacher="self", temperature=recipe.temperature)
        if epochs == MUON_EPOCHS:
            yield from (replace(alone, muon_learning_rate=rate) for rate in MUON_RATES)


class Ablation:
    """A trained network, its training images and its validation images.

    Raises:
        ModelError: ``run`` is not a finished run of a network that can be folded.
        RecipeError: the run holds out no images.
    """

    def __init__(self, run: Path, dataset: Dataset, device: str) -> None:
        trained = load_network(run)
        if not can_fold(trained.network):
            raise ModelError(f"{trained.name} cannot be folded; give a run of gn-cnn")
        self.device = choose_device(device)
        self.recipe = resolve_precision(Run(run).recipe, self.device)
        images, labels, validation = training_images(dataset, self.recipe.holdout, self.device)
        if validation is None:
            raise RecipeError(f"{run} holds out no images to judge by; train with --set holdout=5000")
        self.images, self.labels, self.validation = images, labels, validation
        self.network: nn.Module = trained.network.to(self.device)
        self.weights_sha256 = trained.sha256
        self.group_norm_accuracy = self.accuracy(self.network)

    def measure(self, case: Case) -> Result:
        """The result of ``case``."""
        try:
            accuracy = self.accuracy(self.fold(case))
        except TrainingError:
            accuracy = None
        return Result(
            **asdict(case),
            spec=search_space.write(EARLIER_GN_CNN_LAYERS),
            train_epochs=self.recipe.epochs,
            mixup=self.recipe.mixup,
            weights_sha256=self.weights_sha256,
            group_norm_accuracy=round(self.group_norm_accuracy, 6),
            held_out_accuracy=None if accuracy is None else round(accuracy, 6),
            held_out_images=len(self.validation[1]),
            device=torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
        )

    def fold(self, case: Case) -> FoldedNetwork:
        """Fold and fine-tune as ``case`` says.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(case.draw))
        seen = self.images[order[: case.fit_images].to(self.device)]
        fitted = fold(self.network, seen)
        if case.learning_rate is None:
            return fitted
        recipe = self.recipe.with_values(
            epochs=case.epochs,
            learning_rate=case.learning_rate,
            muon_learning_rate=case.muon_learning_rate or 0.0,
            brightness=self.recipe.fold.brightness,
            contrast=self.recipe.fold.contrast,
        )
        teacher = Teacher([self.network], recipe) if case.teacher == "self" else None
        start = with_batch_norm(fitted, seen) if case.form == "batch norm" else fitted.requires_grad_(True)
        tuned = fit(start, self.images, self.labels, recipe, teacher=teacher)
        if isinstance(tuned, BatchNormNetwork):
            return without_batch_norm(tuned)
        assert isinstance(tuned, FoldedNetwork)
        return tuned

    def accuracy(self, network: nn.Module) -> float:
        """Accuracy on the validation images."""
        images, labels = self.validation
        right: Tensor = logits_of(network, images).argmax(1) == labels
        return right.double().mean().item()


@click.command()
@click.argument("run")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option("--max-epochs", type=click.IntRange(min=0), default=max(EPOCHS), help="Leave out longer cases.")
@data_options
def main(run: str, device: str, max_epochs: int, data: str | None, offline: bool) -> None:
    """Fold RUN in every way of the ablation; the results go to benchmarks/folding/ablation.csv."""
    try:
        ablation = Ablation(resolve_run(run).path, load(data, offline), device)
        known = {
            Case(**{field.name: getattr(result, field.name) for field in fields(Case)})
            for result in results_file.read(RESULTS, Result)
            if result.weights_sha256 == ablation.weights_sha256
        }
        for case in cases(ablation.recipe):
            if case.epochs <= max_epochs and case not in known:
                result = ablation.measure(case)
                results_file.append(RESULTS, result)
                click.echo(f"{case} {result.held_out_accuracy}")
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
