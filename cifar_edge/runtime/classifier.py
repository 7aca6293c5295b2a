"""`Classifier`, the public interface of the runtime: a model, loaded once, that classifies images from any source."""

import ctypes
import io
import os
from collections.abc import Generator, Iterable
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any, Self, TypeVar
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
from PIL import Image

from cifar_edge.errors import ImageError, ModelError
from cifar_edge.model_file.reading import BATCH, read_model
from cifar_edge.runs.resolve import Resolved, resolve_model
from cifar_edge.runtime import snapshot
from cifar_edge.runtime.images import ImageSource, read_pixels
from cifar_edge.runtime.inputs import Input
from cifar_edge.runtime.limits import DEFAULT_LIMITS, Limits
from cifar_edge.runtime.model import ONNXRUNTIME, load, run
from cifar_edge.runtime.results import Prediction, prediction
from cifar_edge.runtime.stream import answers_apart, stream
from cifar_edge.spec import IMAGE_CHANNELS, INPUT_NAME, OUTPUT_NAME, ModelMetadata

_UINT8 = np.dtype(np.uint8)
_OUTPUTS = [OUTPUT_NAME]
_CLOSED = "the classifier is closed"

Source = TypeVar("Source", bound=ImageSource)
Named = TypeVar("Named", bound=Input)


class Classifier:
    """Classifies images by one exported model.

    >>> from cifar_edge import Classifier
    >>> classifier = Classifier("gn-cnn")
    >>> classifier.predict("docs/images/cat.png").label
    'cat'

    Any number of threads may use one classifier at once. A pickled classifier contains the bytes of its model, so that
    another process or machine has the same one, even if the file has changed. A ``with`` statement frees its memory at
    the end.

    Args:
        model: a released name, a run, a folder or an ``.onnx`` file, or the bytes of one; None takes the
            same model as ``cifar-edge predict`` (see `cifar_edge.runs.resolve.resolve_model`).
        threads: threads of one prediction. One is fastest for one image at a time.
        engine: what runs an ``.onnx`` file: ``onnxruntime``; or ``c`` for an int8 file, which is then made into C and
            compiled on this machine, once. The answers are the same, bit for bit.

    Raises:
        CannotRun: engine ``c`` finds no C compiler.
        ModelError: there is no such model, or it cannot be loaded (`ContractError`: it violates the contract).
        ValueError: ``threads`` is less than 1, or there is no such engine; or, from every prediction, the classifier
            was closed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Resolved | None = None,
        threads: int = 1,
        engine: str = ONNXRUNTIME,
    ) -> None:
        if isinstance(model, bytes):
            self._open(model, threads, "the given bytes", "the given model", engine)
        else:
            found = resolve_model(model)
            self._open(read_model(found.path), threads, str(found), str(found), engine)

    def _open(self, content: bytes, threads: int, source: str, name: str, engine: str) -> None:
        self._session, self._metadata = load(content, threads, name, engine)
        self._labels, self._temperature = self._metadata.labels, self._metadata.temperature
        self._shape = (self._metadata.size, self._metadata.size, IMAGE_CHANNELS)
        self._run = self._session.run
        self._source = source
        self._given: tuple[bytes, int, str, str, str] | None = content, threads, source, name, engine
        _open_classifiers.add(self)

    def _forked(self) -> None:
        """Reopen the model in the child of a fork, where threads that do not exist may hold locks of onnxruntime."""
        if self._given is not None:
            # Never freed: freeing the session, even at the end of the process, would wait for these threads.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
            self._session = _Reopening(self)
            self._run = self._session.run

    def __getstate__(self) -> tuple[bytes, int, str, str, str]:
        if self._given is None:
            raise ValueError(_CLOSED)
        return self._given

    def __setstate__(self, given: tuple[bytes, int, str, str, str]) -> None:
        self._open(*given)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Classifier {self._source}>"

    def close(self) -> None:
        """Free the memory of the model. Predictions that other threads have begun are finished. May be called twice.

        Afterwards every prediction raises ValueError.
        """
        self._given = None
        self._session = _Closed()
        self._run = self._session.run

    def warmup(self) -> None:
        """Load the decoders and allocate the model's memory, so that the first image need not wait for it.

        Answers are the same without it, but the first one takes longer.
        """
        file = io.BytesIO()
        Image.new("RGB", self._shape[:2]).save(file, "PNG")
        self.predict(file.getvalue())
        self.classify(np.zeros((BATCH, *self._shape), np.uint8))

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the logits."""
        return self._labels

    @property
    def metadata(self) -> ModelMetadata:
        """The metadata of the model's file."""
        return self._metadata

    @property
    def source(self) -> str:
        """Which model this is, and why it was chosen."""
        return self._source

    @property
    def threshold(self) -> float | None:
        """The largest logit below which an answer is not sure, by the metadata of the model; None for none."""
        return self._metadata.threshold

    @property
    def size(self) -> int:
        """Height and width of the pixels that the model takes."""
        return self._shape[0]

    def read(
        self, image: ImageSource, name: str | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> npt.NDArray[np.uint8]:
        """The pixels that the model takes of an image, uint8 ``[S, S, 3]``.

        Args:
            image: see `cifar_edge.runtime.images.ImageSource`.
            name: its name in errors; None derives one from ``image``.
            limits: limits on the cost of decoding a file.

        Raises:
            ImageError: it is not a readable image.
        """
        return read_pixels(image, name, limits, self._shape[0])

    def predict(self, image: ImageSource, name: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Prediction:
        """Classify one image: a path, an encoded image as bytes or file, a PIL image, or uint8 ``[H, W, 3]`` RGB.

        >>> answer = Classifier("gn-cnn").predict("docs/images/ship.png")
        >>> answer.label, round(answer.score, 2)
        ('ship', 1.0)
        >>> [candidate.label for candidate in answer.top(3)]
        ['ship', 'automobile', 'truck']

        Args:
            image: see `cifar_edge.runtime.images.ImageSource`.
            name: its name in errors; None derives one from ``image``.
            limits: limits on the cost of decoding a file.

        Raises:
            ImageError: it is not a readable image.
            ModelError: the model's output is not finite.
        """
        # An array of the right size skips the reading, and so costs little more than the model itself.
        if not (isinstance(image, np.ndarray) and image.shape == self._shape and image.dtype == _UINT8):
            image = self.read(image, name, limits)
        return self._answer(self._run(_OUTPUTS, {INPUT_NAME: image[None]})[0][0].tolist())

    def predict_batch(self, images: Iterable[ImageSource]) -> list[Prediction]:
        """Classify many images, in their order; an array uint8 ``[N, H, W, 3]`` counts as N images.

        Only a few dozen decoded images are in memory at a time, so that ``images`` may be a generator.

        >>> import numpy as np
        >>> grey = np.full((5, 32, 32, 3), 128, np.uint8)
        >>> len(Classifier("gn-cnn").predict_batch(grey))
        5

        Raises:
            ImageError: an image is not readable; the message says which.
            ModelError: the model's output is not finite; the message says for which image.
        """
        answers: list[Prediction] = []
        numbered = enumerate(images)
        while pixels := [self._read_numbered(number, image) for number, image in islice(numbered, BATCH)]:
            for number, answer in enumerate(answers_apart(self.classify, np.stack(pixels)), len(answers)):
                if isinstance(answer, ModelError):
                    raise ModelError(f"image {number} of the batch: {answer}") from answer
                answers.append(answer)
        return answers

    def predict_iter(
        self, images: Iterable[Source], *, workers: int | None = None
    ) -> Generator[tuple[Source, Prediction | ImageError], None, None]:
        """Classify a stream of images, finite or not. Yields each image as it was given with its answer, in order.

        The answer to an unreadable image is an `ImageError`, which is not raised, so that the others go on.

        >>> paths = ["docs/images/cat.png", "missing.png", "docs/images/dog.png"]
        >>> for path, answer in Classifier("gn-cnn").predict_iter(paths):
        ...     print(answer if isinstance(answer, ImageError) else answer.label)
        cat
        missing.png: no such file
        dog

        At most ``workers`` threads (None: one a core) read images, at most 16 a thread ahead of the answers, so that
        memory does not grow with their number. Another thread consumes ``images``, so that an answer need not wait for
        the next image. A source that can change (a frame, a buffer, an open file, a PIL image) is read or copied before
        the next one is asked for, and may then be refilled, rewound or closed. The file of a path must not change. To
        end early, close the generator or drop it.

        The answer is an `ImageError` too if the model's output is not finite.

        Raises:
            ValueError: ``workers`` is less than 1.
            RuntimeError: it is continued in the child of a fork.
            Exception: whatever ``images`` raises, after the answers to all images before.
        """
        snapshots = (snapshot.take(image, self.read) for image in images)
        read = partial(snapshot.read, read_pixels=self.read)
        return _as_given(stream(snapshots, read, self.classify, workers, snapshot.name))

    def answers(
        self, inputs: Iterable[Named], *, workers: int | None = None
    ) -> Generator[tuple[Named, Prediction | ImageError], None, None]:
        """`predict_iter` for inputs that have names, which errors begin with. Files must not change before the end."""

        def read(given: Named) -> npt.NDArray[np.uint8]:
            if isinstance(given.source, ImageError):
                raise given.source
            return self.read(given.source, given.shown_name)

        return stream(inputs, read, self.classify, workers, lambda given: given.shown_name)

    def classify(self, pixels: npt.NDArray[np.uint8]) -> list[Prediction]:
        """Answers for pixels as the model takes them: uint8 ``[N, S, S, 3]``, RGB.

        Raises:
            ImageError: the array has another shape or type.
            ModelError: the model's output is not finite.
        """
        if pixels.shape[1:] != self._shape or pixels.dtype != _UINT8:
            wanted = ", ".join(map(str, self._shape))
            raise ImageError(f"the array is {pixels.dtype} {list(pixels.shape)}; this model takes uint8 [N, {wanted}]")
        return [self._answer(logits) for logits in run(self._session, pixels).tolist()]

    def _read_numbered(self, number: int, image: ImageSource) -> npt.NDArray[np.uint8]:
        try:
            return self.read(image)
        except ImageError as error:
            raise ImageError(f"image {number} of the batch: {error}") from error

    def _answer(self, logits: list[float]) -> Prediction:
        try:
            return prediction(logits, self._labels, self._temperature, self._metadata.threshold)
        except ValueError as error:
            raise ModelError(f"{self._source}: {error}") from error


class _Closed:
    """Replaces a session that was closed."""

    def run(self, *arguments: object) -> Any:
        raise ValueError(_CLOSED)


class _Reopening:
    """Replaces a session that was copied by a fork: the first prediction loads the model anew."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def run(self, *arguments: Any) -> Any:
        self._classifier.__setstate__(self._classifier.__getstate__())
        return self._classifier._run(*arguments)


_open_classifiers: WeakSet[Classifier] = WeakSet()


def _after_fork() -> None:
    for classifier in _open_classifiers:
        classifier._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _as_given(
    answers: Generator[tuple[snapshot.Snapshot[Source], Prediction | ImageError], None, None],
) -> Generator[tuple[Source, Prediction | ImageError], None, None]:
    with closing(answers):
        for taken, answer in answers:
            yield taken.source, answer
