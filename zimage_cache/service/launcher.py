"""From what is missing to a model's queue: a run for each key, the right to draw it, a second look, its place."""

from collections.abc import Sequence
from functools import partial

from zimage_cache.entry import Hit, Source
from zimage_cache.service.claims import Claims
from zimage_cache.service.finder import Finder
from zimage_cache.service.flights import Flights, Plan, Run, Seat
from zimage_cache.service.model import Model
from zimage_cache.service.pool import Pool


class Launcher:
    """Gives askers seats on runs, and brings runs that are new to their model.

    Threads: the event loop's only. What blocks for the disk is done in a thread of our own.
    """

    def __init__(self, flights: Flights, claims: Claims, finder: Finder) -> None:
        self._flights = flights
        self._claims = claims
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
        if leading := [seat.run for seat in seats if seat.leads]:
            # In another thread right from here: the leader may leave, the runs belong to all. In one for all of
            # them: they are queued in the order asked for.
            self._thread.submit(self._launch, model, leading)
        return seats

    def _launch(self, model: Model, runs: Sequence[Run]) -> None:
        """Look once more (it may have been stored since the first look), then queue."""
        for run in runs:
            with self._flights.failing(run):
                if self._claims.claim(run, partial(self._resume, model, run)) and not self._found(run):
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
