"""`Statistics`: every picture counted once, sums that outlive the process, and a database that may fail."""

import logging
import sqlite3
import threading
from contextlib import closing
from dataclasses import asdict, fields

import pytest

from tests.factories import asked
from zimage_cache.cache.cache import Held
from zimage_cache.entry import Source
from zimage_cache.errors import NotCached, OutOfMemory
from zimage_cache.request import CacheMode
from zimage_cache.service.statistics import (
    ANSWERS,
    BUCKETS,
    CACHE_COUNTS,
    FIELD,
    Counts,
    Lifetime,
    Statistics,
    Unrated,
    overview,
)

ASK = asked()


@pytest.fixture
def lifetime(tmp_path) -> Lifetime:
    return Lifetime(tmp_path / "zimage.sqlite3")


def moved(counts: Counts) -> dict[str, float]:
    """Give the counts that are not zero, but for seconds, which no test can know."""
    return {name: n for name, n in asdict(counts).items() if n and not name.startswith("gpu_seconds")}


def test_every_answer_has_a_count_of_its_own():
    """No two answers share a count, each source is an answer, and the cache's counts are counts."""
    assert len(set(FIELD.values())) == len(ANSWERS) == len(FIELD)
    assert set(Source) <= set(ANSWERS) == set(FIELD)
    assert {*FIELD.values(), *CACHE_COUNTS} <= {each.name for each in fields(Counts)}


def test_a_picture_is_counted_once_with_its_wait():
    """A delivered picture moves its own count, the seconds saved and exactly one bucket."""
    statistics = Statistics(None)
    statistics.delivered(Source.DISK, seconds=0.02, saved=1.5)
    counts, waits = statistics.snapshot()
    assert moved(counts) == {"hits_disk": 1}
    assert counts.gpu_seconds_saved == 1.5
    assert waits[Source.DISK].buckets[BUCKETS.index(0.025)] == sum(waits[Source.DISK].buckets) == 1
    assert waits[Source.DISK].seconds == 0.02
    assert all(sum(wait.buckets) == 0 for answer, wait in waits.items() if answer is not Source.DISK)


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (0.001, 0), (0.0011, 1), (300.0, 15), (301.0, 16)])
def test_buckets_include_their_ends(seconds, bucket):
    """A wait exactly as long as a bucket's end is in that bucket, as Prometheus defines it."""
    statistics = Statistics(None)
    statistics.delivered(Source.MEMORY, seconds=seconds, saved=0.0)
    assert statistics.snapshot()[1][Source.MEMORY].buckets.index(1) == bucket


def test_the_cache_counts_for_itself():
    """Counts of the cache are shown, not counted again."""
    cached = dict.fromkeys(CACHE_COUNTS, 3)
    assert moved(Statistics(None, lambda: cached).this_process().counts) == cached


def test_threads_lose_nothing():
    """Counts raised by many threads at once all arrive."""
    statistics = Statistics(None)

    def count():
        for _ in range(500):
            statistics.drawn(0.5)
            statistics.lost(Unrated.FAILED, 2)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = statistics.this_process().counts
    assert (counts.generated, counts.gpu_seconds, counts.failures) == (4000, 2000.0, 8000)


def test_hit_ratio_is_of_what_was_looked_up():
    """Bypassed and lost pictures say nothing about the cache; without any looked-up one there is no ratio."""
    assert Counts(bypasses=3, failures=2).hit_ratio is None
    hits = {FIELD[Source.MEMORY]: 1, FIELD[Source.DISK]: 2}
    assert Counts(**hits, misses=2, shared=1, bypasses=9).hit_ratio == 0.5


def test_lifetime_survives_a_restart(lifetime):
    """The lifetime counts continue in a second process, and its own block starts at zero."""
    first = Statistics(lifetime, clock=lambda: 50.0)
    first.delivered(Source.MEMORY, seconds=0.1, saved=1.5)
    first.drawn(1.25)
    first.close()
    second = Statistics(lifetime)
    second.delivered(Source.MEMORY, seconds=0.1, saved=0.25)
    counts = second.lifetime().counts
    assert moved(counts) == {"hits_memory": 2, "generated": 1}
    assert (counts.gpu_seconds, counts.gpu_seconds_saved) == (1.25, 1.75)
    assert moved(second.this_process().counts) == {"hits_memory": 1}
    assert second.lifetime().since == 50.0


def test_processes_at_the_same_time_add_up(lifetime):
    """Two that count side by side see the sum of both; neither overwrites the other, however often they save."""
    one, other = Statistics(lifetime), Statistics(lifetime)
    for _ in range(3):
        one.delivered(Source.DISK, seconds=0.1, saved=0.0)
        other.delivered(Source.SHARED, seconds=0.1, saved=0.0)
        one.flush()
        other.flush()
        one.flush()
    assert moved(one.lifetime().counts) == moved(other.lifetime().counts) == {"hits_disk": 3, "shared": 3}


def test_what_is_not_saved_yet_counts_as_well(lifetime):
    """The lifetime is never behind this process, also when it cannot be saved."""
    statistics = Statistics(lifetime)
    with closing(sqlite3.connect(lifetime.path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        statistics.lost(Unrated.FAILED, 4)
        assert moved(statistics.lifetime().counts) == {"failures": 4}
    assert lifetime.sums().amounts == {}
    statistics.flush()
    assert lifetime.sums().amounts == {"failures": 4.0}


@pytest.mark.parametrize("trouble", ["corrupt", "folder", "locked"])
def test_trouble_is_one_warning_and_costs_nothing(lifetime, trouble, caplog):
    """A broken database causes one warning, however long it lasts; everything is saved when it works again."""
    statistics = Statistics(lifetime)
    lock = None
    if trouble == "corrupt":
        lifetime.path.write_bytes(b"this is no database" * 100)
    elif trouble == "folder":
        lifetime.path.mkdir()
    else:
        lock = sqlite3.connect(lifetime.path, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            statistics.delivered(Source.MEMORY, seconds=0.1, saved=2.0)
            statistics.flush()
            assert statistics.lifetime().counts == statistics.this_process().counts
    (warning,) = caplog.records
    assert str(lifetime.path) in warning.getMessage()
    if lock is not None:
        lock.close()
    elif trouble == "folder":
        lifetime.path.rmdir()
    else:
        lifetime.path.unlink()
    statistics.close()
    assert lifetime.sums().amounts == {"hits_memory": 2.0, "gpu_seconds_saved": 4.0}


def test_saving_is_batched(lifetime, monkeypatch):
    """However much is counted, the database is written once a flush, and not at all when nothing happened."""
    written = []
    add = lifetime.add

    def noted(amounts, since):
        written.append(amounts)
        return add(amounts, since)

    monkeypatch.setattr(lifetime, "add", noted)
    statistics = Statistics(lifetime)
    for _ in range(1000):
        statistics.delivered(Source.MEMORY, seconds=0.001, saved=1.0)
    statistics.flush()
    statistics.flush()
    statistics.close()
    assert written == [{"hits_memory": 1000, "gpu_seconds_saved": 1000.0}]


async def settled(house) -> Counts:
    """Give this process's counts once everything drawn is stored, which is after its askers were answered."""
    await house.idle()
    return house.service.statistics.this_process().counts


@pytest.mark.anyio
class TestService:
    """Counts that the service reports to the statistics."""

    async def test_first_again_and_after_a_restart(self, studio):
        """Drawn, from memory, from disk: each picture is one count, and what it saved is what it had cost."""
        first = studio()
        drawn = await first.service.render(ASK, n=2)
        await first.service.render(ASK, n=2)
        counts = await settled(first)
        assert moved(counts) == {"misses": 2, "hits_memory": 2, "generated": 2, "writes": 2}
        cost = sum(outcome.entry.record.gpu_seconds for outcome in drawn)
        assert counts.gpu_seconds == pytest.approx(cost)
        assert counts.gpu_seconds_saved == pytest.approx(cost)
        first.close()
        second = studio()
        await second.service.render(ASK, n=2)
        assert moved(second.service.statistics.this_process().counts) == {"hits_disk": 2}

    async def test_what_bypasses_the_cache(self, studio):
        """A bypass is no miss, also with the cache switched off, where every ask is one."""
        with_cache = studio()
        await with_cache.service.render(ASK, cache=CacheMode.BYPASS)
        assert moved(with_cache.service.statistics.this_process().counts) == {"bypasses": 1, "generated": 1}
        with_cache.close()
        without = studio(caching=False)
        await without.service.render(ASK)
        assert moved(without.service.statistics.this_process().counts) == {"bypasses": 1, "generated": 1}

    async def test_refresh_is_a_miss(self, studio):
        """Who insists on a fresh picture was not answered from the cache."""
        house = studio()
        await house.service.render(ASK)
        await house.service.render(ASK, cache=CacheMode.REFRESH)
        assert moved(await settled(house)) == {"misses": 2, "generated": 2, "writes": 2}

    async def test_looking_counts_nothing(self, studio):
        """`only` that misses, look-ups and fetched pictures move no count."""
        house = studio()
        with pytest.raises(NotCached):
            await house.service.render(ASK, cache=CacheMode.ONLY)
        (outcome,) = await house.service.render(ASK)
        before = await settled(house)
        await house.service.lookup(ASK)
        await house.service.picture(outcome.name)
        assert await settled(house) == before
        assert moved(before) == {"misses": 1, "generated": 1, "writes": 1}

    async def test_one_run_for_two(self, studio, gate):
        """Two requests for one run: one miss, one shared, and the generator drew once."""
        house = studio(gate())
        first = await house.service.ask(ASK)
        second = await house.service.ask(ASK)
        house.generator.before_step.open()
        await first.outcomes()
        await second.outcomes()
        counts = house.service.statistics.this_process().counts
        assert (counts.misses, counts.shared, counts.generated) == (1, 1, 1)
        assert counts.gpu_seconds_saved == pytest.approx(counts.gpu_seconds)

    async def test_pictures_without_a_recipient(self, studio, gate):
        """A failed call loses all its pictures, one that is left too; neither counts as answered."""

        def burst(_recipe, _evaluation):
            raise OutOfMemory("as_said", text="too big")

        house = studio(burst)
        with pytest.raises(OutOfMemory):
            await house.service.render(ASK, n=3)
        house.generator.before_step = gate()
        job = await house.service.ask(ASK, n=2)
        job.leave()
        job.leave()
        assert moved(house.service.statistics.this_process().counts) == {"failures": 3, "abandoned": 2}

    async def test_the_lifetime_is_that_of_the_workspace(self, studio, tmp_path):
        """A service with a database saves at its end and finds it all again."""
        database = tmp_path / "zimage.sqlite3"
        first = studio(database=database)
        await first.service.render(ASK)
        first.close()
        second = studio(database=database)
        await second.service.render(ASK)
        lifetime = second.service.statistics.lifetime().counts
        assert moved(lifetime) == {"misses": 1, "hits_disk": 1, "generated": 1, "writes": 1}

    async def test_a_broken_database_disturbs_no_request(self, studio, tmp_path, caplog):
        """With a database that is none, pictures are drawn, found and counted as ever."""
        database = tmp_path / "zimage.sqlite3"
        database.write_bytes(b"this is no database" * 100)
        house = studio(database=database)
        await house.service.render(ASK)
        (again,) = await house.service.render(ASK)
        assert again.source is Source.MEMORY
        await settled(house)
        assert moved(house.service.statistics.lifetime().counts) == {
            "misses": 1,
            "hits_memory": 1,
            "generated": 1,
            "writes": 1,
        }
        house.close()
        # The history, which lives in the same file, sets it aside; nothing is deleted.
        assert [record.levelname for record in caplog.records if str(database) in record.getMessage()] == ["WARNING"]
        assert database.with_name("zimage.sqlite3.damaged").exists()


def test_the_overview_has_one_moment_of_everything(tmp_path):
    """What is held, the lifetime and this process, and the database they are in, also when this look makes it."""
    lifetime = Lifetime(tmp_path / "zimage.sqlite3")
    statistics = Statistics(lifetime, clock=lambda: 0.0)
    assert overview(Held(), statistics)["database"] is None
    statistics.delivered(Source.DISK, seconds=0.1, saved=1.5)
    told = overview(Held(disk_entries=3), statistics)
    assert told["database"] == lifetime.id is not None
    assert told["now"] == asdict(Held(disk_entries=3))
    assert told["lifetime"] == told["this_process"]
    assert (told["lifetime"]["since"], told["lifetime"]["hits_disk"]) == ("1970-01-01T00:00:00+00:00", 1)
    assert told["lifetime"]["hit_ratio"] == 1.0
