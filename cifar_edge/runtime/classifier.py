"""The front door of the runtime: a model, loaded once, that classifies images in any form."""

import os
from collections.abc import Generator, Iterable
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import ImageError, ModelError
from cifar_edge.runtime.images import ImageSource, read_pixels
from cifar_edge.runtime.model import BATCH, load, run
from cifar_edge.runtime.resolve import resolve_model
from cifar_edge.runtime.results import Prediction, prediction
from cifar_edge.runtime.stream import stream
from cifar_edge.spec import IMAGE_CHANNELS, IMAGE_SIZE, INPUT_NAME, OUTPUT_NAME, ModelMetadata

_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, IMAGE_CHANNELS)
_UINT8 = np.dtype(np.uint8)
_OUTPUTS = [OUTPUT_NAME]

Source = TypeVar("Source", bound=ImageSource)


class Classifier:
    """Classifies images by one exported model.

    Args:
        model: a released name, a run, a folder or an ``.onnx`` file, or the bytes of one; None takes what
            ``cifar-edge predict`` takes (see `cifar_edge.runtime.resolve.resolve_model`).
        threads: threads that one prediction runs on. One is the fastest for one image at a time.

    Raises:
        ModelError: there is no such model, or it cannot be loaded (`ContractError`: it does not keep the contract).
        ValueError: ``threads`` is less than 1.
    """

    def __init__(self, model: str | os.PathLike[str] | bytes | None = None, threads: int = 1) -> None:
        if isinstance(model, bytes):
            self._source = "the given bytes"
            self._session, self._metadata = load(model, threads)
        else:
            found = resolve_model(model)
            self._source = str(found)
            self._session, self._metadata = load(found.path, threads)
        self._labels, self._temperature = self._metadata.labels, self._metadata.temperature
        self._run = self._session.run

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the logits."""
        return self._labels

    @property
    def metadata(self) -> ModelMetadata:
        """What the model's file says of itself."""
        return self._metadata

    @property
    def source(self) -> str:
        """Which model this is, and why it was taken."""
        return self._source

    def predict(self, image: ImageSource) -> Prediction:
        """Classify one image: a path, an encoded picture as bytes or file, a PIL image, or uint8 ``[H, W, 3]`` RGB.

        Raises:
            ImageError: it is no readable image.
            ModelError: the model answers with numbers that are not finite.
        """
        # An array of the right size skips all of the reading: it should cost little more than the model itself.
        if not (isinstance(image, np.ndarray) and image.shape == _SHAPE and image.dtype == _UINT8):
            image = read_pixels(image)
        return self._answer(self._run(_OUTPUTS, {INPUT_NAME: image[None]})[0][0].tolist())

    def predict_batch(self, images: Iterable[ImageSource]) -> list[Prediction]:
        """Classify many images, in their order; an array uint8 ``[N, H, W, 3]`` counts as N of them.

        Only a few dozen decoded images are held at a time, so that ``images`` may be a generator.

        Raises:
            ImageError: one of them is no readable image; the message says which.
            ModelError: the model answers with numbers that are not finite.
        """
        answers: list[Prediction] = []
        numbered = enumerate(images)
        while pixels := [_numbered_pixels(number, image) for number, image in islice(numbered, BATCH)]:
            answers += self.classify(np.stack(pixels))
        return answers

    def predict_iter(
        self, images: Iterable[Source], *, workers: int | None = None
    ) -> Generator[tuple[Source, Prediction | ImageError], None, None]:
        """Classify a stream of images, finite or not: each as it was given, and its answer, in their order.

        What is no readable image has an `ImageError` for an answer, which is not raised, so that the others go on:

            for path, answer in classifier.predict_iter(paths):
                print(path, answer if isinstance(answer, ImageError) else answer.label)

        Images are read on ``workers`` threads (None: one a core), at most 16 a thread beyond what was answered, so that
        memory does not grow with their number. ``images`` is consumed by a thread of its own, so that an answer need
        not wait for the next image. To end early, close the generator or drop it.

        Raises:
            ModelError: the model answers with numbers that are not finite.
            ValueError: ``workers`` is less than 1.
            Exception: whatever ``images`` raises, after the answers to all that came before.
        """
        return stream(images, read_pixels, self.classify, workers)

    def classify(self, pixels: npt.NDArray[np.uint8]) -> list[Prediction]:
        """Answers for images that are ready: uint8 ``[N, 32, 32, 3]``, RGB.

        Raises:
            ModelError: the model answers with numbers that are not finite.
        """
        return [self._answer(logits) for logits in run(self._session, pixels).tolist()]

    def _answer(self, logits: list[float]) -> Prediction:
        try:
            return prediction(logits, self._labels, self._temperature)
        except ValueError as error:
            raise ModelError(f"{self._source}: {error}") from error


def _numbered_pixels(number: int, image: ImageSource) -> npt.NDArray[np.uint8]:
    try:
        return read_pixels(image)
    except ImageError as error:
        raise ImageError(f"image {number} of the batch: {error}") from error
