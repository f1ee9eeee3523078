"""From what is missing to a model's queue: a run for each key, the right to draw it, a second look, its place."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue

from zimage_cache.cache.locks import Generation
from zimage_cache.entry import Hit, Source
from zimage_cache.pool import Pool
from zimage_cache.service.flights import Flights, Phase, Run, Seat
from zimage_cache.service.lookup import Finder
from zimage_cache.service.model import Model
from zimage_cache.service.resolve import Plan

_POLL_SECONDS = 0.05


class DrawingRights:
    """One run per key among all processes on one folder: the rights that this one has, and the runs that wait.

    A run that another process is drawing waits here, in no queue and on no worker, at the price of one try of a lock
    every twentieth of a second for all of them.

    Args:
        take: Takes the right to generate a key, without waiting; None while another process has it.

    Threads: `acquire` and `over` from any; one thread of its own releases, tries again, and calls what was waited for.
    """

    def __init__(self, take: Callable[[str], Generation | None]) -> None:
        self._take = take
        self._lock = threading.Lock()
        self._held: dict[Run, Generation] = {}
        self._waiting: dict[Run, Callable[[], None]] = {}
        self._over: SimpleQueue[Run | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="drawing-rights", daemon=True)

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

    def acquire(self, run: Run, resume: Callable[[], None]) -> bool:
        """Take the right to draw *run* until it is over; False when another process has it.

        Args:
            run: A run that is not queued yet.
            resume: What to do when the other one is through, in our thread: look once more, then queue.
        """
        # A picture that is not stored saves no other process its run, and a fresh one is drawn in any case.
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
            # A request for a fresh picture may have joined meanwhile.
            if run.phase is Phase.OVER or run.fresh or self._hold(run):
                with self._lock:
                    del self._waiting[run]
                if run.phase is not Phase.OVER:
                    resume()


class Launcher:
    """Gives askers seats on runs, and brings runs that are new to their model.

    Threads: the event loop's only. What blocks for the disk is done in a thread of our own.
    """

    def __init__(self, flights: Flights, rights: DrawingRights, finder: Finder) -> None:
        self._flights = flights
        self._rights = rights
        self._finder = finder
        # One thread: pictures are queued in the order they were asked for.
        self._thread = Pool(1, "launcher")

    def close(self) -> None:
        """Wait for the runs on their way to a queue."""
        self._thread.shutdown()

    def seats(self, plans: Sequence[Plan], model: Model) -> list[Seat]:
        """Take a seat for each plan, on a run under way or on a new one that *model* is to draw.

        Raises:
            QueueFull: Not all of them find room; then none was taken.
        """
        seats = self._flights.join(plans)
        for seat in seats:
            model.promote(seat.run)
        if leading := [seat.run for seat in seats if seat.leads]:
            # In another thread right from here: the leader may leave, the runs belong to all. In one for all of
            # them: they are queued in the order asked for.
            self._thread.submit(self._launch, model, leading)
        return seats

    def _launch(self, model: Model, runs: Sequence[Run]) -> None:
        """Look once more (it may have been stored since the first look), then queue."""
        for run in runs:
            with self._flights.failing(run):
                if self._rights.acquire(run, partial(self._resume, model, run)) and not self._found(run):
                    model.line_up(run)

    def _resume(self, model: Model, run: Run) -> None:
        """Go on with a run that another process was drawing: it has stored the picture, or failed."""
        with self._flights.failing(run):
            entry = None if run.fresh else self._finder.peek(run.plan.key)
            if entry is None or not self._flights.found(run, Hit(entry, Source.SHARED)):
                model.line_up(run)

    def _found(self, run: Run) -> bool:
        hit = None if run.fresh else self._finder.look(run.plan)
        return hit is not None and self._flights.found(run, hit)
