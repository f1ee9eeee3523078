"""One run per key, however many people ask at that moment. Knows no cache, no generator, no event loop.

Every change of what is waited for happens under one lock, and nothing slow happens under it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

from zimage_cache.entry import Entry, Hit, Source
from zimage_cache.errors import GenerationFailed, QueueFull, ZImageError
from zimage_cache.generator.protocol import Step
from zimage_cache.request import MAX_PICTURES
from zimage_cache.request_id import working_for
from zimage_cache.service.queue import Shares
from zimage_cache.service.resolve import Plan

_log = logging.getLogger(__name__)


class Phase(Enum):
    """A run's life. Up to `DRAWING` it may be cancelled; once pixels exist it is finished in any case."""

    WAITING = auto()
    DRAWING = auto()
    DRAWN = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class RunResult:
    """The picture of a run: the entry, and the tier it was found in after all, or `Source.GENERATED`."""

    entry: Entry
    source: Source


@dataclass(eq=False, slots=True)
class Run:
    """One generation, shared. Fields below `plan` change under the lock of `Flights` only.

    `started` (when a thread began to draw it), `drawn` (when its pixels existed) and `ended` (when its waiters got the
    picture or the error) are monotonic seconds.

    `batch` holds until someone joins whose request is interactive.

    `owners` are those of the seats whose plans keep the picture, in the order in which they came, without those left
    before it was drawn, of whom the last one stays: the first of them gets the copy in the history.

    `step`, `began` (when its first evaluation began) and `preview` (a small JPEG) are the exception: written by the
    thread that draws alone, read by any, replaced whole. So is `watchers`, how many jobs show previews, written by
    the event loop alone.
    """

    plan: Plan
    fresh: bool
    keep: bool
    batch: bool = False
    owners: list[str] = field(default_factory=list)
    waiters: int = 0
    phase: Phase = Phase.WAITING
    ended: float = 0.0
    started: float | None = None
    drawn: float | None = None
    step: Step | None = None
    began: float | None = None
    preview: bytes | None = None
    watchers: int = 0
    retried: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)
    future: Future[RunResult] = field(default_factory=Future)

    def __post_init__(self) -> None:
        # A running Future refuses cancel(): no asker's timeout or disconnect can reach the others through it.
        self.future.set_running_or_notify_cancel()


@dataclass(eq=False, slots=True)
class Seat:
    """One asker's place on a run; `leads` on the one that started it."""

    run: Run
    leads: bool
    owner: str | None = None  # of the picture; None = this one does not want it kept
    left: bool = False


class Flights:
    """The runs in flight, by key.

    Args:
        capacity: Most runs that may wait for or hold a generator; 0 = no limit. One user gets a part of them only: see
            `Shares`. A run counts as that of the user who started it, also after others joined and that one left.
        over: Told of every run that leaves the map, stored, failed or cancelled; instant, called under the lock.
    """

    def __init__(self, capacity: int = 0, over: Callable[[Run], None] = lambda _run: None) -> None:
        self._over = over
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._runs: dict[str, Run] = {}
        # More than the map has, where a fresh run took the place of one that is being stored.
        self._under_way: set[Run] = set()
        self._places = Shares(capacity, MAX_PICTURES)
        # Batch runs wait for as long as others come: they may hold one half, or there would be no place for the others.
        self._batch_places = Shares(-(-capacity // 2), MAX_PICTURES)
        self._closed: ZImageError | None = None

    @property
    def pending(self) -> int:
        """Runs that wait for or hold a generator."""
        return self._places.taken

    def room(self, user: str) -> int | None:
        """Return how many runs *user* may add now; None = without limit."""
        with self._lock:
            return self._places.room(user)

    @property
    def runs(self) -> dict[str, Run]:
        """The runs in flight at this moment, by key."""
        with self._lock:
            return dict(self._runs)

    def idle(self, seconds: float | None = None) -> bool:
        """Wait until every run is over, and stored if it is to be; return whether that came within *seconds*."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._under_way, seconds)

    def stored_by(self, seconds: float) -> bool:
        """Wait until what has been answered by now is stored; return whether that came within *seconds*."""
        with self._idle:
            answered = {run for run in self._under_way if run.ended}
            return self._idle.wait_for(lambda: answered.isdisjoint(self._under_way), seconds)

    def join(self, plans: Iterable[Plan]) -> list[Seat]:
        """Take a seat for each plan, on the run in flight where there is one; all of them or none.

        Raises:
            QueueFull: The runs that would have to be started do not all fit, or are too many for this user alone.
            ZImageError: What `close` was given, ever after.
        """
        plans = list(plans)
        with self._lock:
            if self._closed is not None:
                raise self._closed
            new = {plan.key: plan for plan in plans if self._shared(plan) is None}
            for user, batch in {(plan.user, plan.batch) for plan in new.values()}:
                self._require_room(self._places, user, len(new))
                if batch:
                    self._require_room(self._batch_places, user, len(new))
            return [self._seat(plan) for plan in plans]

    def leave(self, seat: Seat) -> bool:
        """Give a seat up. Return whether its run was cancelled by that: no waiter is left, and nothing is drawn yet."""
        run = seat.run
        with self._lock:
            if seat.left:
                return False
            seat.left = True
            run.waiters -= 1
            if run.phase not in {Phase.WAITING, Phase.DRAWING}:  # drawn: who leaves now has the picture
                return False
            if seat.owner is not None and len(run.owners) > 1:
                run.owners.remove(seat.owner)
            if run.waiters:
                return False
            # It leaves the map at once, so that the next request starts anew instead of sharing this end.
            self._end(run)
            run.cancelled.set()
            return True

    def found(self, run: Run, hit: Hit) -> bool:
        """End a run that need not be drawn, unless a plan that joined meanwhile wants a fresh picture."""
        with self._lock:
            if run.fresh or run.phase is not Phase.WAITING:
                return False
            self._end(run)
        self._settle(run, RunResult(hit.entry, hit.source))
        return True

    def start(self, run: Run, now: float) -> bool:
        """Mark the moment a thread begins to draw a run; False when it has no waiter any more."""
        with self._lock:
            if run.phase is not Phase.WAITING:
                return False
            run.phase, run.started = Phase.DRAWING, now
            return True

    def restart(self, run: Run) -> bool:
        """Let a run wait once more, for another device; False when it has no waiter, or had its second try."""
        with self._lock:
            if run.phase is not Phase.DRAWING or run.retried:
                return False
            run.phase, run.retried = Phase.WAITING, True
            run.started = run.began = run.step = run.preview = None
            return True

    def drawn(self, run: Run) -> None:
        """Mark that pixels exist: from here on the run is finished even without waiters."""
        with self._lock:
            if run.phase is Phase.DRAWING:
                self._give_place_back(run)
                run.phase, run.drawn = Phase.DRAWN, time.monotonic()

    def resolve(self, run: Run, entry: Entry) -> bool:
        """Give every waiter the picture. Return whether to store it; only then must `stored` follow.

        A request that comes between the two still shares the run, and may still turn the answer to yes.
        """
        self._settle(run, RunResult(entry, Source.GENERATED))
        with self._lock:
            if not run.keep:
                self._end(run)
            return run.keep

    def stored(self, run: Run) -> None:
        """Remove a run whose picture is stored: from now on the cache answers for its key."""
        with self._lock:
            self._end(run)

    def fail(self, run: Run, error: ZImageError) -> None:
        """Give every waiter the error; errors are never shared with later askers."""
        with self._lock:
            self._end(run)
        self._settle(run, error)

    @contextmanager
    def failing(self, run: Run) -> Iterator[None]:
        """Guard a thread's work on a run: whatever goes wrong in it ends the run, and the thread lives on.

        Log lines within have the id of the request that began the run.
        """
        with working_for(run.plan.request_id):
            try:
                yield
            except ZImageError as error:
                self.fail(run, error)
            except Exception:  # noqa: BLE001 - the outermost edge of three kinds of threads
                _log.exception("run_failed key=%s", run.plan.key[:12])
                self.fail(run, GenerationFailed("failed_unexpectedly"))

    def close(self, error: ZImageError) -> None:
        """Cancel everything that is not drawn yet, refuse new plans, and give all waiters *error*."""
        with self._lock:
            self._closed = error
            runs = [run for run in self._runs.values() if run.phase in {Phase.WAITING, Phase.DRAWING}]
        for run in runs:
            run.cancelled.set()
            self.fail(run, error)

    def _settle(self, run: Run, result: RunResult | ZImageError) -> None:
        with self._lock:
            if run.ended:  # by `close`, while its worker was finishing it
                return
            run.ended = time.monotonic()
        # Outside the lock: this runs the callbacks of the waiters.
        if isinstance(result, RunResult):
            run.future.set_result(result)
        else:
            run.future.set_exception(result)

    @staticmethod
    def _require_room(places: Shares, user: str, new: int) -> None:
        room = places.room(user)
        if room is None or new <= room:
            return
        capacity, pending = places.capacity, places.taken
        if new <= capacity - pending:
            raise QueueFull("queue_share_full", capacity=capacity, pending=pending, room=room, more=new)
        raise QueueFull("queue_full", capacity=capacity, pending=pending, more=new)

    def _seat(self, plan: Plan) -> Seat:
        run = self._shared(plan)
        leads = run is None
        if run is None:
            run = self._runs[plan.key] = Run(plan, plan.fresh, plan.keep, plan.batch)
            self._take_place(run)
            self._under_way.add(run)
        run.waiters += 1
        run.fresh |= plan.fresh
        run.keep |= plan.keep
        if run.batch and not plan.batch:
            run.batch = False
            self._batch_places.give_back(run.plan.user)
        if plan.keep:
            run.owners.append(plan.owner)
        return Seat(run, leads, plan.owner if plan.keep else None)

    def _take_place(self, run: Run) -> None:
        self._places.take(run.plan.user)
        if run.batch:
            self._batch_places.take(run.plan.user)

    def _give_place_back(self, run: Run) -> None:
        self._places.give_back(run.plan.user)
        if run.batch:
            self._batch_places.give_back(run.plan.user)

    def _shared(self, plan: Plan) -> Run | None:
        """Find the run *plan* may share; one whose picture was handed out already is too old for a fresh one."""
        run = self._runs.get(plan.key)
        return None if run is None or (plan.fresh and run.ended) else run

    def _end(self, run: Run) -> None:
        if run.phase in {Phase.WAITING, Phase.DRAWING}:
            self._give_place_back(run)
        if run.phase is not Phase.OVER:
            self._under_way.remove(run)
            self._idle.notify_all()
        run.phase = Phase.OVER
        self._over(run)
        if self._runs.get(run.plan.key) is run:
            del self._runs[run.plan.key]
