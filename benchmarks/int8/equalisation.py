"""What equal ranges of channels gain in int8: signal and classes on training images, before and after.

    python -m benchmarks.int8.equalisation gn-cnn runs/NAME

Folding equalises a network, so there is a difference only for those that were folded before it did, as the released
gn-cnn and gn-cnn-nano were. Nothing is chosen by these figures, so training images do.
"""

from pathlib import Path

import click
import torch

from cifar_edge.cli.loading import data_options, load
from cifar_edge.errors import CifarEdgeError, ModelError
from cifar_edge.export.calibration import calibration_images
from cifar_edge.export.integers import quantize
from cifar_edge.export.parity import compare, torch_logits
from cifar_edge.folding.equalisation import equalised
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.training.checkpoint import load_network

IMAGES = 2_000
"""To compare on, other ones than those of the calibration; as many for the ranges."""


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@data_options
def main(runs: tuple[Path, ...], data: str | None, offline: bool) -> None:
    """Print a line for each of RUNS, as it is and equalised."""
    try:
        dataset = load(data, offline)
        images, labels = dataset.train_images[7::25][:IMAGES], dataset.train_labels[7::25][:IMAGES]
        for run in runs:
            folded = load_network(resolve_run(run).path).folded
            if folded is None:
                raise ModelError(f"{run} has no folded network")
            exact = torch_logits(folded, images)
            ranges = torch.from_numpy(dataset.train_images[:IMAGES])
            for told, network in (("as it is", folded), ("equalised", equalised(folded, ranges))):
                integers = quantize(network.layers, calibration_images(dataset.train_images))
                comparison = compare(integers(images) * integers.logit_scale, exact, labels)
                click.echo(f"{run} {told}: {comparison.snr_db:.1f} dB, {comparison.agreement:.2%} keep their class")
    except CifarEdgeError as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
