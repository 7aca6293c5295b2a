"""The mean of a folded network and of others that were fine-tuned from it: more often right than each of them.

    python -m benchmarks.folding.average models/gn-cnn-max runs/again
    python -m benchmarks.folding.average models/gn-cnn runs/again runs/once-more

writes the mean into deploy.safetensors of the last run. Fine-tunings that begin with the same weights end so near to
each other that the mean of their weights is better than any of them (Wortsman et al. 2022, "Model soups",
arXiv:2203.05482). The command tells how well each classifies newly augmented training images, the cross-entropy at the
temperature that is best for it; test images have no part in it.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from benchmarks.cards.calibration import fit_temperature, negative_log_likelihood
from cifar_edge.cli.loading import data_options, load
from cifar_edge.errors import CifarEdgeError
from cifar_edge.folding.batch_norm import with_batch_norm, without_batch_norm
from cifar_edge.folding.equalisation import equalised
from cifar_edge.folding.network import BatchNormNetwork, FoldedNetwork
from cifar_edge.models.pixels import pixels_to_input
from cifar_edge.runs.run import Run
from cifar_edge.training.augmentation import augmented_by
from cifar_edge.training.checkpoint import load_network, new_generator, save_folded
from cifar_edge.training.loop import logits_of
from cifar_edge.training.phases import accuracy_of, training_images

_ORDER = 1
"""Seed of the order of the training images."""
_SEEN = 4_000
"""Training images that batch statistics are of."""
_RANGED = 2_000
"""Training images that the ranges of channels are of, as in `cifar_edge.training.phases`."""
_BATCH = 500
_JUDGED = 10_000
"""Training images, the last of the same order, that the networks are compared on, augmented anew."""
_NEW_COPY = 77
"""Seed of that augmentation; no recipe has it."""


def averaged(networks: Sequence[FoldedNetwork], seen: Tensor) -> FoldedNetwork:
    """The mean of the weights of folded networks, with batch statistics of its own.

    The channels of each are given equal ranges first: the mean of two weights whose channels have other factors is the
    weight of no network. Then each has batch norm in place of its biases, so that the size of a filter does not matter
    and its direction is what is averaged.

    Args:
        networks: of the same layers, all but the first fine-tuned from the first.
        seen: uint8 ``[n, S, S, 3]``, the training images that the statistics are of.

    Returns:
        The mean, in evaluation mode, its channels given equal ranges.
    """
    normed = [with_batch_norm(equalised(network, seen[:_RANGED]), seen) for network in networks]
    states = [network.state_dict() for network in normed]
    mean = copy.deepcopy(normed[0])
    mean.load_state_dict(
        {
            name: sum(_direction(state[name]) for state in states) / len(states) if value.is_floating_point() else value
            for name, value in states[0].items()
        }
    )
    _measure(mean, seen)
    return equalised(without_batch_norm(mean), seen[:_RANGED])


def _direction(value: Tensor) -> Tensor:
    """The filters of a convolution, ``[out, in, height, width]``, with a norm of 1; other tensors as they are."""
    if value.dim() != 4:
        return value
    norms: Tensor = value.flatten(1).norm(dim=1)
    return value / norms.clamp_min(1e-12).view(-1, 1, 1, 1)


@torch.no_grad()
def _measure(network: BatchNormNetwork, seen: Tensor) -> None:
    """Replace the batch statistics of ``network`` by those of all of ``seen``."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over batches
    network.train()
    for part in seen.split(_BATCH):
        network(pixels_to_input(part))
    network.eval()


@click.command()
@click.argument("one", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("runs", type=click.Path(exists=True, file_okay=False, path_type=Path), nargs=-1, required=True)
@data_options
def main(one: Path, runs: tuple[Path, ...], data: str | None, offline: bool) -> None:
    """Average the folded networks of RUNS with that of ONE, from which they were fine-tuned, into the last of RUNS."""
    try:
        folders, run = (one, *runs), runs[-1]
        networks = [_folded(folder) for folder in folders]
        recipe, trained = Run(run).recipe, load_network(run)
        for folder in folders:
            if (other := load_network(folder)).name != trained.name:
                raise CifarEdgeError(f"{folder} is a {other.name}, {run} a {trained.name}: they have other layers")
        images, labels, _ = training_images(load(data, offline), recipe.holdout, torch.device("cpu"))
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(_ORDER))
        mean = averaged(networks, images[order[:_SEEN]])
        judged = order[-_JUDGED:]
        anew = augmented_by(recipe, images[judged], new_generator(_NEW_COPY))
        for name, network in zip([*map(str, folders), "mean"], [*networks, mean], strict=True):
            logits = logits_of(network, anew)
            measured = logits.numpy(), labels[judged].numpy()
            loss = negative_log_likelihood(*measured, fit_temperature(*measured))
            click.echo(f"{accuracy_of(logits, labels[judged]):.2%}  cross-entropy {loss:.4f}  {name}")
        save_folded(Run(run).weights(folded=True), mean, trained.name, trained.labels, trained.size)
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error


def _folded(folder: Path) -> FoldedNetwork:
    folded = load_network(folder).folded
    if folded is None:
        raise CifarEdgeError(f"{folder} has no folded network")
    return folded


if __name__ == "__main__":
    main()
