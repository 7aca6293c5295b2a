"""What the service says of images: the records of ``cifar-edge predict --json``, with a number for a name."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cifar_edge.errors import ImageError
from cifar_edge.runtime.classifier import Classifier
from cifar_edge.runtime.images import read_pixels

Record = dict[str, Any]


def records(classifier: Classifier, images: Sequence[bytes], top: int) -> list[Record]:
    """One record an image, in their order: its ``top`` best classes, or why it is no readable image.

    Raises:
        ModelError: the model answers with numbers that are not finite.
    """
    return [_record(classifier, number, image, top) for number, image in enumerate(images)]


def _record(classifier: Classifier, number: int, image: bytes, top: int) -> Record:
    try:
        pixels = read_pixels(image, f"image {number}")
    except ImageError as error:
        return {"image": number, "error": error.brief}
    answer = classifier.predict(pixels)
    return {
        "image": number,
        "label": answer.label,
        "index": answer.index,
        "score": answer.score,
        "top": [asdict(candidate) for candidate in answer.top(top)],
    }
