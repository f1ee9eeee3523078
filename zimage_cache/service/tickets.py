"""Requests that are followed by id: a ticket at once, its state for every holder of the id, its end in any case."""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Final, Generic, TypeVar, Unpack

from zimage_cache.errors import Cancelled, QueueFull, ZImageError
from zimage_cache.i18n.messages import Message
from zimage_cache.request import ImageRequest
from zimage_cache.service.forecast import Progress
from zimage_cache.service.job import Job, Outcome
from zimage_cache.service.queue import Shares
from zimage_cache.service.service import AskOptions, ImageService
from zimage_cache.service.statistics import Stage

T = TypeVar("T")

GRACE_SECONDS: Final = 15.0
KEPT_SECONDS: Final = 600.0
MOST_ACTIVE: Final = 1000
MOST_KEPT: Final = 1000
MOST_LISTENERS: Final = 256  # each has its job looked at several times a second
_PATIENCE_SECONDS: Final = 1.0
_KEEPER_SECONDS: Final = 0.5
_log = logging.getLogger(__name__)


class State(StrEnum):
    """A ticket's life: the last three are its end."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Standing(Generic[T]):
    """How a ticket stands.

    Args:
        state: `RUNNING` from the moment a generator turns to one of its pictures.
        progress: Of the picture being drawn; its `done` counts `pictures`.
        pictures: As shown, in order; None where one is not there (yet).
        warnings: Of the pictures that are there, each once.
        stages: The seconds of each stage, once it is done; see `Job.stages`.
        duration: Seconds from asking to the end; None before that.
        error: Why it failed or was cancelled.
    """

    state: State
    progress: Progress
    pictures: tuple[T | None, ...]
    warnings: tuple[Message, ...] = ()
    stages: Mapping[Stage, float] = field(default_factory=dict)
    duration: float | None = None
    error: ZImageError | None = None


class Ticket(Generic[T]):
    """One request on its way. It runs in a task of its own, so that no connection's end is its end.

    Args:
        service: Answers the request.
        request: What is asked for.
        options: How.
        show: Makes of a picture what is kept of it: small, for tickets outlive their pictures' bytes.
        reference: The id of the request that asked, which the log's lines carry.
        clock: Seconds, never going back.

    Threads: the event loop's only.
    """

    def __init__(
        self,
        service: ImageService,
        request: ImageRequest,
        options: AskOptions,
        *,
        show: Callable[[Outcome], T],
        reference: str,
        clock: Callable[[], float],
    ) -> None:
        # Knowing it is enough to follow and end the ticket: it cannot be guessed, and is not listed or logged whole.
        self.id = secrets.token_hex(16)
        self.n = options.get("n", 1)
        self.user = options.get("user", "")
        self.account = options.get("account", "")
        self.reference = reference
        self._service = service
        self._model = options.get("model")
        self._show = show
        self._clock = clock
        self._started = clock()
        self._standing: Standing[T] = Standing(State.QUEUED, Progress("loading", n=self.n), (None,) * self.n)
        self._answered = asyncio.Event()
        self._admitted = False
        self._job: Job | None = None
        self._listeners = 0
        self._watchers = 0
        self._last_seen: float | None = None
        self.task = asyncio.create_task(self._follow(lambda: service.ask(request, patient=True, **options)))

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self._standing.duration is not None

    async def answer(self, patience: float) -> None:
        """Wait until the service took the request, but no longer than *patience* seconds.

        Raises:
            ZImageError: It did not take it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._answered.wait()
        if self._standing.error is not None and not self._admitted:
            raise self._standing.error

    def standing(self) -> Standing[T]:
        """Tell how it stands now; cheap enough to ask several times a second."""
        if self._job is not None:
            self._look(self._job)
        elif not self.ended:
            phase = self._service.state(self._model).phase
            self._standing = replace(self._standing, progress=Progress("loading", detail=phase, n=self.n))
        return self._standing

    @contextmanager
    def listened(self, *, watching: bool = True) -> Iterator[None]:
        """Count a listener while the block lasts, who shows previews if *watching*.

        With none left, it must be seen again soon, or it is `lost`.
        """
        self._listeners += 1
        self._watchers += watching
        self._watch()
        try:
            yield
        finally:
            self._listeners -= 1
            self._watchers -= watching
            self._watch()
            if not self._listeners:
                self._last_seen = self._clock()

    def seen(self) -> None:
        """Note that a former listener is still there; a ticket without any listener so far needs no such sign."""
        if self._last_seen is not None:
            self._last_seen = self._clock()

    @property
    def awaits_return(self) -> bool:
        """Whether its listeners are all gone before its end."""
        return not self.ended and not self._listeners and self._last_seen is not None

    @property
    def lost(self) -> bool:
        """Whether its listeners are gone for good, as far as one can tell."""
        return self.awaits_return and self._clock() - (self._last_seen or 0.0) >= GRACE_SECONDS

    def leave(self, rule: str) -> None:
        """End it now: the template *rule* says why. Runs without other requests that wait for them are cancelled."""
        job = self._job
        self._end(Cancelled(rule))
        if job is not None:
            job.leave()  # not left to the task, which runs later: an answer may be on its way before that
        self.task.cancel()

    async def _follow(self, ask: Callable[[], Awaitable[Job]]) -> None:
        # No await between the job's coming and the wait for it, which gives the seats back however it ends.
        try:
            self._job = await ask()
            self._admitted = True
            self._watch()
            self._answered.set()
            await self._job.outcomes()
            self._end(None)
        except ZImageError as error:
            self._end(error)
        except asyncio.CancelledError:
            self._end(Cancelled("stopping"))
            raise
        except Exception:  # noqa: BLE001 - the outermost edge: this task is not awaited
            _log.exception("job_failed job=%s", self.id[:8])
            self._end(ZImageError("unforeseen"))
        finally:
            self._answered.set()

    def _watch(self) -> None:
        """Have previews made while a listener shows them."""
        if self._job is not None:
            (self._job.watch if self._watchers else self._job.unwatch)()

    def _end(self, error: ZImageError | None) -> None:
        if self.ended:
            return
        stages: Mapping[Stage, float] = {}
        if self._job is not None:
            self._look(self._job)
            stages = {} if error else self._job.stages
        self._job = None
        eta = None if error else 0.0
        self._standing = replace(
            self._standing,
            state=_end_of(error),
            progress=replace(self._standing.progress, ahead=0, eta_seconds=eta, preview=None),
            stages=stages,
            duration=self._clock() - self._started,
            # A copy: the error itself is shared, and its traceback would keep the pictures of all frames it passed.
            error=copy(error),
        )

    def _look(self, job: Job) -> None:
        """Bring its standing up to date with that of *job*; what is shown of a picture is made once."""
        pictures, warnings = list(self._standing.pictures), dict.fromkeys(self._standing.warnings)
        for i, outcome in enumerate(job.finished):
            if outcome is not None and pictures[i] is None:
                pictures[i] = self._show(outcome)
                warnings |= dict.fromkeys(outcome.entry.record.warning_messages)
        # Of what is there, not of the runs that are over: one that failed is over too.
        done = sum(picture is not None for picture in pictures)
        self._standing = replace(
            self._standing,
            state=State.RUNNING if job.begun else self._standing.state,
            progress=replace(job.progress(), done=done),
            pictures=tuple(pictures),
            warnings=tuple(warnings),
        )


def _end_of(error: ZImageError | None) -> State:
    if error is None:
        return State.DONE
    return State.CANCELLED if isinstance(error, Cancelled) else State.FAILED


async def news(tickets: Collection[Ticket[T]], seconds: float) -> None:
    """Wait *seconds*, or until the end of one of *tickets* if that comes first."""
    await asyncio.wait([ticket.task for ticket in tickets], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


class Tickets(Generic[T]):
    """All tickets, by their ids: those on their way, and for ten minutes those that ended.

    Args:
        service: Answers the requests.
        show: Makes of a picture what its ticket keeps of it; the bytes are not to be among it.
        patience: Seconds `open` waits for the service to take or refuse a request.
        clock: Seconds, never going back.

    A ticket that never had a listener runs to its end, for programs that poll. One whose last listener
    went away before its end waits `GRACE_SECONDS` for a sign of life, and another such time after each, then leaves.

    Threads: the event loop's only.
    """

    def __init__(
        self,
        service: ImageService,
        show: Callable[[Outcome], T],
        *,
        patience: float = _PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._show = show
        self._patience = patience
        self._clock = clock
        self._active: dict[str, Ticket[T]] = {}
        self._places = Shares(MOST_ACTIVE)
        self._listeners = Shares(MOST_LISTENERS)
        # By when they are forgotten; all are kept equally long, so the oldest is always the first to go.
        self._ended: OrderedDict[str, tuple[float, Ticket[T]]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Count the tickets that can be found: those on their way, and those that ended and are kept."""
        return len(self._active) + len(self._ended)

    async def open(self, request: ImageRequest, *, reference: str = "-", **options: Unpack[AskOptions]) -> Ticket[T]:
        """Ask the service, patiently, and give the ticket; what is stored already is on it.

        Cancelled while it waits, it gives the ticket up.

        Raises:
            QueueFull: There are too many tickets, or too many of this user's.
            ZImageError: The service refused within the first second; what it says later is the ticket's `error`.
        """
        self.sweep()
        self._require_place(options.get("user", ""))
        ticket = Ticket(self._service, request, options, show=self._show, reference=reference, clock=self._clock)
        self._keep_until_over(ticket)
        try:
            await ticket.answer(self._patience)
        except BaseException:
            ticket.leave("asker_gone")
            self._forget(ticket)
            raise
        return ticket

    def find(self, ticket_id: str, account: str = "") -> Ticket[T] | None:
        """Return the ticket of *account*, taking this for a sign of life; None = it has none, or it ended long ago."""
        return self.find_all([ticket_id], account)[ticket_id]

    def find_all(self, ids: Iterable[str], account: str = "") -> dict[str, Ticket[T] | None]:
        """Return the ticket of each of *ids*, as `find` does."""
        self.sweep()
        found = {ticket_id: self._known(ticket_id, account) for ticket_id in ids}
        for ticket in filter(None, found.values()):
            ticket.seen()
        return found

    def drop(self, ticket_id: str, account: str = "") -> bool:
        """End a ticket of *account* that is on its way, forget one that ended. Return whether there was one."""
        self.sweep()
        ticket = self._known(ticket_id, account)
        if ticket is None:
            return False
        if ticket.ended:
            self._forget(ticket)
        else:
            ticket.leave("asker_stopped")
        return True

    @contextmanager
    def listening(
        self, tickets: Collection[Ticket[T]], user: str = "", *, quiet: Collection[Ticket[T]] = ()
    ) -> Iterator[None]:
        """Count a listener of each of *tickets* for *user*, while the block lasts.

        Args:
            tickets: All of them, or none, get the listener; those that ended need none.
            user: Of whom the listeners are.
            quiet: Those of *tickets* whose previews are not shown.

        Raises:
            QueueFull: There are too many listeners, or too many of this user's.
        """
        tickets = [ticket for ticket in tickets if not ticket.ended]
        if len(tickets) > (self._listeners.room(user) or 0):
            raise QueueFull("too_many_streams", taken=self._listeners.taken, most=MOST_LISTENERS)
        self._listeners.take(user, len(tickets))
        try:
            with ExitStack() as listened:
                for ticket in tickets:
                    listened.enter_context(ticket.listened(watching=ticket not in quiet))
                yield
        finally:
            self._listeners.give_back(user, len(tickets))
            if any(ticket.awaits_return for ticket in tickets) and (self._keeper is None or self._keeper.done()):
                self._keeper = asyncio.create_task(self._keep())

    def sweep(self) -> None:
        """Let lost tickets leave, and forget those that ended long ago or are too many."""
        for ticket in list(self._active.values()):
            if ticket.lost:
                ticket.leave("asker_lost")
        while self._ended:
            forgotten, _ = next(iter(self._ended.values()))
            if forgotten > self._clock() and len(self._ended) <= MOST_KEPT:
                return
            self._ended.popitem(last=False)

    async def close(self) -> None:
        """End all tickets and wait until they gave their seats back."""
        for ticket in list(self._active.values()):
            ticket.leave("stopping")
        if self._keeper is not None:
            self._keeper.cancel()
        await asyncio.gather(*self._tasks, *filter(None, [self._keeper]), return_exceptions=True)

    def _require_place(self, user: str) -> None:
        if not self._places.room(user):
            raise QueueFull("too_many_jobs", taken=self._places.taken, most=MOST_ACTIVE)

    def _keep_until_over(self, ticket: Ticket[T]) -> None:
        self._active[ticket.id] = ticket
        self._places.take(ticket.user)
        self._tasks.add(ticket.task)
        ticket.task.add_done_callback(partial(self._over, ticket))

    async def _keep(self) -> None:
        """Look after tickets that wait for a return; there is nothing to do while there are none."""
        while any(ticket.awaits_return for ticket in self._active.values()):
            await asyncio.sleep(_KEEPER_SECONDS)
            self.sweep()

    def _known(self, ticket_id: str, account: str) -> Ticket[T] | None:
        ticket = self._active.get(ticket_id) or self._ended.get(ticket_id, (0.0, None))[1]
        return ticket if ticket is not None and ticket.account == account else None

    def _over(self, ticket: Ticket[T], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # Unless it was forgotten meanwhile, or its id was never returned.
        if self._released(ticket):
            self._ended[ticket.id] = (self._clock() + KEPT_SECONDS, ticket)

    def _released(self, ticket: Ticket[T]) -> bool:
        """Take *ticket* from those on their way; return whether it was among them."""
        if self._active.pop(ticket.id, None) is None:
            return False
        self._places.give_back(ticket.user)
        return True

    def _forget(self, ticket: Ticket[T]) -> None:
        self._released(ticket)
        self._ended.pop(ticket.id, None)
