"""The thread pool that decodes and classifies. It refuses calls that it cannot begin soon."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore
from typing import Any

from cifar_edge.service.limits import ServiceLimits
from cifar_edge.service.problems import busy


class Pool:
    """``limits.workers`` threads, with a queue of ``limits.waiting`` calls."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._seconds = limits.answer_seconds
        self._threads = ThreadPoolExecutor(limits.workers, "worker")
        self._places = BoundedSemaphore(limits.workers + limits.waiting)
        self._unfinished: set[Future[bool]] = set()

    async def run(self, call: Callable[[], bool]) -> None:
        """Call ``call`` on threads of the pool until it returns False; each time it goes to the end of the queue.

        Raises:
            Problem: the queue is full, or this call took too long (503). A call that is running is not interrupted, and
                keeps its place until it ends; one that is waiting is abandoned.
            Exception: whatever ``call`` raises.
        """
        if not self._places.acquire(blocking=False):
            raise busy("too many requests are waiting; try again")
        future = self._submitted(call)
        try:
            async with asyncio.timeout(self._seconds):
                while await asyncio.wrap_future(future):
                    future = self._submitted(call)
        except TimeoutError:
            raise busy(f"the answer took more than {self._seconds:g} seconds; try again") from None
        finally:
            future.add_done_callback(lambda _: self._places.release())

    def _submitted(self, call: Callable[[], bool]) -> "Future[bool]":
        work = [call]
        future = self._threads.submit(lambda: work.pop()())
        self._unfinished.add(future)
        future.add_done_callback(partial(self._leave, work))
        return future

    def close(self) -> bool:
        """Stop the threads, each after its current call. Returns whether none has one."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        return not self._unfinished

    def _leave(self, work: list[Any], future: "Future[bool]") -> None:
        self._unfinished.discard(future)
        work.clear()  # an abandoned call stays in the queue, but its data is freed
