"""One generation per key among all processes of this machine: who may draw, and how the others wait.

A run that another process is drawing waits here, in no queue and on no worker, at the price of one try of a lock
every twentieth of a second for all of them.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from zimage_cache.cache.locks import Generation
from zimage_cache.service.flights import Phase, Run

_POLL_SECONDS = 0.05


class Claims:
    """The rights to generate that this process has, and the runs that wait for one.

    Args:
        take: Takes the right to generate a key, without waiting; None while another process has it.

    Threads: `claim` and `over` from any; one thread of its own releases, tries again, and calls what was waited for.
    """

    def __init__(self, take: Callable[[str], Generation | None]) -> None:
        self._take = take
        self._lock = threading.Lock()
        self._held: dict[Run, Generation] = {}
        self._waiting: dict[Run, Callable[[], None]] = {}
        self._over: SimpleQueue[Run | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="claims", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Release everything; what still waits is dropped."""
        self._closed = True
        self._over.put(None)
        if self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            held, self._held = self._held, {}
        for generation in held.values():
            generation.release()

    def claim(self, run: Run, resume: Callable[[], None]) -> bool:
        """Take the right to draw *run* until it is over; False when another process has it.

        Args:
            run: A run that is not queued yet.
            resume: What to do when the other one is through, in our thread: look once more, then queue.
        """
        # Nobody else can be spared a picture that is not stored, nor be the one to draw a fresh one.
        if not run.keep or self._hold(run) or run.fresh:
            return True
        with self._lock:
            self._waiting[run] = resume
        self._over.put(None)
        return False

    def over(self, run: Run) -> None:
        """Note that *run* has come to its end, stored or not; instant."""
        self._over.put(run)

    def _hold(self, run: Run) -> bool:
        generation = self._take(run.plan.key)
        if generation is None:
            return False
        with self._lock:
            self._held[run] = generation
        if run.phase is Phase.OVER:  # all waiters left before the claim: no other call releases it
            self.over(run)
        return True

    def _work(self) -> None:
        while not self._closed:
            try:
                run = self._over.get(timeout=_POLL_SECONDS if self._waiting else None)
            except Empty:
                self._try_again()
                continue
            with self._lock:
                generation = self._held.pop(run, None) if run else None
            if generation is not None:
                generation.release()

    def _try_again(self) -> None:
        with self._lock:
            waiting = list(self._waiting.items())
        for run, resume in waiting:
            # Somebody who insists on a fresh picture may have joined meanwhile.
            if run.phase is Phase.OVER or run.fresh or self._hold(run):
                with self._lock:
                    del self._waiting[run]
                if run.phase is not Phase.OVER:
                    resume()
