"""Runs in a process of its own, with one checkout on its path: what a model says of pickled images.

    python -P classify.py MODEL IMAGES.pickle OUT.pickle

IMAGES holds a list of (name, image), or pixels uint8 ``[N, H, W, 3]``; OUT one logits tuple each, or an error's text.
"""

import pickle
import sys
from pathlib import Path

import numpy as np

from cifar_edge import CifarEdgeError, Classifier


def main(model: str, images: Path, out: Path) -> None:
    """Classify ``images`` by ``model`` and write ``out``."""
    classifier = Classifier(model)
    given = pickle.loads(images.read_bytes())
    answers: list[tuple[float, ...] | str] = []
    if isinstance(given, np.ndarray):
        answers += [answer.logits for answer in classifier.predict_batch(given)]
    else:
        for _, image in given:
            try:
                answers.append(classifier.predict(image).logits)
            except CifarEdgeError as error:
                answers.append(f"{type(error).__name__}: {error}")
    out.write_bytes(pickle.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
