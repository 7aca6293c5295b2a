"""Which score tells images of the classes from others best: the largest logit, the energy, or the softmax score.

    python -m benchmarks.pictures.unknown [--data DIR] --other DIR MODEL...

MODEL is what `cifar-edge evaluate` takes. The test images of ``--data``, without it those of CIFAR-10, are compared
with the images below ``--other``, and those of a folder with the embedded sample of CIFAR-10 too. The lines are added
to ``unknown.csv``.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.results_file import append
from cifar_edge.data import load_dataset
from cifar_edge.data.folder.other import load_other
from cifar_edge.measure.unknown import KEPT, auroc
from cifar_edge.runs.resolve import resolve_model
from cifar_edge.runtime.model import load, run

RESULTS = Path(__file__).with_name("unknown.csv")

Logits = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One score of one model on one kind of other images.

    Attributes:
        model: name of the model.
        accuracy: on the test images.
        other: what the other images are.
        images: how many these are.
        score: ``largest logit``, ``energy`` or ``softmax``.
        auroc: area under the ROC curve.
        refused: share of the other images that is refused where 95 % of the test images are kept.
    """

    model: str
    accuracy: float
    other: str
    images: int
    score: str
    auroc: float
    refused: float


def energy(logits: Logits) -> Values:
    """The log of the sum of exponentials (Liu et al. 2020, arXiv:2010.03759, with the sign turned)."""
    largest = logits.max(axis=1, keepdims=True).astype(np.float64)
    return np.asarray(np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0])


def softmax(logits: Logits) -> Values:
    """The largest probability (Hendrycks & Gimpel 2017, arXiv:1610.02136)."""
    return np.asarray(1 / np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True)).sum(axis=1))


SCORES: Mapping[str, Callable[[Logits], Values]] = {
    "largest logit": lambda logits: logits.max(axis=1).astype(np.float64),
    "energy": energy,
    "softmax": softmax,
}


def measure(name: str, data: Path | None, other: Path) -> list[Line]:
    """The lines of one model."""
    found = resolve_model(name)
    session, metadata = load(found.path)
    dataset = load_dataset(data, size=metadata.size)
    known = run(session, dataset.test_images)
    accuracy = float((known.argmax(axis=1) == dataset.test_labels).mean())
    kinds = {"photographs": load_other(other, metadata.size, print)}
    if dataset.folder is not None:
        kinds["CIFAR-10"] = load_dataset("sample", size=metadata.size).test_images
    lines = []
    for kind, images in kinds.items():
        logits = run(session, images)
        for score, of in SCORES.items():
            inside, outside = of(known), of(logits)
            refused = float((outside < np.quantile(inside, 1 - KEPT)).mean())
            lines.append(
                Line(
                    name,
                    round(accuracy, 4),
                    kind,
                    len(images),
                    score,
                    round(auroc(inside, outside), 3),
                    round(refused, 3),
                )
            )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    options = parser.parse_args()
    lines = [line for model in options.models for line in measure(model, options.data, options.other)]
    for line in lines:
        append(RESULTS, line)
        print(f"{line.model:<12} {line.other:<12} {line.score:<14} AUROC {line.auroc:.3f}  refused {line.refused:.1%}")


if __name__ == "__main__":
    main()
