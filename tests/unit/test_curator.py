"""`Curator`: what people ask of the cache reaches both tiers, the shelf and the statistics, and nothing else."""

from collections.abc import Iterator
from dataclasses import asdict

import pytest

from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.listing import Listing
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.cache.tiered import ResultCache
from zimage_cache.service.curator import Curator, Held, held_by
from zimage_cache.service.lifetime import Lifetime
from zimage_cache.service.shelf import Shelf
from zimage_cache.service.statistics import Answer, Statistics


@pytest.fixture
def cache(tmp_path) -> Iterator[ResultCache]:
    made = ResultCache(MemoryTier(0), DiskTier(tmp_path / "cache", max_bytes=0))
    yield made
    made.close()
    assert check(tmp_path / "cache") == []


@pytest.fixture
def curator(cache) -> Curator:
    return Curator(cache, Shelf(2**20), Statistics(None))


def test_what_is_held_is_what_lies_there(curator, cache, entry, bytes_below, tmp_path):
    """Bytes, entries and pins are those of the folder and of memory."""
    entries = [entry(seed) for seed in range(3)]
    for each in entries:
        cache.put(each)
    assert curator.pin(entries[0].record.key)
    held = curator.held()
    assert (held.disk_entries, held.memory_entries, held.pinned) == (3, 3, 1)
    assert held.disk_bytes == bytes_below(tmp_path / "cache")
    assert held.memory_bytes == sum(len(each.png) for each in entries)
    assert held == held_by(cache.stats())


def test_the_overview_has_one_moment_of_everything(cache, tmp_path):
    """What is held, the lifetime and this process, and the database they are in, also when this look makes it."""
    lifetime = Lifetime(tmp_path / "zimage.sqlite3")
    statistics = Statistics(lifetime, clock=lambda: 0.0)
    curator = Curator(cache, Shelf(2**20), statistics)
    assert curator.overview()["database"] is None
    statistics.delivered(Answer.DISK, seconds=0.1, saved=1.5)
    told = curator.overview()
    assert told["database"] == lifetime.id is not None
    assert told["now"] == asdict(Held())
    assert told["lifetime"] == told["this_process"]
    assert (told["lifetime"]["since"], told["lifetime"]["hits_disk"]) == ("1970-01-01T00:00:00+00:00", 1)
    assert told["lifetime"]["hit_ratio"] == 1.0


def test_a_pin_needs_a_picture(curator, cache, entry):
    """Unpinning what was not pinned is no error, pinning or unpinning nothing is."""
    key = entry(1).record.key
    assert not curator.pin(key)
    assert not curator.unpin(key)
    cache.put(entry(1))
    assert curator.unpin(key)
    assert curator.pin(key)
    assert curator.pin(key)
    assert curator.unpin(key)
    assert curator.held().pinned == 0


def test_a_deletion_reaches_the_shelf(cache, entry):
    """A picture that waits to be stored, or could not be, is deleted as well, and not served afterwards."""
    shelf, waiting = Shelf(2**20), entry(1)
    curator = Curator(cache, shelf, Statistics(None))
    key = waiting.record.key
    shelf.put(key, waiting)
    assert curator.delete(key)
    assert shelf.get(key) is None
    assert not curator.delete(key)
    cache.put(waiting)
    assert curator.delete(key)
    assert cache.peek(key) is None


def test_without_a_cache_there_is_nothing():
    """Switched off, every question has an empty answer."""
    curator = Curator(None, Shelf(2**20), Statistics(None))
    assert curator.held() == Held()
    assert curator.entries() == Listing([], None)
    assert not curator.delete("0" * 64)
    assert curator.prune(older_than=0, to_bytes=0, to_entries=0, dry_run=False).entries == 0


def test_prune_says_what_it_takes(curator, cache, entry, bytes_below, tmp_path):
    """Entries and bytes are those that went, or would; a dry run takes none."""
    for seed in range(2):
        cache.put(entry(seed))
    before = bytes_below(tmp_path / "cache")
    for dry_run, left in ((True, before), (False, 0)):
        pruned = curator.prune(older_than=None, to_bytes=0, to_entries=None, dry_run=dry_run)
        assert (pruned.entries, pruned.bytes) == (2, before)
        assert bytes_below(tmp_path / "cache") == left
