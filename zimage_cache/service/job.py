"""One request for n pictures: what is there already, what it waits for, and how that stands."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zimage_cache.entry import Entry, Hit, Source
from zimage_cache.service.flights import Run, Seat
from zimage_cache.service.forecast import Forecast, Progress
from zimage_cache.service.model import Model
from zimage_cache.service.statistics import Stage, Statistics, Unrated

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One picture for one asker.

    Args:
        name: What `/images/` calls it: its key, or a random token where it is stored nowhere.
        seconds: How long this asker waited.
    """

    entry: Entry
    source: Source
    seconds: float
    name: str

    @property
    def cached(self) -> bool:
        """Whether it came from one of the tiers."""
        return self.source.cached

    @property
    def seconds_saved(self) -> float:
        """GPU-seconds that an earlier or shared run spent on it; 0 where this job's own run drew it."""
        return 0.0 if self.source is Source.GENERATED else self.entry.record.gpu_seconds


Part = Hit | Seat


class Job:
    """One request for n pictures. Leave it exactly when the asker is gone: that is what cancels unwanted work.

    Args:
        parts: For each picture the stored entry, or a seat on the run that makes it.
        model: Draws the runs.
        forecast: Tells how far they are.
        statistics: Counts all pictures together, once: as handed out, or as not.
        lay: Makes a name for a picture of a request that bypasses the cache; None = they are named by their keys.
        started: When the request came, in monotonic seconds.

    Threads: the event loop's only.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        model: Model,
        forecast: Forecast,
        statistics: Statistics,
        lay: Callable[[Entry], str] | None,
        started: float,
    ) -> None:
        self.parts = list(parts)
        self._model = model
        self._forecast = forecast
        self._statistics = statistics
        self._lay = lay
        self._started = started
        self._looked = time.monotonic()
        self._counted = False
        self._outcomes: list[Outcome | None] = [None] * len(self.parts)
        self._watched: list[Run] = []

    @property
    def pending(self) -> list[Run]:
        """The runs this job still waits for."""
        return [seat.run for seat in self._seats if not seat.run.future.done()]

    @property
    def begun(self) -> bool:
        """Whether a generator has turned to one of the pictures this job took a seat for."""
        return any(seat.run.started is not None for seat in self._seats)

    @property
    def finished(self) -> list[Outcome | None]:
        """The pictures that are there, in order, None for the others; looking at them counts nothing as delivered."""
        return [self._outcome(i) if _is_there(part) else None for i, part in enumerate(self.parts)]

    @property
    def stages(self) -> dict[Stage, float]:
        """The seconds that this job spent in each stage; together its wait. Only once all pictures are there.

        `cache` is the look-up, and all of it where every picture was found. Otherwise `queue` is the time in which none
        of its pictures was being drawn, `draw` the time in which one was, `encode` the time since the last pixels.
        Time before this job took its seats is no part of that: the runs may be older.
        """
        runs = [seat.run for seat in self._seats]
        ended = max([self._looked, *(run.ended for run in runs)])
        if all(run.future.result().source.cached for run in runs):
            return {Stage.CACHE: ended - self._started}
        draw, pixels = _drawing_time(runs, self._looked)
        return {
            Stage.CACHE: self._looked - self._started,
            Stage.QUEUE: pixels - self._looked - draw,
            Stage.DRAW: draw,
            Stage.ENCODE: ended - pixels,
        }

    def watch(self) -> None:
        """Have previews made of the pictures this job waits for, until `unwatch` or `leave`."""
        if not self._watched:
            self._watched = self.pending
            for run in self._watched:
                run.watchers += 1

    def unwatch(self) -> None:
        """Stop having previews made, unless another job watches."""
        for run in self._watched:
            run.watchers -= 1
        self._watched = []

    def progress(self) -> Progress:
        """Tell how it stands now; cheap enough to ask several times a second."""
        return self._forecast.progress(self._model, self.pending, len(self.parts))

    async def outcomes(self, limit: float | None = None) -> list[Outcome]:
        """Wait for all pictures, in order. Whatever ends the wait, this job's seats are given back.

        Raises:
            TimeoutError: After *limit* seconds; the runs go on for other jobs that wait for them.
            ZImageError: One of the runs failed.
        """
        try:
            if self.pending:
                await self._wait(limit)
            outcomes = [self._outcome(i) for i in range(len(self.parts))]
        except Exception:
            self._lose(Unrated.FAILED)
            raise
        else:
            self._deliver(outcomes)
            return outcomes
        finally:
            self.leave()

    def leave(self) -> None:
        """Give all seats back; runs without waiters are cancelled. A second call does nothing."""
        self._lose(Unrated.ABANDONED)
        self.unwatch()
        for seat in self._seats:
            self._model.leave(seat)

    @property
    def _seats(self) -> list[Seat]:
        return [part for part in self.parts if isinstance(part, Seat)]

    async def _wait(self, limit: float | None) -> None:
        # One job's timeout or disconnect cannot reach the futures that others wait on: they are running, and refuse to
        # be cancelled. Not asyncio.shield on top: giving it up leaves an error that is never retrieved, and logged.
        # All of them, also those that are over: one that failed already ends the wait for the others.
        results = [asyncio.wrap_future(seat.run.future) for seat in self._seats]
        try:
            async with asyncio.timeout(limit):
                await asyncio.gather(*results)
        finally:
            for result in results:
                result.cancel()

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Count and log what is handed out, unless the pictures are counted already."""
        if self._counted:
            return
        self._counted = True
        self._statistics.spent(self.stages)
        for outcome in outcomes:
            answer = outcome.source if self._lay is None else Unrated.BYPASS
            self._statistics.delivered(answer, seconds=outcome.seconds, saved=outcome.seconds_saved)
            key = outcome.entry.record.key
            _log.info("picture key=%s source=%s ms=%.1f", key[:12], outcome.source, outcome.seconds * 1000)

    def _lose(self, answer: Unrated) -> None:
        """Count the pictures as not handed out, unless they are counted already: a job that is served is left too."""
        if not self._counted:
            self._counted = True
            self._statistics.lost(answer, len(self.parts))

    def _outcome(self, i: int) -> Outcome:
        # Made once: naming an unkept picture lays it on a shelf.
        outcome = self._outcomes[i]
        if outcome is None:
            outcome = self._outcomes[i] = self._made(self.parts[i])
        return outcome

    def _made(self, part: Part) -> Outcome:
        if isinstance(part, Hit):
            return Outcome(part.entry, part.source, self._looked - self._started, self._name(part.entry))
        result = part.run.future.result()
        shared = result.source is Source.GENERATED and not part.leads
        seconds = max(0.0, part.run.ended - self._started)
        return Outcome(result.entry, Source.SHARED if shared else result.source, seconds, self._name(result.entry))

    def _name(self, entry: Entry) -> str:
        return entry.record.key if self._lay is None else self._lay(entry)


def _drawing_time(runs: Sequence[Run], since: float) -> tuple[float, float]:
    """Return for how long at least one of *runs* was being drawn after *since*, and when the last pixels existed."""
    seconds, until = 0.0, since
    for started, drawn in sorted(map(_drawing_span, runs)):
        seconds += max(0.0, drawn - max(started, until))
        until = max(until, drawn)
    return seconds, until


def _drawing_span(run: Run) -> tuple[float, float]:
    """Return from when to when *run* was being drawn; for one whose picture was found after all, its end twice."""
    return (run.ended, run.ended) if run.started is None or run.drawn is None else (run.started, run.drawn)


def _is_there(part: Part) -> bool:
    return isinstance(part, Hit) or (part.run.future.done() and part.run.future.exception() is None)
