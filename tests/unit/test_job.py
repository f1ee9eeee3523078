"""`Job`: one client's request, over runs that a test ends explicitly."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.factories import plan
from tests.waiting import Clock, replace_time
from zimage_cache.entry import Entry, Hit, Source
from zimage_cache.errors import OutOfMemory
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.service import flights
from zimage_cache.service import job as job_module
from zimage_cache.service.flights import Flights, Seat
from zimage_cache.service.forecast import Forecast
from zimage_cache.service.job import Job
from zimage_cache.service.lookup import Shelf
from zimage_cache.service.model import Model
from zimage_cache.service.statistics import FIELD, Counts, Statistics

pytestmark = pytest.mark.anyio


class Desk:
    """Hands out jobs on one `Flights`, whose runs nothing draws but `draw`; `shelf` is for a bypass."""

    def __init__(self):
        self.flights = Flights()
        self.encoders = ThreadPoolExecutor(1)
        self.model = Model(FakeGenerator(), self.flights, self.encoders, lambda *_: None, preload=False)
        self.statistics = Statistics(None)

    def job(self, *parts: Hit | str, started: float = 0.0, shelf: Shelf | None = None) -> Job:
        return Job(
            [self.flights.join([plan(part)])[0] if isinstance(part, str) else part for part in parts],
            model=self.model,
            forecast=Forecast(),
            statistics=self.statistics,
            lay=None if shelf is None else shelf.lay,
            started=started,
        )

    def draw(self, key: str, entry: Entry) -> None:
        run = self.flights.runs[key]
        self.flights.start(run, 0.0)
        self.flights.drawn(run)
        self.flights.resolve(run, entry)

    @property
    def counts(self) -> Counts:
        return self.statistics.this_process().counts

    def close(self) -> None:
        self.model.close()
        self.encoders.shutdown()


def seats(*jobs: Job) -> list[Seat]:
    return [part for job in jobs for part in job.parts if isinstance(part, Seat)]


@pytest.fixture
def desk():
    made = Desk()
    yield made
    made.close()


async def test_pictures_come_in_the_order_asked_for(desk, entry):
    """Stored and drawn ones mixed, the later drawn first: answered in the order of the seeds, each with its name."""
    job = desk.job("a", Hit(entry(2), Source.DISK), "c")
    waiting = asyncio.ensure_future(job.outcomes())
    await asyncio.sleep(0)
    desk.draw("c", entry(3))
    await asyncio.sleep(0)
    assert not waiting.done()
    now = job.progress()
    assert (now.phase, now.done, now.n) == ("queued", 2, 3)
    desk.draw("a", entry(1))
    outcomes = await waiting
    assert [outcome.name for outcome in outcomes] == [entry(seed).record.key for seed in (1, 2, 3)]
    assert [outcome.source for outcome in outcomes] == [Source.GENERATED, Source.DISK, Source.GENERATED]
    assert [outcome.cached for outcome in outcomes] == [False, True, False]
    assert [outcome.seconds_saved for outcome in outcomes] == [0.0, 1.5, 0.0]


async def test_only_the_leader_generated_it(desk, entry):
    """The run's picture is "generated" for its leader and "shared" for all others, with the GPU-seconds saved."""
    leader, other = desk.job("a"), desk.job("a")
    desk.draw("a", entry(1))
    assert [o.source for o in (*await leader.outcomes(), *await other.outcomes())] == [Source.GENERATED, Source.SHARED]
    assert (await other.outcomes())[0].seconds_saved == 1.5


async def test_what_was_found_after_all_is_a_hit_for_all(desk, entry):
    """The second look found it: leader and others alike report the tier."""
    jobs = [desk.job("a"), desk.job("a")]
    desk.flights.found(desk.flights.runs["a"], Hit(entry(1), Source.DISK))
    for job in jobs:
        (outcome,) = await job.outcomes()
        assert (outcome.source, outcome.cached) == (Source.DISK, True)


async def test_seats_are_given_back_in_any_case(desk, entry):
    """After success, failure, timeout and cancellation alike, no seat stays taken."""
    good, bad, slow, gone = desk.job("a", "b"), desk.job("c", "d"), desk.job("e"), desk.job("f", "g")
    desk.draw("a", entry(1))
    desk.draw("b", entry(2))
    await good.outcomes()
    desk.flights.fail(desk.flights.runs["d"], OutOfMemory("as_said", text="no"))
    with pytest.raises(OutOfMemory):
        await bad.outcomes()
    with pytest.raises(TimeoutError):
        await slow.outcomes(0.001)
    waiting = asyncio.ensure_future(gone.outcomes())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    given = seats(good, bad, slow, gone)
    assert [seat.left for seat in given] == [True] * 7
    assert desk.flights.pending == 0
    assert (desk.counts.misses, desk.counts.failures, desk.counts.abandoned) == (2, 3, 2)


async def test_one_of_several_fails(desk, entry):
    """The call fails as soon as one does; what is drawn already stays in flight until it is stored."""
    job = desk.job("a", "b", "c")
    desk.draw("a", entry(1))
    waiting = asyncio.ensure_future(job.outcomes())
    await asyncio.sleep(0)
    desk.flights.fail(desk.flights.runs["b"], OutOfMemory("as_said", text="no"))
    with pytest.raises(OutOfMemory):
        await waiting
    assert set(desk.flights.runs) == {"a"}


async def test_a_timeout_leaves_the_shared_run_alone(desk, entry):
    """One request times out; the run continues, and the other request gets the picture."""
    hasty, patient = desk.job("a"), desk.job("a")
    with pytest.raises(TimeoutError):
        await hasty.outcomes(0.001)
    desk.draw("a", entry(1))
    assert [outcome.entry for outcome in await patient.outcomes()] == [entry(1)]


async def test_what_is_there_is_told_without_ending_the_job(desk, entry):
    """Pictures are shown as they come, failures as missing; statistics hear of them at the end, once."""
    name = entry(2).record.key
    job = desk.job("a", Hit(entry(2), Source.DISK), "c")
    desk.draw("c", entry(3))
    early = job.finished
    assert [outcome and outcome.name for outcome in early] == [None, name, entry(3).record.key]
    assert desk.counts == Counts()
    assert not any(seat.left for seat in seats(job))
    desk.draw("a", entry(1))
    outcomes = await job.outcomes()
    job.leave()
    assert outcomes[1:] == early[1:]
    assert desk.counts == Counts(misses=2, gpu_seconds_saved=1.5, **{FIELD[Source.DISK]: 1})
    failed = desk.job("d", Hit(entry(2), Source.DISK))
    desk.flights.fail(desk.flights.runs["d"], OutOfMemory("as_said", text="no"))
    assert [outcome and outcome.name for outcome in failed.finished] == [None, name]


async def test_a_picture_that_bypasses_the_cache_has_a_token(desk, entry):
    """It lies on the shelf under one name that is not its key, and counts as bypassed, whatever drew it."""
    shelf = Shelf(2**20)
    job = desk.job("a", shelf=shelf)
    desk.draw("a", entry(1))
    (early,) = job.finished
    (outcome,) = await job.outcomes()
    assert early is outcome
    assert outcome.name != entry(1).record.key
    assert shelf.get(outcome.name, "") is outcome.entry
    assert shelf.get(outcome.name, "ann") is shelf.get(outcome.name) is None
    assert desk.counts == Counts(bypasses=1)


async def test_a_job_has_begun_when_a_generator_turned_to_it(desk, entry):
    """Stored pictures and waiting runs are no beginning."""
    job = desk.job("a", "b", Hit(entry(1), Source.DISK))
    assert not job.begun
    desk.flights.start(desk.flights.runs["b"], 0.0)
    assert job.begun


async def test_watchers_are_counted(desk):
    """Two watch one run: it is watched until both stopped, or left; watching twice is watching once."""
    jobs = desk.job("a"), desk.job("a")
    (run,) = jobs[0].pending
    for job in (*jobs, jobs[0]):
        job.watch()
    assert run.watchers == 2
    jobs[0].unwatch()
    jobs[0].unwatch()
    assert run.watchers == 1
    jobs[1].leave()
    assert run.watchers == 0


async def test_nothing_to_wait_for_needs_no_wait(desk, entry):
    """All stored: answered at once, even with no time allowed."""
    job = desk.job(Hit(entry(1), Source.MEMORY))
    assert job.pending == []
    assert [outcome.source for outcome in await job.outcomes(0.0)] == [Source.MEMORY]


async def test_one_line_a_picture(desk, entry, caplog):
    """Each picture is logged with its key's first digits, its source and its milliseconds."""
    with caplog.at_level(logging.INFO):
        await desk.job(Hit(entry(1), Source.MEMORY), Hit(entry(2), Source.DISK)).outcomes()
    (first, second) = [record.getMessage() for record in caplog.records]
    assert first.startswith(f"picture key={entry(1).record.key[:12]} source=memory ms=")
    assert second.startswith(f"picture key={entry(2).record.key[:12]} source=disk ms=")


def job_at_eleven(desk: Desk, clock: Clock, entry: Entry, moments: Sequence[tuple[float, float, float]]) -> Job:
    """Return a job that asked at 10 and took its seats at 11, on runs with these moments of start, pixels and end."""
    keys = [str(i) for i in range(len(moments))]
    older = [desk.flights.join([plan(key)])[0] for key in keys]
    clock.now = 11.0
    job = desk.job(*keys, started=10.0)
    for seat, (started, drawn, ended) in zip(older, moments, strict=True):
        desk.flights.start(seat.run, started)
        clock.now = drawn
        desk.flights.drawn(seat.run)
        clock.now = ended
        desk.flights.resolve(seat.run, entry)
    return job


@pytest.mark.parametrize(
    ("moments", "waits"),
    [
        ([(14, 16, 17)], (3, 2, 1)),
        ([(5, 16, 17)], (0, 5, 1)),
        ([(5, 6, 17)], (0, 0, 6)),
        ([(1, 2, 3)], (0, 0, 0)),
        ([(12, 13, 14), (15, 17, 18)], (3, 3, 1)),
        ([(12, 15, 16), (13, 17, 18)], (1, 5, 1)),
        ([(12, 17, 18), (13, 15, 16)], (1, 5, 1)),
        ([(1, 2, 3), (14, 16, 17)], (3, 2, 1)),
    ],
    ids=["own", "joined while drawn", "joined while encoded", "over", "turns", "two devices", "inside", "one over"],
)
def test_the_stages_are_those_of_this_request_alone(monkeypatch, desk, entry, moments, waits):
    """What a run did before the request came is no part of its wait, overlapping runs count once, gaps are waits."""
    clock = Clock()
    replace_time(monkeypatch, [job_module, flights], monotonic=clock)
    job = job_at_eleven(desk, clock, entry(), moments)
    assert job.stages == dict(zip(("cache", "queue", "draw", "encode"), (1, *waits), strict=True))


def test_a_stored_picture_has_one_stage(desk, entry):
    """A hit was only looked up; so was a picture that the second look found."""
    hit = Hit(entry(), Source.MEMORY)
    assert [*desk.job(hit).stages] == ["cache"]
    job = desk.job("a")
    desk.flights.found(desk.flights.runs["a"], hit)
    assert [*job.stages] == ["cache"]


def test_a_picture_of_another_process_was_waited_for(desk, entry):
    """What another process drew was not drawn here: the wait for it is one in a queue."""
    job = desk.job("a")
    desk.flights.found(desk.flights.runs["a"], Hit(entry(), Source.SHARED))
    stages = job.stages
    assert stages["queue"] > 0 == stages["draw"] == stages["encode"]
