"""Streams of images: order, errors in their places, bounded reading ahead, and threads that end."""

import functools
import io
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from tiny import TINY

from cifar_edge import Classifier, ImageError, ModelError, Prediction
from cifar_edge.data import Dataset
from cifar_edge.runtime.images import ImageSource
from cifar_edge.runtime.stream import AHEAD, Pixels, stream


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(TINY)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def zeros(source: int) -> Pixels:
    return np.full((32, 32, 3), source % 256, np.uint8)


def firsts(pixels: Pixels) -> list[int]:
    return [int(image[0, 0, 0]) for image in pixels]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_answers_come_in_order_with_their_images(classifier: Classifier, sample: Dataset, workers: int) -> None:
    file = io.BytesIO()
    Image.fromarray(sample.test_images[0]).save(file, "PNG")
    kinds: list[Callable[[Pixels], ImageSource]] = [
        lambda image: image,
        Image.fromarray,
        lambda _: file.getvalue(),
        lambda _: io.BytesIO(file.getvalue()),
        lambda _: b"not an image",
        lambda image: image.repeat(9, 0),
    ]
    images = [kind(image) for image, kind in zip(sample.test_images[:200], itertools.cycle(kinds), strict=False)]
    answers = list(classifier.predict_iter(iter(images), workers=workers))
    assert all(given is image for (given, _), image in zip(answers, images, strict=True))
    for number, (image, answer) in enumerate(answers):
        if number % len(kinds) == 4:
            assert isinstance(answer, ImageError)
            assert str(answer) == "the given bytes: not an image in a supported format; convert it to JPEG"
        else:
            assert isinstance(answer, Prediction)
            if isinstance(image, io.BytesIO):
                image.seek(0)
            assert answer.logits == pytest.approx(classifier.predict(image).logits, abs=1e-5)
    assert list(classifier.predict_iter([], workers=workers)) == []


def test_slow_reads_do_not_change_the_order() -> None:
    def read(source: int) -> Pixels:
        time.sleep(0.01 * (source % 5 == 0))
        return zeros(source)

    assert list(stream(range(100), read, firsts, 4)) == [(number, number) for number in range(100)]


def test_an_answer_does_not_wait_for_the_next_image() -> None:
    allowed = threading.Semaphore(1)

    def images() -> Iterator[int]:
        for number in range(5):
            assert allowed.acquire(timeout=10)
            yield number

    answers = stream(images(), zeros, firsts, 2)
    for number in range(5):
        assert next(answers) == (number, number)
        allowed.release()
    assert list(answers) == []


def test_it_reads_ahead_no_further_than_it_says() -> None:
    class Counted:
        given = 0

        def __iter__(self) -> Iterator[int]:
            while True:
                self.given += 1
                yield self.given

    images = Counted()
    answers = stream(images, zeros, firsts, 2)
    for answered in range(1, 2000):
        next(answers)
        assert images.given <= answered + 2 * AHEAD
    answers.close()


def test_what_the_images_raise_comes_after_the_answers_before_it() -> None:
    def images() -> Iterator[int]:
        yield from range(40)
        raise RuntimeError("the camera is gone")

    answers = stream(images(), zeros, firsts, 2)
    assert [next(answers) for _ in range(40)] == [(number, number) for number in range(40)]
    with pytest.raises(RuntimeError, match="the camera is gone"):
        next(answers)


def test_what_reading_or_classifying_raises_ends_the_stream() -> None:
    def read(source: int) -> Pixels:
        if source == 5:
            raise RuntimeError("a defect")
        return zeros(source)

    def fail(pixels: Pixels) -> list[int]:
        raise ValueError("the classifier is closed")

    answers = stream(range(100), read, firsts, 1)
    assert [next(answers) for _ in range(5)] == [(number, number) for number in range(5)]
    with pytest.raises(RuntimeError, match="a defect"):
        next(answers)
    with pytest.raises(ValueError, match="the classifier is closed"):
        list(stream(range(100), zeros, fail, 2))


def test_what_the_model_has_no_answer_to_is_named_and_the_others_go_on() -> None:
    def overflow(pixels: Pixels) -> list[int]:
        if {7, 50} & set(firsts(pixels)):
            raise ModelError("the model's output is not finite")
        return firsts(pixels)

    answers = list(stream(range(100), zeros, overflow, 2, "image {}".format))
    for number, (given, answer) in enumerate(answers):
        assert given == number
        if number in (7, 50):
            assert isinstance(answer, ImageError)
            assert str(answer) == f"image {number}: the model's output is not finite"
        else:
            assert answer == number


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_stream_goes_on_where_it_began_and_ends_at_once_in_a_fork() -> None:
    program = """
import os, sys, time
import numpy as np
from cifar_edge.runtime.stream import stream

def read(number):
    time.sleep(0.001)
    return np.zeros((32, 32, 3), np.uint8)

answers = stream(range(300), read, list, 4)
next(answers)
child = os.fork()
if child == 0:
    try:
        for _ in answers:
            pass
    except RuntimeError as error:
        print(error)
        answers.close()
        sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert sum(1 for _ in answers) == 299
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, timeout=60, check=True)
    assert b"cannot continue in the child of a fork" in done.stdout


def test_where_no_further_thread_is_to_be_had_one_reads_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("can't start new thread")
        started(thread)

    def read(source: int) -> Pixels:
        time.sleep(0.002)
        return zeros(source)

    started = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    assert list(stream(range(100), read, firsts, 3)) == [(number, number) for number in range(100)]


def test_nothing_to_read_with() -> None:
    with pytest.raises(ValueError, match="at least one worker is needed, not 0"):
        stream([], zeros, firsts, 0)


def test_a_stream_that_is_dropped_ends_its_threads(classifier: Classifier, sample: Dataset) -> None:
    before = threading.active_count()
    answers = classifier.predict_iter(itertools.cycle(sample.test_images), workers=3)
    assert threading.active_count() == before  # nothing happens before the first answer is wanted
    next(answers)
    assert threading.active_count() == before + 2
    del answers  # the fixture sees that they end


@pytest.mark.parametrize(
    ("clock", "seconds", "readers"), [("thread_time", 0.0001, 1), ("thread_time", 0.002, 3), ("perf_counter", 0.03, 3)]
)
def test_as_many_threads_read_as_pay(clock: str, seconds: float, readers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of their own: another one would also tell what else the machine does."""
    times = {"thread_time": 0.0, "perf_counter": 0.0}
    for name in times:
        monkeypatch.setattr(f"cifar_edge.runtime.stream.{name}", functools.partial(times.__getitem__, name))
    seen = set()

    def read(source: int) -> Pixels:
        seen.add(threading.current_thread())
        time.sleep(0.001)
        times[clock] += seconds
        return zeros(source)

    assert list(stream(range(200), read, firsts, 3)) == [(number, number % 256) for number in range(200)]
    assert len(seen) == readers
