"""How to choose the int8 scales of a folded network: of activations by six methods, of weights by four.

    python -m benchmarks.int8.calibration runs/NAME --data cifar10.npz

The run has held-out images (``holdout`` in its recipe): they alone judge, and the images of the calibration are drawn
from the others. Prints a table and writes benchmarks/int8/calibration.csv; docs/int8.md says what follows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from benchmarks import results_file
from cifar_edge.cli.loading import data_options, load
from cifar_edge.errors import CifarEdgeError, ModelError, RecipeError
from cifar_edge.export.calibration import CALIBRATION_IMAGES, LARGEST, Histogram, least_error_scale
from cifar_edge.export.integers import quantize
from cifar_edge.export.parity import Comparison, Logits, compare, torch_logits
from cifar_edge.export.targets.onnx_graph import integer_graph
from cifar_edge.integer import IntegerNetwork
from cifar_edge.runs.resolve import resolve_run
from cifar_edge.runs.run import Run
from cifar_edge.spec import INPUT_NAME
from cifar_edge.training.checkpoint import load_network
from cifar_edge.training.phases import training_images

RESULTS = Path(__file__).with_suffix(".csv")
IMAGES = (64, 256, CALIBRATION_IMAGES)
DRAWS = 5
CODES = LARGEST + 1

Choose = Callable[[Histogram], float]
Quantize = Callable[..., IntegerNetwork]
"""`cifar_edge.export.integers.quantize`, some of its keyword arguments given."""


@dataclass(frozen=True)
class Result:
    """One way to calibrate, on average over `DRAWS` draws of the images; ``*_spread`` is the standard deviation.

    Attributes:
        activations: method for the activations' scales.
        weights: method for the weights' scales.
        images: drawn for the calibration.
        drop: points of accuracy lost on the held-out images, against the folded network in float.
        agreement: fraction of held-out images that keep their class.
        snr_db: signal-to-noise ratio of their logits.
    """

    activations: str
    weights: str
    images: int
    drop: float
    drop_spread: float
    agreement: float
    agreement_spread: float
    snr_db: float
    snr_db_spread: float


def largest_value(histogram: Histogram) -> float:
    """Nothing is clipped."""
    return histogram.maximum / LARGEST or 1.0


def percentile(histogram: Histogram, fraction: float) -> float:
    """That fraction of the values is not clipped."""
    seen = np.cumsum(histogram.counts) / histogram.counts.sum()
    return float(np.argmax(seen >= fraction) + 1) / len(histogram.counts) * histogram.maximum / LARGEST


def least_divergence(histogram: Histogram) -> float:
    """The threshold whose codes lose least information, by Kullback and Leibler's divergence.

    As TensorRT does it (Migacz, "8-bit inference with TensorRT", GTC 2017), on the values above zero, which is exact.
    """
    bins = histogram.counts.reshape(-1, len(histogram.counts) // 2048).sum(axis=1).astype(float)
    bins[0] = 0
    divergences = {kept: _divergence(bins, kept) for kept in range(CODES, len(bins) + 1, CODES // 16)}
    return min(divergences, key=lambda kept: divergences[kept]) / len(bins) * histogram.maximum / LARGEST


def _divergence(bins: npt.NDArray[np.float64], kept: int) -> float:
    """Between ``bins``, what lies beyond ``kept`` of them clipped into the last, and what `CODES` codes make of it."""
    clipped = bins[:kept].copy()
    clipped[-1] += bins[kept:].sum()
    coded = np.zeros(kept)
    for part in np.array_split(np.arange(kept), CODES):
        filled = part[bins[part] > 0]
        coded[filled] = bins[filled].mean() if len(filled) else 0
    present = clipped > 0
    p = clipped[present] / clipped.sum()
    q = np.maximum(coded[present] / coded.sum(), 1e-12)
    return float((p * np.log(p / q)).sum())


def plain_scales(
    weights: npt.NDArray[np.float64], both_sides: bool = False, *, largest: int
) -> npt.NDArray[np.float64]:
    """The scale that makes ``largest`` of the largest weight of a channel, whatever its neighbours are."""
    return np.asarray(np.maximum(np.abs(weights.reshape(len(weights), -1)).max(axis=1) / largest, 1e-12))


ACTIVATIONS: dict[str, Choose] = {
    "least squared error": least_error_scale,
    "largest value": largest_value,
    "least divergence": least_divergence,
    "99.999 %": partial(percentile, fraction=0.99999),
    "99.99 %": partial(percentile, fraction=0.9999),
    "99.9 %": partial(percentile, fraction=0.999),
}
FITTED = "8 bits, bounded pairs, fitted"
WEIGHTS: dict[str, Quantize] = {
    FITTED: quantize,
    "8 bits, bounded pairs": partial(quantize, fit=False),
    # On processors without VNNI its sums saturate.
    "8 bits": partial(quantize, choose_weight_scales=partial(plain_scales, largest=127), fit=False),
    # `reduce_range` of onnxruntime's tools: no sum of two saturates.
    "7 bits": partial(quantize, choose_weight_scales=partial(plain_scales, largest=63), fit=False),
}


class Trial:
    """A folded network, the images to draw from, and the held-out ones that judge.

    Raises:
        ModelError: ``run`` is no finished run that was folded.
        RecipeError: it holds out no images.
    """

    def __init__(self, run: Path, data: str | None, offline: bool) -> None:
        folded = load_network(run).folded
        if folded is None:
            raise ModelError(f"{run} has no folded network; train gn-cnn with --fold-epochs")
        self._network = folded
        images, _, held_out = training_images(load(data, offline), Run(run).recipe.holdout, torch.device("cpu"))
        if held_out is None:
            raise RecipeError(f"{run} holds out no images to judge by; train with --set holdout=5000")
        self._images = images.numpy()
        self._held_out, self._labels = (part.numpy() for part in held_out)
        self._reference = torch_logits(folded, self._held_out)

    def measure(self, activations: str, weights: str, count: int) -> Result:
        """Calibrate on ``count`` images, `DRAWS` times."""
        found = [self._comparison(activations, weights, count, draw) for draw in range(DRAWS)]
        figures = np.array([(100 * each.drop.value, each.agreement, each.snr_db) for each in found], float)
        pairs = zip(figures.mean(0), figures.std(0, ddof=1), strict=True)
        return Result(activations, weights, count, *(round(float(value), 4) for pair in pairs for value in pair))

    def _comparison(self, activations: str, weights: str, count: int, draw: int) -> Comparison:
        drawn = self._images[np.random.default_rng(draw).choice(len(self._images), count, replace=False)]
        quantized = WEIGHTS[weights](self._network.layers, drawn, choose_scale=ACTIVATIONS[activations])
        graph = integer_graph(quantized)
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        logits: Logits = session.run(None, {INPUT_NAME: self._held_out})[0]
        return compare(logits, self._reference, self._labels)


def cases() -> Iterator[tuple[str, str, int]]:
    """Activations by every method, then weights by the others."""
    for count in IMAGES:
        for activations in ACTIVATIONS:
            yield activations, FITTED, count
    for weights in WEIGHTS:
        if weights != FITTED:
            yield next(iter(ACTIVATIONS)), weights, CALIBRATION_IMAGES


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@data_options
def main(run: Path, data: str | None, offline: bool) -> None:
    """Measure, print, and write the CSV."""
    try:
        trial = Trial(resolve_run(run).path, data, offline)
    except CifarEdgeError as error:
        raise click.ClickException(str(error)) from error
    results = [trial.measure(*case) for case in cases()]
    for row in results:
        click.echo(
            f"{row.activations:<20} {row.weights:<30} {row.images:>5}  drop {row.drop:+.3f} +- {row.drop_spread:.3f}  "
            f"same class {row.agreement:.2%}  {row.snr_db:5.2f} +- {row.snr_db_spread:.2f} dB"
        )
    results_file.write(RESULTS, Result, results)


if __name__ == "__main__":
    main()
