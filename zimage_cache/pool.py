"""Threads that exist from the start."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Pool(ThreadPoolExecutor):
    """A thread pool that makes all its threads at once.

    The standard one makes them with the work: on a machine that gives no more threads, `submit` then fails even where
    one is free. What is submitted runs with the context variables of its submitter, as with `asyncio.to_thread`.

    Raises:
        RuntimeError: There are not so many threads to be had.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, name)
        # Each waits for all the others, so that none takes the work of two.
        together = threading.Barrier(threads)
        try:
            for waiting in [self.submit(together.wait) for _ in range(threads)]:
                waiting.result()
        except RuntimeError:
            together.abort()  # those that were made would wait for ever, and the end of the process for them
            self.shutdown(wait=False)
            raise

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have *fn* called in one of the threads."""
        return super().submit(partial(copy_context().run, fn, *args, **kwargs))
