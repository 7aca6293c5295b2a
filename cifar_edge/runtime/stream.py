"""Any number of inputs, read on several threads and classified in batches, in their order and in constant memory."""

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
"""Inputs in hand for each thread that reads: enough that none of them waits for another that reads a large picture."""

_WORTH_SECONDS = 0.0002
"""Of pictures that take less processor time than this, two threads read fewer a second than one: they wait for Python's
lock."""

_RECENT = 32
"""That time is averaged over about so many pictures."""

_SLOW_SECONDS = 0.02
"""One picture that takes so long by the clock, from a slow disk perhaps, starts the next thread by itself."""

_LEAVE_SECONDS = 0.5
"""So long the end waits for what is being read, which may take a minute; who is left behind ends by itself."""

_TELL_SECONDS = 0.002
"""How often a reader that has more to read tells what is done: each time costs a switch of threads."""

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

    That is what ``read`` raised of it, or it names a source to which the model has no answer: the others go on.

    An answer is held back by 2 ms and the reading of one more source at most, never by one that ``sources`` has yet to
    bring: it is consumed by a thread of its own, at most `AHEAD` sources for each of ``workers`` beyond what was
    answered.

    Args:
        sources: finite or not.
        read: makes uint8 ``[32, 32, 3]`` of a source; runs on at most ``workers`` threads.
        classify: makes one answer each of uint8 ``[n, 32, 32, 3]``, or raises `ModelError`, where one of them has none;
            runs on the thread that takes the answers.
        workers: threads that read, at most; None takes as many as `cores`. All but one start once they pay.
        name: what errors call a source.

    Raises:
        ValueError: ``workers`` is less than 1.
        RuntimeError: it goes on in the child of a fork, where its threads are not.
        Exception: whatever ``sources`` raises, ``classify`` besides `ModelError`, or ``read`` besides `ImageError`.
    """
    if workers is None:
        workers = cores()
    if workers < 1:
        raise ValueError(f"to read needs at least one worker, not {workers}")
    return _answers(_Reading(sources, read, workers), classify, name)


def answers_apart(classify: Callable[[Pixels], Iterable[Answer]], pixels: Pixels) -> list[Answer | ModelError]:
    """An answer for each of ``pixels``, uint8 ``[n, 32, 32, 3]``; where there is none, what ``classify`` raises."""
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
    """The place of one source in the order."""

    __slots__ = ("result", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.result: Pixels | BaseException | None = None  # None: not read yet


class _Reading(Generic[Source]):
    """The threads between an iterable and its pixels.

    One thread feeds: it takes a token from ``_room``, then the next source, which gets its place in ``_order`` and goes
    to the readers by ``_todo``. They tell by ``_done`` that something was read. The queues are `SimpleQueue`, in C: at
    10,000 pictures a second, locks and futures written in Python would cost as much as the pictures. One reader starts
    the next, when pictures take long enough.
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
        # Daemons: an iterable that waits for ever, such as a pipe, must not keep the program from its end.
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
            return  # in a fork: there are no threads, and one that is not there may hold the lock
        with self._start:
            self._stopped = True
        self._room.put(None)
        for _ in self._readers:
            self._todo.put(None)
        end = perf_counter() + _LEAVE_SECONDS
        for reader in self._readers:
            reader.join(max(0.0, end - perf_counter()))

    def ready(self) -> Iterator[list[_Slot[Source]]]:
        """The slots in their order, as many at a time as are read.

        Raises:
            BaseException: what the iterable raised, after all that it had brought before.
            RuntimeError: in the child of a fork.
        """
        while True:
            if os.getpid() != self._process:
                raise RuntimeError("a stream of images cannot go on in the child of a fork, where its threads are not")
            ended = self._ended  # before the look at the order: what came in between is seen in the next round
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
                self._seconds = 0.0  # the next one has to pay anew

    def _read_all(self) -> None:
        told = perf_counter()
        first = True
        while (slot := self._todo.get()) is not None and not self._stopped:
            began, worked = perf_counter(), thread_time()
            try:
                slot.result = self._read(slot.source)
            except BaseException as error:
                slot.result = error
            now = perf_counter()
            if self._todo.empty() or now - told > _TELL_SECONDS:
                self._done.put(None)
                told = now
            if not first and len(self._readers) < self._workers:
                self._seconds += (thread_time() - worked - self._seconds) / _RECENT
                if self._seconds > _WORTH_SECONDS or now - began > _SLOW_SECONDS:
                    with contextlib.suppress(RuntimeError):  # no more threads to be had: the others go on
                        self._start_reader()
            first = False  # which did not count: it loads what reads pictures
