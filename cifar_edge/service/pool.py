"""The one pool of threads that decode and classify. It refuses what it cannot begin soon."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore
from typing import Any, ParamSpec, TypeVar

from cifar_edge.service.limits import Limits
from cifar_edge.service.problems import busy

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """``limits.workers`` threads, before which ``limits.waiting`` calls may wait."""

    def __init__(self, limits: Limits) -> None:
        self._seconds = limits.answer_seconds
        self._threads = ThreadPoolExecutor(limits.workers, "worker")
        self._places = BoundedSemaphore(limits.workers + limits.waiting)
        self._unfinished: set[Future[Any]] = set()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``call`` returns, or raises, on a thread of the pool.

        Raises:
            Problem: as many calls wait as may, or this one took too long (503). A call that runs is not ended, and
                keeps its place; one that waits is given up.
        """
        if not self._places.acquire(blocking=False):
            raise busy("too many requests are waiting; try again")
        work = [partial(call, *args, **kwargs)]
        future = self._threads.submit(lambda: work.pop()())
        self._unfinished.add(future)
        future.add_done_callback(partial(self._leave, work))
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise busy(f"the answer took more than {self._seconds:g} seconds; try again") from None

    def close(self) -> bool:
        """End the threads, each once its call is through; whether none has one now."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        return not self._unfinished

    def _leave(self, work: list[Any], future: "Future[Any]") -> None:
        self._unfinished.discard(future)
        work.clear()  # a call that was given up is queued until a thread comes to it, but without what it holds
        self._places.release()
