"""`Tickets`: requests followed from afar, on an event loop with a fake generator and a clock set by hand."""

import asyncio
import gc
import logging
import threading
import weakref
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.factories import asked
from tests.waiting import Clock, until
from zimage_cache.errors import Cancelled, InvalidRequest, ModelMissing, NotCached, OutOfMemory, QueueFull, ZImageError
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.i18n.messages import Message
from zimage_cache.request import CacheMode, Recipe
from zimage_cache.service import tickets as tickets_module
from zimage_cache.service.job import Job
from zimage_cache.service.lookup import Shelf
from zimage_cache.service.tickets import GRACE_SECONDS, KEPT_SECONDS, State, Ticket, Tickets, news

pytestmark = pytest.mark.anyio


async def ended(ticket: Ticket[str]) -> State:
    await news([ticket], 60)
    await asyncio.sleep(0)  # what the end of its task calls back has run then
    return ticket.standing().state


class SlowGenerator(FakeGenerator):
    """Does not know who it is before it is let go; then it may turn out to be missing."""

    def __init__(self, *, missing: bool = False):
        super().__init__()
        self.asked = threading.Event()
        self.let_go = threading.Event()
        self.missing = missing

    def identity(self):
        self.asked.set()
        assert self.let_go.wait(60)
        if self.missing:
            raise ModelMissing("as_said", text="not on this disk")
        return super().identity()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def desk(clock):
    """Give a maker of desks that hand out tickets; what they show of a picture is its source."""
    made: list[Tickets[str]] = []

    def make(studio, **options) -> Tickets[str]:
        made.append(Tickets(studio.service, lambda outcome: outcome.source.value, clock=clock, **options))
        return made[-1]

    yield make
    for tickets in made:
        await tickets.close()


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (InvalidRequest, {"model": "none such"}),
        (NotCached, {"cache": CacheMode.ONLY}),
        (QueueFull, {"n": 3}),
    ],
)
async def test_what_is_refused_at_once_is_no_ticket(studio, desk, error, fields):
    """An error that comes at once is raised as from the service itself, and nothing is remembered."""
    tickets = desk(studio(queue_size=2), patience=60)
    with pytest.raises(error):
        await tickets.open(asked(), **fields)
    assert len(tickets) == 0


async def test_a_later_error_is_on_the_ticket(studio, desk, clock):
    """What the service says after its second ends the ticket as failed, with the error and how long it took."""
    generator = SlowGenerator(missing=True)
    tickets = desk(studio(generator=generator), patience=0)
    ticket = await tickets.open(asked(), n=2)
    before = ticket.standing()
    assert (before.state, before.progress.phase, before.pictures) == (State.QUEUED, "loading", (None, None))
    assert (before.duration, before.error) == (None, None)
    clock.now += 5
    generator.let_go.set()
    assert await ended(ticket) is State.FAILED
    after = ticket.standing()
    assert isinstance(after.error, ModelMissing)
    assert (after.duration, after.progress.eta_seconds) == (5.0, None)
    assert tickets.find(ticket.id) is ticket


async def test_what_is_stored_is_on_the_first_answer(studio, desk, gate):
    """Half of it is a hit: its picture is there at once, in its place, while the other waits."""
    door = gate(only={8})
    made = studio(door)
    await made.service.render(asked(7))
    tickets = desk(made, patience=60)
    ticket = await tickets.open(asked(7), n=2)
    standing = ticket.standing()
    assert (standing.pictures, standing.progress.done, standing.progress.n) == (("memory", None), 1, 2)
    assert standing.state in {State.QUEUED, State.RUNNING}
    door.open()
    assert await ended(ticket) is State.DONE
    assert ticket.standing().pictures == ("memory", "generated")


async def test_all_stored_is_done_at_once(studio, desk):
    """Nothing to wait for: the first answer is the last."""
    made = studio()
    await made.service.render(asked(), n=2)
    ticket = await desk(made, patience=60).open(asked(), n=2)
    standing = ticket.standing()
    assert (standing.state, standing.pictures) == (State.DONE, ("memory", "memory"))
    assert (standing.progress.phase, standing.progress.done, standing.progress.eta_seconds) == ("finishing", 2, 0.0)


async def test_pictures_come_one_by_one(studio, desk, gate):
    """Each picture is reported when it is drawn, in its place; the state never returns from running to queued."""
    second, third = gate(only={8}), gate(evaluation=2, only={9})
    made = studio(lambda recipe, evaluation: (second(recipe, evaluation), third(recipe, evaluation)))
    ticket = await desk(made, patience=60).open(asked(7), n=3)
    await second.arrival()
    await until(lambda: ticket.standing().pictures == ("generated", None, None))
    assert ticket.standing().state is State.RUNNING
    assert made.service.statistics.this_process().counts.misses == 0
    second.open()
    await third.arrival()
    await until(lambda: ticket.standing().pictures == ("generated", "generated", None))
    assert (ticket.standing().state, ticket.standing().progress.done) == (State.RUNNING, 2)
    third.open()
    assert await ended(ticket) is State.DONE
    assert ticket.standing().pictures == ("generated",) * 3
    counts = made.service.statistics.this_process().counts
    assert (counts.misses, counts.failures, counts.abandoned) == (3, 0, 0)


async def test_queued_until_the_generator_turns_to_it(studio, desk, gate):
    """Behind another client's picture it is queued, with its position; then it runs."""
    first, own = gate(only={1}), gate(only={7})
    made = studio(lambda recipe, evaluation: (first(recipe, evaluation), own(recipe, evaluation)))
    other = await made.service.ask(asked(1))
    await first.arrival()
    ticket = await desk(made, patience=60).open(asked(7))
    await until(lambda: ticket.standing().progress.ahead == 1)
    assert (ticket.standing().state, ticket.standing().progress.phase) == (State.QUEUED, "queued")
    first.open()
    await own.arrival()
    assert (ticket.standing().state, ticket.standing().progress.ahead) == (State.RUNNING, 0)
    own.open()
    assert await ended(ticket) is State.DONE
    await other.outcomes()


async def test_one_of_several_fails(studio, desk):
    """The ticket fails with that one's error; what is there stays on it and is counted as done, the rest is not."""

    def before_step(recipe, _evaluation):
        if recipe.seed == 8:
            raise OutOfMemory("as_said", text="too large")

    made = studio(before_step)
    await made.service.render(asked(7))
    ticket = await desk(made, patience=60).open(asked(7), n=2)
    assert await ended(ticket) is State.FAILED
    standing = ticket.standing()
    assert isinstance(standing.error, OutOfMemory)
    assert (standing.pictures, standing.progress.done) == (("memory", None), 1)
    assert made.service.statistics.this_process().counts.failures == 2


@pytest.mark.parametrize("fails", [False, True])
async def test_an_ended_ticket_keeps_no_pictures(studio, desk, gate, fails):
    """Neither its job nor its error leads to the bytes: a thousand ended tickets weigh little."""
    door = gate(only={8})

    def before_step(recipe, evaluation):
        door(recipe, evaluation)
        if fails and recipe.seed == 8:
            raise OutOfMemory("as_said", text="too large")

    made = studio(before_step)
    await made.service.render(asked(7))
    jobs: list[weakref.ref[Job]] = []
    ask = made.service.ask

    async def noted(*args, **options):
        job = await ask(*args, **options)
        jobs.append(weakref.ref(job))
        return job

    made.service.ask = noted
    ticket = await desk(made, patience=60).open(asked(7), n=2)
    door.open()
    assert await ended(ticket) is (State.FAILED if fails else State.DONE)
    await made.service.render(asked(99))  # threads of the service keep the last run they worked on, and no other
    await until(lambda: gc.collect() >= 0 and [job() for job in jobs] == [None, None])
    assert getattr(ticket.standing().error, "__traceback__", None) is None


async def test_an_unkept_picture_has_one_name(studio, clock, monkeypatch):
    """A bypass is laid on the shelf under one token, however often its ticket is looked at."""
    put, names = Shelf.put, []

    def noted(shelf, name, entry, **options):
        names.append(name)
        put(shelf, name, entry, **options)

    monkeypatch.setattr(Shelf, "put", noted)
    made = studio()
    tickets = Tickets(made.service, lambda outcome: outcome.name, clock=clock, patience=60)
    ticket = await tickets.open(asked(), cache=CacheMode.BYPASS)
    await until(lambda: ticket.standing().pictures != (None,))
    (name,) = ticket.standing().pictures
    assert await ended(ticket) is State.DONE
    assert ticket.standing().pictures == (name,)
    assert names == [name]


async def test_warnings_are_reported_once(studio, desk):
    """A warning of the generator for each of three pictures is on the ticket once."""
    made = studio(generator=FakeGenerator(warnings=(Message("as_said", text="the prompt is long"),)))
    ticket = await desk(made, patience=60).open(asked(), n=3)
    await ended(ticket)
    assert ticket.standing().warnings == (Message("as_said", text="the prompt is long"),)


async def test_a_dropped_ticket_cancels_its_run(studio, desk, gate):
    """Its run ends within a step; it stays on record as cancelled, counted once, until it is dropped again."""
    door = gate(evaluation=2)
    made = studio(door)
    tickets = desk(made, patience=60)
    ticket = await tickets.open(asked())
    await door.arrival()
    (run,) = made.service.runs
    assert tickets.drop(ticket.id)
    assert run.cancelled.is_set()  # at once, not when the ticket's task runs next
    assert ticket.standing().state is State.CANCELLED
    assert isinstance(ticket.standing().error, Cancelled)
    await until(lambda: made.service.queue_depth == 0)
    door.open()
    assert tickets.find(ticket.id) is ticket
    assert tickets.drop(ticket.id)
    assert tickets.find(ticket.id) is None
    assert not tickets.drop(ticket.id)
    made.close()
    assert (door.steps, made.stored) == ([(7, 1), (7, 2)], set())
    counts = made.service.statistics.this_process().counts
    assert (counts.abandoned, counts.misses, counts.failures) == (1, 0, 0)


async def test_others_keep_what_they_share(studio, desk, gate):
    """Two tickets on one run: one is dropped, the other gets the picture."""
    door = gate(evaluation=2)
    made = studio(door)
    tickets = desk(made, patience=60)
    first, second = [await tickets.open(asked()) for _ in range(2)]
    await door.arrival()
    assert tickets.drop(first.id)
    (run,) = made.service.runs
    await until(lambda: run.waiters == 1)
    door.open()
    assert await ended(second) is State.DONE
    assert second.standing().pictures == ("shared",)
    assert len(made.generator.recipes) == 1


async def test_dropped_before_the_service_took_it(studio, desk):
    """Stop overtakes the queue: the question itself is given up, and nothing is drawn ever after."""
    generator = SlowGenerator()
    made = studio(generator=generator)
    tickets = desk(made, patience=0)
    ticket = await tickets.open(asked())
    await until(generator.asked.is_set)
    assert tickets.drop(ticket.id)
    assert await ended(ticket) is State.CANCELLED
    generator.let_go.set()
    await made.service.render(asked(99))
    assert [recipe.seed for recipe in generator.recipes] == [99]


async def test_a_client_gone_before_its_ticket_leaves_none(studio, desk):
    """Opening is given up while the service still thinks: no ticket stays, no task, and nothing is drawn."""
    generator = SlowGenerator()
    made = studio(generator=generator)
    tickets = desk(made, patience=3600)
    tasks = asyncio.all_tasks()
    opening = asyncio.ensure_future(tickets.open(asked()))
    await until(generator.asked.is_set)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await until(lambda: asyncio.all_tasks() == tasks)
    assert len(tickets) == 0
    generator.let_go.set()
    await made.service.render(asked(99))
    assert [recipe.seed for recipe in generator.recipes] == [99]


async def test_a_lost_ticket_leaves(studio, desk, clock, gate):
    """Its last listener went away: it waits fifteen seconds to the end, then it is cancelled."""
    door = gate(evaluation=2)
    made = studio(door)
    tickets = desk(made, patience=60)
    ticket = await tickets.open(asked())
    await door.arrival()
    with tickets.listening([ticket]), tickets.listening([ticket]):
        pass
    clock.now += GRACE_SECONDS - 0.1
    tickets.sweep()
    assert ticket.standing().state is State.RUNNING
    clock.now += 0.1
    assert tickets.find(ticket.id) is ticket
    assert ticket.standing().state is State.CANCELLED
    await until(lambda: made.service.queue_depth == 0)


async def test_lost_tickets_are_noticed_by_themselves(studio, desk, clock, gate, monkeypatch):
    """Without any further request, the run is still cancelled."""
    monkeypatch.setattr(tickets_module, "_KEEPER_SECONDS", 0.001)
    door = gate(evaluation=2)
    made = studio(door)
    tickets = desk(made, patience=60)
    tasks = asyncio.all_tasks()
    ticket = await tickets.open(asked())
    await door.arrival()
    with tickets.listening([ticket]):
        pass
    clock.now += GRACE_SECONDS
    await until(lambda: made.service.queue_depth == 0)
    assert await ended(ticket) is State.CANCELLED
    await until(lambda: asyncio.all_tasks() == tasks)


@pytest.mark.parametrize("back", ["listening", "asking"])
async def test_a_client_that_returns_in_time_keeps_the_ticket(studio, desk, clock, gate, back):
    """With a new listener, or one read of its state, within the fifteen seconds, it continues."""
    door = gate(evaluation=2)
    made = studio(door)
    tickets = desk(made, patience=60)
    ticket = await tickets.open(asked())
    await door.arrival()
    with tickets.listening([ticket]):
        pass
    clock.now += GRACE_SECONDS - 1
    if back == "listening":
        with tickets.listening([ticket]):
            clock.now += 1000
            tickets.sweep()
    else:
        tickets.find(ticket.id)
    clock.now += GRACE_SECONDS - 1
    tickets.sweep()
    door.open()
    assert await ended(ticket) is State.DONE


async def test_one_listener_of_two_is_enough(studio, desk, clock, gate):
    """While a listener is connected it is not lost."""
    door = gate(evaluation=2)
    tickets = desk(studio(door), patience=60)
    ticket = await tickets.open(asked())
    with tickets.listening([ticket]):
        with tickets.listening([ticket]):
            pass
        clock.now += 1000
        tickets.sweep()
        assert not ticket.ended
    door.open()
    assert await ended(ticket) is State.DONE


async def test_a_ticket_without_listeners_runs_to_its_end(studio, desk, clock, gate):
    """A program that asks now and then may stay away for an hour."""
    door = gate(evaluation=2)
    tickets = desk(studio(door), patience=60)
    ticket = await tickets.open(asked())
    clock.now += 3600
    tickets.sweep()
    assert tickets.find(ticket.id) is ticket
    clock.now += 3600
    tickets.sweep()
    door.open()
    assert await ended(ticket) is State.DONE


async def test_ended_tickets_are_kept_for_ten_minutes(studio, desk, clock):
    """To the end of them, then it is unknown."""
    tickets = desk(studio(), patience=60)
    ticket = await tickets.open(asked())
    await ended(ticket)
    clock.now += KEPT_SECONDS - 0.1
    assert tickets.find(ticket.id) is ticket
    clock.now += 0.1
    assert tickets.find(ticket.id) is None
    assert not tickets.drop(ticket.id)


async def test_only_so_many_ended_tickets_are_kept(studio, desk, monkeypatch):
    """The oldest makes room."""
    monkeypatch.setattr(tickets_module, "MOST_KEPT", 2)
    made = studio()
    await made.service.render(asked())
    tickets = desk(made, patience=60)
    opened = [await tickets.open(asked()) for _ in range(3)]
    for ticket in opened:
        await ended(ticket)
    assert [tickets.find(ticket.id) for ticket in opened] == [None, *opened[1:]]


async def test_only_so_many_tickets_on_their_way(studio, desk, gate, monkeypatch):
    """One more is refused, although it would share a run; when one has ended there is room again."""
    monkeypatch.setattr(tickets_module, "MOST_ACTIVE", 2)
    door = gate(evaluation=2)
    tickets = desk(studio(door), patience=60)
    opened = [await tickets.open(asked()) for _ in range(2)]
    with pytest.raises(QueueFull, match="2 jobs"):
        await tickets.open(asked())
    tickets.drop(opened[0].id)
    await ended(opened[0])
    await tickets.open(asked())


async def test_one_user_does_not_take_all_tickets(studio, desk, gate, monkeypatch):
    """Jobs that share one run take no place in the queue; their number is bounded for each user all the same."""
    monkeypatch.setattr(tickets_module, "MOST_ACTIVE", 8)
    tickets = desk(studio(gate(evaluation=2)), patience=60)
    opened = [await tickets.open(asked(), user="ann") for _ in range(6)]
    with pytest.raises(QueueFull, match="one asker"):
        await tickets.open(asked(), user="ann")
    await tickets.open(asked(), user="bob")
    for ticket in opened[:2]:
        tickets.drop(ticket.id)
    await until(lambda: len(tickets._tasks) == 5)  # noqa: SLF001 - a dropped job leaves a moment later, unseen
    await tickets.open(asked(), user="ann")


async def test_one_user_does_not_take_all_streams(studio, desk, gate, monkeypatch):
    """One more listener is refused, whatever job it is of; another user finds room, and one who leaves makes some."""
    monkeypatch.setattr(tickets_module, "MOST_LISTENERS", 4)
    tickets = desk(studio(gate(evaluation=2)), patience=60)
    ticket = await tickets.open(asked())
    with ExitStack() as listening:
        for _ in range(2):
            listening.enter_context(tickets.listening([ticket], "ann"))
        with tickets.listening([ticket], "ann"), pytest.raises(QueueFull, match="3 streams"):
            listening.enter_context(tickets.listening([ticket], "ann"))
        with tickets.listening([ticket], "ann"), tickets.listening([ticket], "bob"):
            pass
    with tickets.listening([ticket], "ann"):
        pass


async def test_a_listener_of_several_tickets_has_all_of_them_or_none(studio, desk, clock, gate, monkeypatch):
    """Where there is no room for all, none has had one, and each runs on without; an ended one needs none."""
    monkeypatch.setattr(tickets_module, "MOST_LISTENERS", 3)
    door = gate(evaluation=2, only={1, 2, 3})
    tickets = desk(studio(door), patience=60)
    over = await tickets.open(asked(4))
    tickets.drop(over.id)
    several = [await tickets.open(asked(seed)) for seed in (1, 2, 3)]
    with pytest.raises(QueueFull), tickets.listening(several, "ann"):
        pass
    assert not any(ticket.awaits_return for ticket in several)
    with tickets.listening([*several[:2], over], "ann"), tickets.listening([over], "ann"):
        clock.now += 1000
        tickets.sweep()
        assert not several[0].ended
    assert [ticket.awaits_return for ticket in several] == [True, True, False]
    door.open()


async def test_previews_are_made_while_there_is_a_listener(studio, desk, gate):
    """None before a listener, some with one, none after the last one has left, though the run continues."""
    doors = [gate(evaluation=evaluation) for evaluation in (2, 3, 4)]

    def before_step(recipe: Recipe, evaluation: int) -> None:
        for door in doors:
            door(recipe, evaluation)

    generator = FakeGenerator(preview=b"small", before_step=before_step)
    tickets = desk(studio(generator=generator), patience=60)
    ticket = await tickets.open(asked())
    await doors[0].arrival()
    assert (generator.previews, ticket.standing().progress.preview) == (0, None)
    with tickets.listening([ticket]):
        doors[0].open()
        await doors[1].arrival()
        assert (generator.previews, ticket.standing().progress.preview) == (1, b"small")
    for door in doors[1:]:
        door.open()
    assert await ended(ticket) is State.DONE
    assert generator.previews == 1
    assert ticket.standing().progress.preview is None


async def test_an_early_listener_gets_previews_too(studio, desk):
    """A listener who came before the service had taken the request is shown the picture growing."""
    generator = SlowGenerator()
    generator.preview = b"small"
    tickets = desk(studio(generator=generator), patience=0)
    ticket = await tickets.open(asked())
    with tickets.listening([ticket]):
        generator.let_go.set()
        assert await ended(ticket) is State.DONE
    assert generator.previews == 4


async def test_an_unexpected_exception_ends_the_ticket(studio, desk, caplog):
    """An unexpected exception: an error without internals; the log has the traceback and the beginning of the id."""
    made = studio()
    let_go = asyncio.Event()

    async def ask(*_args, **_options):
        await let_go.wait()
        raise RuntimeError("secret detail")

    made.service.ask = ask
    ticket = await desk(made, patience=0).open(asked())
    let_go.set()
    assert await ended(ticket) is State.FAILED
    error = ticket.standing().error
    assert type(error) is ZImageError
    assert "secret" not in str(error)
    assert "secret detail" in caplog.text
    assert ticket.id[:8] in caplog.text
    assert ticket.id not in caplog.text


async def test_the_end_of_the_server_is_theirs(studio, clock, gate, caplog):
    """Waiting, drawing, unanswered, lost and failing tickets all end; no task and no error is left to complain of."""
    door, slow = gate(evaluation=2), SlowGenerator()
    slow.profile = replace(slow.profile, name="slow")
    made = studio(door, others=[slow])
    tickets = Tickets(made.service, lambda outcome: outcome.source.value, clock=clock, patience=60)
    tasks = asyncio.all_tasks()
    drawing, waiting, lost = [await tickets.open(asked(seed)) for seed in (1, 2, 3)]
    with tickets.listening([lost]):
        pass
    unanswered = asyncio.ensure_future(tickets.open(asked(4), model="slow"))
    await until(slow.asked.is_set)
    await tickets.close()
    with pytest.raises(Cancelled):
        await unanswered
    assert [ticket.standing().state for ticket in (drawing, waiting, lost)] == [State.CANCELLED] * 3
    assert (asyncio.all_tasks(), made.service.queue_depth) == (tasks, 0)
    slow.let_go.set()
    door.open()
    made.close()
    del drawing, waiting, lost, unanswered
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_stopping_service_cancels_its_tickets(studio, desk, gate):
    """Where the service ends first, what it did not draw is cancelled, not failed."""
    door = gate(evaluation=2)
    made = studio(door)
    ticket = await desk(made, patience=60).open(asked())
    await door.arrival()
    closing = asyncio.ensure_future(asyncio.to_thread(made.close))
    assert await ended(ticket) is State.CANCELLED
    await closing
