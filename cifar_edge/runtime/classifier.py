"""The front door of the runtime: a model, loaded once, that classifies images in any form."""

import os
from collections.abc import Iterable
from itertools import islice

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import ImageError, ModelError
from cifar_edge.runtime.images import ImageSource, read_pixels
from cifar_edge.runtime.model import BATCH, load, run
from cifar_edge.runtime.resolve import resolve_model
from cifar_edge.runtime.results import Prediction, prediction
from cifar_edge.spec import IMAGE_CHANNELS, IMAGE_SIZE, INPUT_NAME, OUTPUT_NAME, ModelMetadata

_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, IMAGE_CHANNELS)
_UINT8 = np.dtype(np.uint8)
_OUTPUTS = [OUTPUT_NAME]


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
            answers += map(self._answer, run(self._session, np.stack(pixels)).tolist())
        return answers

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
