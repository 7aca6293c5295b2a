"""The picture of a network's surest mistakes: the photographs, and where in them it found what it took them for."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from cifar_edge.data.dataset import Dataset, Images
from cifar_edge.data.folder.table import base_folder
from cifar_edge.errors import ImageError
from cifar_edge.runtime.images import read_pixels
from cifar_edge.training.activation_map import activation_maps
from cifar_edge.training.drawing import STYLE, save, short

_ROWS, _COLUMNS = 4, 4
_SHOWN_SIZE = 224
"""Height and width at which an original is shown, in its own pixels."""


def mistakes(dataset: Dataset, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The positions of the misclassified test images, those with the highest score first."""
    wrong = np.flatnonzero(logits.argmax(1) != dataset.test_labels)
    return wrong[np.argsort(-scores(logits)[wrong], kind="stable")]


def scores(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The softmax probability of the predicted class, ``[n]``, of logits ``[n, classes]``."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    found: npt.NDArray[np.float32] = shifted.max(1) / shifted.sum(1)
    return found


@STYLE
def draw_misclassified(
    path: Path, dataset: Dataset, logits: npt.NDArray[np.float32], title: str, network: nn.Module | None = None
) -> None:
    """Write the misclassified test images of highest score, each with its predicted and its true class.

    An image of a folder is shown as the file has it: the square that the network sees, before it is made small. Beside
    it lies the class activation map of the predicted class less that of the true one, on the same image: bright is what
    spoke for the mistake. The difference of two maps is shown, since only differences of logits decide.

    Args:
        path: of the picture.
        dataset: the one whose test images were classified.
        logits: ``[test images, classes]``.
        title: names the network.
        network: in evaluation mode; None, or one without such maps, shows the images alone.
    """
    predicted = logits.argmax(1)
    wrong = mistakes(dataset, logits)[: _ROWS * _COLUMNS]
    maps = None if network is None or not len(wrong) else activation_maps(network, dataset.test_images[wrong])
    columns = _COLUMNS if maps is None else 2 * _COLUMNS
    rows = max(1, -(-len(wrong) // _COLUMNS))
    figure = Figure(figsize=(12 if maps is not None else 8, 0.8 + 2.1 * rows), layout="constrained")
    figure.suptitle(
        f"Surest mistakes of {_end_of(title)} on the test images:\nwhat each was taken for (score), what it is",
        parse_math=False,
    )
    cells = figure.subplots(rows, columns).flatten()
    for axes in cells:
        axes.axis("off")
    confidence = scores(logits)
    for number, index in enumerate(wrong.tolist()):
        said, true = predicted[index], dataset.test_labels[index]
        image, name = original(dataset, index)
        heading = f"taken for {short(dataset.labels[said])} ({confidence[index]:.0%})\n{short(dataset.labels[true])}"
        first: Axes = cells[number if maps is None else 2 * number]
        first.imshow(image, interpolation="nearest")
        first.set_title(heading, fontsize=8, parse_math=False)
        first.text(0, -0.04, _end_of(name), fontsize=6, va="top", transform=first.transAxes, parse_math=False)
        if maps is not None:
            _draw_map(cells[2 * number + 1], image, maps[number, said] - maps[number, true])
    save(figure, path)


def _draw_map(axes: Axes, image: Images, evidence: npt.NDArray[np.float32]) -> None:
    """``image`` in grey, and over it what spoke for the mistake, float32 ``[h, w]``; what spoke against it is dark."""
    side = len(image)
    axes.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    axes.imshow(
        evidence,
        cmap="inferno",
        alpha=0.6,
        vmin=0,
        vmax=max(float(evidence.max()), 1e-6),
        extent=(-0.5, side - 0.5, side - 0.5, -0.5),
        interpolation="bilinear",
    )
    axes.set_title("what spoke for it", fontsize=7)


def original(dataset: Dataset, index: int) -> tuple[Images, str]:
    """A test image as its file has it, and the file's name; without a file, as the network sees it, and no name.

    The image is uint8 ``[s, s, 3]``, RGB: the square that the network sees, of at most 224 pixels a side, and never
    enlarged beyond its file.

    Args:
        dataset: it is one of its test images.
        index: its position.
    """
    image = dataset.test_images[index]
    (name,) = dataset.names_of(image[None])
    if name is None or dataset.folder is None:
        return image, ""
    path = base_folder(dataset.folder) / name
    try:
        with Image.open(path) as file:
            side = min(file.size)
        return read_pixels(path, size=max(dataset.size, min(side, _SHOWN_SIZE))), name
    except (ImageError, OSError):  # moved or changed since it was read
        return image, name


def _end_of(name: str, most: int = 34) -> str:
    shown = short(name, len(name))
    return shown if len(shown) <= most else f"...{shown[3 - most :]}"
