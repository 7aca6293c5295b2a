"""Reads any number of inputs on several threads and classifies them in batches, in order and in constant memory."""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from queue import SimpleQueue
from threading import Lock, Thread
from time import perf_counter, thread_time
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from cifar_edge.errors import ImageError, ModelError
from cifar_edge.runtime.cores import cores

AHEAD = 16
"""Inputs in flight for each reading thread: enough that none waits for one that reads a large image."""

_WORTH_SECONDS = 0.0002
"""Images that take less processor time are read faster by one thread than by two, which wait for Python's lock."""

_RECENT = 32
"""The processor time is averaged over about so many images."""

_SLOW_SECONDS = 0.02
"""One image that takes so long by the clock, as from a slow disk, is enough to start the next thread."""

_LEAVE_SECONDS = 0.5
"""How long closing waits for the readers. One image may take a minute; a reader that is still busy ends later."""

_REPORT_SECONDS = 0.002
"""How often a reader with more to read reports what is done: each report costs a thread switch."""

Pixels = npt.NDArray[np.uint8]
Source = TypeVar("Source")
Answer = TypeVar("Answer")


def stream(
    sources: Iterable[Source],
    read: Callable[[Source], Pixels],
    classify: Callable[[Pixels], Iterable[Answer]],
    workers: int | None = None,
    name: Callable[[Source], str] = str,
) -> Generator[tuple[Source, Answer | ImageError], None, None]:
    """Each source with its answer, or with an `ImageError`, in the order of ``sources``.

    The error is one that ``read`` raised, or says that the model has no answer for this source. The others go on.

    An answer is delayed by at most 2 ms and the reading of one more source. It never waits for the next source: a
    thread of its own consumes ``sources``, at most `AHEAD` for each of ``workers`` beyond what was answered.

    Args:
        sources: finite or not.
        read: returns the pixels of a source, uint8 ``[S, S, 3]``; runs on at most ``workers`` threads.
        classify: returns an answer for each of uint8 ``[n, S, S, 3]``, or raises `ModelError` if one has none; runs
            on the caller's thread.
        workers: threads that read, at most; None means `cores`. Further threads start only when they help.
        name: returns the name of a source in errors.

    Raises:
        ValueError: ``workers`` is less than 1.
        RuntimeError: it is continued in the child of a fork, which does not have its threads.
        Exception: whatever else ``sources``, ``read`` or ``classify`` raises.
    """
    if workers is None:
        workers = cores()
    if workers < 1:
        raise ValueError(f"at least one worker is needed, not {workers}")
    return _answers(_Reading(sources, read, workers), classify, name)


def answers_apart(classify: Callable[[Pixels], Iterable[Answer]], pixels: Pixels) -> list[Answer | ModelError]:
    """An answer for each of ``pixels``, uint8 ``[n, S, S, 3]``, or the `ModelError` of ``classify`` for it."""
    try:
        return list(classify(pixels))
    except ModelError as error:
        return [error] if len(pixels) == 1 else [answers_apart(classify, each[None])[0] for each in pixels]


def _answers(
    reading: "_Reading[Source]", classify: Callable[[Pixels], Iterable[Answer]], name: Callable[[Source], str]
) -> Generator[tuple[Source, Answer | ImageError], None, None]:
    with reading:
        for slots in reading.ready():
            pixels = [slot.result for slot in slots if isinstance(slot.result, np.ndarray)]
            answers = iter(answers_apart(classify, np.stack(pixels)) if pixels else [])
            for slot in slots:
                if isinstance(slot.result, np.ndarray):
                    answer = next(answers)
                    if isinstance(answer, ModelError):
                        yield slot.source, ImageError(f"{name(slot.source)}: {answer}")
                    else:
                        yield slot.source, answer
                elif isinstance(slot.result, ImageError):
                    yield slot.source, slot.result
                elif slot.result is not None:
                    raise slot.result


class _Slot(Generic[Source]):
    """One source in the queue, and its pixels or error once it was read."""

    __slots__ = ("result", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.result: Pixels | BaseException | None = None  # None: not read yet


class _Reading(Generic[Source]):
    """The threads that read an iterable of sources.

    The feeder takes a token from ``_room``, then the next source, and puts it in ``_order`` and ``_todo``. The
    readers take sources from ``_todo`` and report through ``_done``. The queues are `SimpleQueue`, written in C: at
    10,000 images a second, locks and futures written in Python would cost as much as the images. A reader starts
    the next one when images take long enough.
    """

    def __init__(self, sources: Iterable[Source], read: Callable[[Source], Pixels], workers: int) -> None:
        self._sources, self._read, self._workers = sources, read, workers
        self._order: deque[_Slot[Source]] = deque()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._todo: SimpleQueue[_Slot[Source] | None] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._ended = self._stopped = False
        self._failure: BaseException | None = None
        self._seconds = 0.0
        # Daemon threads: an iterable that waits for ever, such as a pipe, must not keep the program from exiting.
        self._feeder = Thread(target=self._feed, daemon=True)
        self._readers: list[Thread] = []
        self._start = Lock()

    def __enter__(self) -> None:
        self._process = os.getpid()
        for _ in range(AHEAD * self._workers):
            self._room.put(None)
        self._feeder.start()
        self._start_reader()

    def __exit__(self, *error: object) -> None:
        if os.getpid() != self._process:
            return  # a fork has none of the threads, one of which may hold the lock
        with self._start:
            self._stopped = True
        self._room.put(None)
        for _ in self._readers:
            self._todo.put(None)
        end = perf_counter() + _LEAVE_SECONDS
        for reader in self._readers:
            reader.join(max(0.0, end - perf_counter()))

    def ready(self) -> Iterator[list[_Slot[Source]]]:
        """The slots in order, as many at a time as were read.

        Raises:
            BaseException: whatever the iterable raised, after all sources before it.
            RuntimeError: in the child of a fork.
        """
        while True:
            if os.getpid() != self._process:
                raise RuntimeError(
                    "a stream of images cannot continue in the child of a fork, which does not have its threads"
                )
            ended = self._ended  # read before `_order`: what comes in between is seen in the next round
            slots = []
            while self._order and self._order[0].result is not None:
                slots.append(self._order.popleft())
            if slots:
                yield slots
                for _ in slots:
                    self._room.put(None)
            elif ended and not self._order:
                break
            else:
                self._done.get()
        if self._failure is not None:
            raise self._failure

    def _feed(self) -> None:
        try:
            sources = iter(self._sources)
            while True:
                self._room.get()
                if self._stopped:
                    return
                for source in islice(sources, 1):
                    slot = _Slot(source)
                    self._order.append(slot)
                    self._todo.put(slot)
                    break
                else:
                    break
        except BaseException as error:
            self._failure = error
        self._ended = True
        self._done.put(None)

    def _start_reader(self) -> None:
        with self._start:
            if len(self._readers) < self._workers and not self._stopped:
                reader = Thread(target=self._read_all, daemon=True)
                reader.start()
                self._readers.append(reader)
                self._seconds = 0.0  # whether another one helps is measured anew

    def _read_all(self) -> None:
        reported = perf_counter()
        first = True
        while (slot := self._todo.get()) is not None and not self._stopped:
            began, worked = perf_counter(), thread_time()
            try:
                slot.result = self._read(slot.source)
            except BaseException as error:
                slot.result = error
            now = perf_counter()
            if self._todo.empty() or now - reported > _REPORT_SECONDS:
                self._done.put(None)
                reported = now
            if not first and len(self._readers) < self._workers:
                self._seconds += (thread_time() - worked - self._seconds) / _RECENT
                if self._seconds > _WORTH_SECONDS or now - began > _SLOW_SECONDS:
                    with contextlib.suppress(RuntimeError):  # no more threads available: go on with those there are
                        self._start_reader()
            first = False  # not counted, since it loads the decoders
