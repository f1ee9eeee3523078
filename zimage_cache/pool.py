"""Threads that exist from the start."""

import threading
from concurrent.futures import ThreadPoolExecutor


class Pool(ThreadPoolExecutor):
    """A thread pool that makes all its threads at once.

    The standard one makes them with the work: on a machine that gives no more threads, `submit` then fails even where
    one is free.

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
