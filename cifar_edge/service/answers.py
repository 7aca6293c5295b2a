"""Classifies the images of a request into the records of ``cifar-edge predict --json``, numbered instead of named."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from cifar_edge.errors import ImageError
from cifar_edge.runtime.classifier import Classifier
from cifar_edge.runtime.limits import Limits

Record = dict[str, Any]


class Answers:
    """The records of the images of one request; each call classifies one image.

    Args:
        classifier: may be used by others at the same time.
        images: returns the images; called once, by the first call.
        top: number of classes in each record.
        limits: limits on the cost of decoding one image.
    """

    def __init__(self, classifier: Classifier, images: Callable[[], Sequence[bytes]], top: int, limits: Limits) -> None:
        self._classifier, self._images, self._top, self._limits = classifier, images, top, limits
        self._left: deque[bytes] | None = None
        self.records: list[Record] = []
        """One record an image, in order: its best classes, or why it cannot be read."""

    def __call__(self) -> bool:
        """Classify the next image. Returns whether there are more.

        Raises:
            ModelError: the model's output is not finite.
            Exception: whatever ``images`` raises.
        """
        if self._left is None:
            self._left = deque(self._images())
        self.records.append(self._record(len(self.records), self._left.popleft()))
        return bool(self._left)

    def _record(self, number: int, image: bytes) -> Record:
        try:
            answer = self._classifier.predict(image, f"image {number}", self._limits)
        except ImageError as error:
            return {"image": number, "error": error.brief}
        return {"image": number, **answer.to_record(self._top)}
