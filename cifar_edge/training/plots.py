"""The plots of a run: training curves, confusion matrix, and the mistakes of highest confidence."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cifar_edge.data.dataset import Dataset
from cifar_edge.files import replacing
from cifar_edge.measure.metrics import confusion_matrix, recall
from cifar_edge.messages import display_name

if TYPE_CHECKING:
    from cifar_edge.runs.epochs import EpochRecord

CURVES = "curves.png"
CONFUSION = "confusion.png"
MISCLASSIFIED = "misclassified.png"
_GALLERY_ROWS, _GALLERY_COLUMNS = 4, 8
_DOTS_PER_INCH = 120
_LEGIBLE_CLASSES = 30
"""With more classes, the cells of the confusion matrix are too small for numbers."""
_NAMED_CLASSES = 80
"""With more classes, its rows and columns are too thin for names."""
_LONGEST_NAME = 24


_STYLE = style.context("default")
"""Makes plots independent of the style that a notebook has set."""


@_STYLE
def draw_predictions(folder: Path, dataset: Dataset, logits: npt.NDArray[np.float32], network: str) -> None:
    """Write `CONFUSION` and `MISCLASSIFIED` of a network into the folder of its run.

    Args:
        folder: of the run.
        dataset: the one whose test images were classified.
        logits: ``[test images, classes]``.
        network: its name in the titles.
    """
    matrix = confusion_matrix(dataset.test_labels, logits.argmax(1), len(dataset.labels))
    draw_confusion(folder / CONFUSION, matrix, dataset.labels, network)
    draw_misclassified(folder / MISCLASSIFIED, dataset, logits, network)


@_STYLE
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
            for axes in (losses, accuracies):
                axes.axvline(first - 0.5, color="grey", linestyle=":")
                axes.annotate(
                    " norms folded", (first - 0.5, 0.02), xycoords=("data", "axes fraction"), color="grey", fontsize=8
                )
    handles, names = accuracies.get_legend_handles_labels()
    accuracies.legend(handles[:2], names[:2], loc="center right", frameon=False)
    accuracies.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes, title in ((losses, "loss on augmented training images"), (accuracies, "accuracy")):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def draw_confusion(path: Path, matrix: npt.NDArray[np.int64], labels: Sequence[str], network: str) -> None:
    """Write the confusion ``matrix``, int64 ``[classes, classes]``, a row for each true class; mistakes coloured."""
    classes = len(labels)
    names = [_short(label) for label in labels]
    room = 0.12 * max(0, max(map(len, names)) - 10)
    side = max(4.0 + room, min(14.0, 1.5 + room + 0.62 * classes))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    mistakes = matrix.astype(float)
    np.fill_diagonal(mistakes, 0)
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1.0, mistakes.max()))
    if classes <= _LEGIBLE_CLASSES:
        for (row, column), count in np.ndenumerate(matrix):
            dark = row != column and count > 0.6 * mistakes.max()
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
    axes.set_title(f"{network}: {np.trace(matrix) / max(1, matrix.sum()):.2%} of {matrix.sum():,} test images")
    _save(figure, path)


def draw_misclassified(path: Path, dataset: Dataset, logits: npt.NDArray[np.float32], network: str) -> None:
    """Write the misclassified test images of highest confidence, each with its predicted and its true class."""
    predicted = logits.argmax(1)
    wrong = np.flatnonzero(predicted != dataset.test_labels)
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    confidence = shifted.max(1) / shifted.sum(1)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][: _GALLERY_ROWS * _GALLERY_COLUMNS]
    figure = Figure(figsize=(11, 7), layout="constrained")
    figure.suptitle(f"Surest mistakes of {network} on the test images: predicted (confidence), true")
    cells = figure.subplots(_GALLERY_ROWS, _GALLERY_COLUMNS).flat
    for axes in cells:
        axes.axis("off")
    for axes, index in zip(cells.base.flat, wrong, strict=False):
        axes.imshow(dataset.test_images[index], interpolation="nearest")
        name = _short(dataset.labels[predicted[index]])
        true = _short(dataset.labels[dataset.test_labels[index]])
        axes.set_title(f"{name} ({confidence[index]:.0%})\n{true}", fontsize=8, parse_math=False)
    _save(figure, path)


def _phases(records: "Sequence[EpochRecord]") -> list[tuple[str, int]]:
    """Each phase with the position of its first epoch on the common axis, from 1."""
    first: dict[str, int] = {}
    for position, record in enumerate(records, 1):
        first.setdefault(record.phase, position)
    return list(first.items())


def _short(label: str) -> str:
    name = display_name(label)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with replacing(path) as temporary, warnings.catch_warnings():
        # Characters that no font here has are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(temporary, dpi=_DOTS_PER_INCH)
