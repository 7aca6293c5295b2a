"""The mean of two folded networks, one of which was fine-tuned from the other: both right where one alone is.

    python -m benchmarks.folding.average models/gn-cnn-max runs/again

writes the mean into runs/again/deploy.safetensors. Fine-tunings that begin with the same weights end so near to each
other that the mean of their weights is better than either (Wortsman et al. 2022, "Model soups", arXiv:2203.05482).
It is told how well each network takes newly augmented training images; test images have no part in it.
"""

import copy
from pathlib import Path

import click
import torch
from torch import Tensor, nn

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


def averaged(one: FoldedNetwork, other: FoldedNetwork, seen: Tensor) -> FoldedNetwork:
    """The mean of the weights of two folded networks, with batch statistics of its own.

    Each is given batch norm in place of its biases, so that the size of a filter does not matter and its direction is
    what is averaged.

    Args:
        one: the first.
        other: one of the same layers, fine-tuned from it.
        seen: uint8 ``[n, S, S, 3]``, the training images that the statistics are of.

    Returns:
        The mean, in evaluation mode, its channels given equal ranges.
    """
    first, second = with_batch_norm(one, seen), with_batch_norm(other, seen)
    mean = copy.deepcopy(first)
    mean.load_state_dict(
        {
            name: (_direction(value) + _direction(second.state_dict()[name])) / 2
            if value.is_floating_point()
            else value
            for name, value in first.state_dict().items()
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
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_options
def main(one: Path, run: Path, data: str | None, offline: bool) -> None:
    """Average the folded network of RUN with that of ONE, from which it was fine-tuned, and write the mean into RUN."""
    try:
        trained, before = load_network(run), load_network(one)
        if trained.folded is None or before.folded is None:
            raise CifarEdgeError(f"{run if trained.folded is None else one} has no folded network")
        if before.name != trained.name:
            raise CifarEdgeError(f"{one} is a {before.name}, {run} a {trained.name}: they have other layers")
        recipe = Run(run).recipe
        images, labels, _ = training_images(load(data, offline), recipe.holdout, torch.device("cpu"))
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(_ORDER))
        mean = averaged(before.folded, trained.folded, images[order[:_SEEN]])
        judged = order[-_JUDGED:]
        anew = augmented_by(recipe, images[judged], new_generator(_NEW_COPY))
        for name, network in (("first", before.folded), ("second", trained.folded), ("mean", mean)):
            logits = logits_of(network, anew)
            loss = nn.functional.cross_entropy(logits / recipe.temperature, labels[judged]).item()
            click.echo(f"{name:6}  {accuracy_of(logits, labels[judged]):.2%}  cross-entropy {loss:.4f}")
        save_folded(Run(run).weights(folded=True), mean, trained.name, trained.labels, trained.size)
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
