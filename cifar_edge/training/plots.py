"""The plots of a run: training curves, confusion matrix, and the mistakes of highest confidence."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import nn

from cifar_edge.data.dataset import Dataset
from cifar_edge.measure.metrics import confusion_matrix, recall
from cifar_edge.training.drawing import STYLE, save, short
from cifar_edge.training.mistakes import draw_misclassified

if TYPE_CHECKING:
    from cifar_edge.runs.epochs import EpochRecord

CURVES = "curves.png"
CONFUSION = "confusion.png"
MISCLASSIFIED = "misclassified.png"
_LEGIBLE_CLASSES = 30
"""With more classes, the cells of the confusion matrix are too small for numbers."""
_DARK = 0.6
"""Share of a row from which a cell is so dark that its number is white."""
_NAMED_CLASSES = 80
"""With more classes, its rows and columns are too thin for names."""


@STYLE
def draw_predictions(
    folder: Path, dataset: Dataset, logits: npt.NDArray[np.float32], title: str, network: nn.Module | None = None
) -> None:
    """Write `CONFUSION` and `MISCLASSIFIED` of a network into the folder of its run.

    Args:
        folder: of the run.
        dataset: the one whose test images were classified.
        logits: ``[test images, classes]``.
        title: the name of the network in the titles.
        network: the network, in evaluation mode, for maps of what it looked at; None for none.
    """
    matrix = confusion_matrix(dataset.test_labels, logits.argmax(1), len(dataset.labels))
    draw_confusion(folder / CONFUSION, matrix, dataset.labels, title)
    draw_misclassified(folder / MISCLASSIFIED, dataset, logits, title, network)


@STYLE
def draw_curves(path: Path, records: "Sequence[EpochRecord]", accuracy_name: str) -> None:
    """Write loss and accuracy by epoch; a dotted line marks where the norms were folded."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for phase, first in _phases(records):
        part = [record for record in records if record.phase == phase]
        epochs = list(range(first, first + len(part)))
        marker = "o" if len(part) < 3 else None
        losses.plot(epochs, [record.loss for record in part], color="C0", marker=marker)
        seen = [record.train_accuracy for record in part]
        accuracies.plot(epochs, seen, color="C0", marker=marker, label="augmented training images")
        accuracies.plot(epochs, [record.accuracy for record in part], color="C1", marker=marker, label=accuracy_name)
        if first > 1:
            for axes, height in ((losses, 0.95), (accuracies, 0.02)):  # where no curve is
                axes.axvline(first - 0.5, color="grey", linestyle=":")
                place = (first - 0.5, height)
                axes.annotate(" norms folded", place, xycoords=("data", "axes fraction"), color="grey", fontsize=8)
    handles, names = accuracies.get_legend_handles_labels()
    figure.legend(handles[:2], names[:2], loc="outside lower right", ncols=2, frameon=False)
    accuracies.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes, title in ((losses, "loss on augmented training images"), (accuracies, "accuracy")):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def draw_confusion(path: Path, matrix: npt.NDArray[np.int64], labels: Sequence[str], network: str) -> None:
    """Write the confusion ``matrix``, int64 ``[classes, classes]``, a row for each true class.

    A cell is shaded by its share of its row, so that a small class is as plain to see as a large one. Right answers are
    green, mistakes orange.
    """
    classes = len(labels)
    names = [short(label) for label in labels]
    room = 0.12 * max(0, max(map(len, names)) - 10)
    side = max(4.0 + room, min(14.0, 1.5 + room + 0.62 * classes))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    right = np.eye(classes, dtype=bool)
    axes.imshow(np.ma.array(shares, mask=right), cmap="Oranges", vmin=0, vmax=1)
    axes.imshow(np.ma.array(shares, mask=~right), cmap="Greens", vmin=0, vmax=1)
    if classes <= _LEGIBLE_CLASSES:
        for (row, column), count in np.ndenumerate(matrix):
            dark = shares[row, column] > _DARK
            weight = "bold" if row == column else "normal"
            color = "white" if dark else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, weight=weight, color=color)
    axes.set_ylabel("true class")
    if classes <= _NAMED_CLASSES:
        found = zip(names, recall(matrix), strict=True)
        rates = [f"{name}  {rate:.0%}" if np.isfinite(rate) else name for name, rate in found]
        # parse_math=False: a class may be called $5
        axes.set_xticks(range(classes), names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(classes), rates, parse_math=False)
        axes.set_ylabel("true class, and how many of it were found")
    axes.set_xlabel("predicted")
    axes.set_title(f"{network}\n{np.trace(matrix) / max(1, matrix.sum()):.2%} of {matrix.sum():,} test images")
    save(figure, path)


def _phases(records: "Sequence[EpochRecord]") -> list[tuple[str, int]]:
    """Each phase with the position of its first epoch on the common axis, from 1."""
    first: dict[str, int] = {}
    for position, record in enumerate(records, 1):
        first.setdefault(record.phase, position)
    return list(first.items())
