"""One asker's ticket: what is there already, what it waits for, and how that stands."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from zimage_cache.entry import Entry, Hit, Source
from zimage_cache.i18n.messages import Message
from zimage_cache.service.flights import Run, Seat
from zimage_cache.service.statistics import Answer

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
        return self.source in {Source.MEMORY, Source.DISK}

    @property
    def seconds_saved(self) -> float:
        """GPU-seconds that an earlier or shared run spent on it; 0 where this job's own run drew it."""
        return 0.0 if self.source is Source.GENERATED else self.entry.record.gpu_seconds


@dataclass(frozen=True, slots=True)
class Progress:
    """How a job stands.

    Args:
        phase: "queued", "loading", "encoding" (the prompt), "drawing", "decoding" or "finishing".
        detail: What a loading generator does.
        ahead: Pictures that will be drawn before this job's next one.
        step: Finished evaluations of the picture being drawn, of `steps`.
        done: Finished pictures, of `n`.
        eta_seconds: Until the last picture; None while nothing is known.
        preview: A small JPEG of the picture being drawn; None unless the job is watched and there is one.
    """

    phase: str
    detail: Message | None = None
    ahead: int = 0
    step: int = 0
    steps: int = 0
    done: int = 0
    n: int = 1
    eta_seconds: float | None = None
    preview: bytes | None = None


Part = Hit | Seat


class Job:
    """A ticket for n pictures. Leave it exactly when the asker is gone: that is what cancels unwanted work.

    Args:
        parts: For each picture the stored entry, or a seat on the run that makes it.
        progress: Asks the service how a run stands.
        leave: Gives a seat back.
        name: Names an entry for `/images/`.
        delivered: Told once of all pictures, when they are handed out.
        lost: Told once how many pictures were not handed out, and why.

    Exactly one of the last two is called, once: that is what statistics are made of.

    Threads: the event loop's only.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        started: float,
        progress: Callable[["Job"], Progress],
        leave: Callable[[Seat], None],
        name: Callable[[Entry], str],
        delivered: Callable[[Sequence[Outcome]], None],
        lost: Callable[[Answer, int], None],
    ) -> None:
        self.parts = list(parts)
        self._started = started
        self._looked = time.monotonic()
        self._progress = progress
        self._leave = leave
        self._name = name
        self._delivered = delivered
        self._lost = lost
        self._ended = False
        self._outcomes: list[Outcome | None] = [None] * len(self.parts)
        self._watched: list[Run] = []

    @property
    def pending(self) -> list[Run]:
        """The runs this job still waits for."""
        return [part.run for part in self.parts if isinstance(part, Seat) and not part.run.future.done()]

    @property
    def begun(self) -> bool:
        """Whether a generator has turned to one of the pictures this job took a seat for."""
        return any(isinstance(part, Seat) and part.run.started is not None for part in self.parts)

    @property
    def finished(self) -> list[Outcome | None]:
        """The pictures that are there, in order, None for the others; looking at them counts nothing as delivered."""
        return [self._outcome(i) if _is_there(part) else None for i, part in enumerate(self.parts)]

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
        return self._progress(self)

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
            self._end(partial(self._delivered, outcomes))
        except Exception:
            self._lose(Answer.FAILED)
            raise
        finally:
            self.leave()
        for outcome in outcomes:
            key, source = outcome.entry.record.key, outcome.source
            _log.info("picture key=%s source=%s ms=%.1f", key[:12], source, outcome.seconds * 1000)
        return outcomes

    def leave(self) -> None:
        """Give all seats back; runs without waiters are cancelled. A second call does nothing."""
        self._lose(Answer.ABANDONED)
        self.unwatch()
        for part in self.parts:
            if isinstance(part, Seat):
                self._leave(part)

    async def _wait(self, limit: float | None) -> None:
        # One job's timeout or disconnect cannot reach the futures that others wait on: they are running, and refuse to
        # be cancelled. Not asyncio.shield on top: giving it up leaves an error that is never retrieved, and logged.
        # All of them, also those that are over: one that failed already ends the wait for the others.
        results = [asyncio.wrap_future(part.run.future) for part in self.parts if isinstance(part, Seat)]
        try:
            async with asyncio.timeout(limit):
                await asyncio.gather(*results)
        finally:
            for result in results:
                result.cancel()

    def _lose(self, answer: Answer) -> None:
        self._end(partial(self._lost, answer, len(self.parts)))

    def _end(self, count: Callable[[], None]) -> None:
        """Count the pictures, unless that was done: the asker of a finished job leaves too."""
        if not self._ended:
            self._ended = True
            count()

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


def _is_there(part: Part) -> bool:
    return isinstance(part, Hit) or (part.run.future.done() and part.run.future.exception() is None)
