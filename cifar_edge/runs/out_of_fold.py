"""Reads and writes ``out-of-fold.csv``: how cross-validation judges each training image, one line an image."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import get_type_hints

from cifar_edge.errors import ModelError
from cifar_edge.json_values import number
from cifar_edge.messages import display_name, reason


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """One line of ``out-of-fold.csv``: a training image, as a network saw it that was trained without its fold.

    Attributes:
        image: its file, relative to the image folder; for CIFAR-10 its index among the training images.
        sha256: of its pixels, as the network got them, in hexadecimal: an image is found by it wherever its file lies.
        label: the class that it was labelled as.
        predicted: the class that the network took it for.
        score: the softmax probability of ``predicted``, in [0, 1].
        label_score: that of ``label``.
    """

    image: str
    sha256: str
    label: str
    predicted: str
    score: float
    label_score: float


def to_csv(predictions: Sequence[OutOfFold]) -> str:
    """The predictions as the text of ``out-of-fold.csv``."""
    text = io.StringIO()
    names = [field.name for field in fields(OutOfFold)]
    # Text is quoted throughout: a class may be called anything, and an unquoted carriage return would end the line.
    writer = csv.DictWriter(text, names, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    for each in predictions:
        row = {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(each).items()}
        writer.writerow(row | {"image": display_name(each.image)})
    return text.getvalue()


def read_csv(path: Path) -> list[OutOfFold]:
    """The predictions in a file that `to_csv` made.

    Raises:
        ModelError: the file is missing or damaged.
    """
    kinds = get_type_hints(OutOfFold)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = [
                OutOfFold(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in csv.DictReader(file)
            ]
        for each in found:
            number(each.score, high=1.0)
            number(each.label_score, high=1.0)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ModelError(
            f"{display_name(path)} does not hold the predictions of a cross-validation ({reason(error)}); remove it"
        ) from error
    return found
