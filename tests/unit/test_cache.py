"""Both tiers together, and the cache that is switched off."""

import errno
import hashlib
import io
import os
import shutil
import threading
from datetime import UTC, datetime

import pytest
from PIL import Image

from tests.factories import present
from tests.waiting import Clock, wait_until
from zimage_cache.cache import thumbs
from zimage_cache.cache.cache import Held, NoCache, ResultCache
from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier, Pruned
from zimage_cache.cache.index import Listing
from zimage_cache.cache.layout import Layout
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.cache.tier import Stored
from zimage_cache.entry import Entry, Hit, Source
from zimage_cache.errors import CacheUnavailable, CacheWriteFailed
from zimage_cache.faults import Faults


@pytest.fixture
def root(tmp_path):
    yield tmp_path / "cache"
    assert check(tmp_path / "cache") == []


@pytest.fixture
def make(root):
    """Give a maker of caches on one folder: each call is a process of its own, or a restart."""

    def maker(memory: int = 0, disk: int = 0) -> ResultCache:
        return ResultCache(MemoryTier(memory), DiskTier(root, max_bytes=disk))

    return maker


@pytest.fixture
def disk(root):
    return DiskTier(root, max_bytes=0)


@pytest.fixture
def cache(disk):
    return ResultCache(MemoryTier(0), disk)


def _fail(number):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def _hits(cache: ResultCache) -> tuple[int, int]:
    counts = cache.counts()
    return counts["hits_memory"], counts["hits_disk"]


def test_memory_then_disk(make, entry):
    """After a put a hit comes from memory, after a restart from disk, and from then on from memory again."""
    mine = entry(1)
    assert make().put(mine)
    restarted = make()

    hits = [restarted.get(mine.record.key) for _ in range(3)]

    assert [hit.source for hit in hits] == [Source.DISK, Source.MEMORY, Source.MEMORY]
    assert all(hit.entry == mine for hit in hits)
    assert _hits(restarted) == (2, 1)


def test_misses_are_not_counted(cache, entry):
    """A miss is `None` and raises no counter: the service counts those."""
    before = cache.held(), cache.counts()

    assert cache.get(entry(1).record.key) is None
    assert cache.get("../etc/passwd") is None
    assert cache.peek("x") is None
    assert cache.thumbnail("y") is None
    assert cache.delete("z") is False
    assert (cache.held(), cache.counts()) == before


def test_peek_leaves_no_trace(make, entry):
    """Peeking gives the entry, counts nothing and promotes nothing."""
    make().put(entry(1))
    cache = make()

    assert cache.peek(entry(1).record.key) == entry(1)

    assert _hits(cache) == (0, 0)
    assert cache.held().memory_entries == 0


@pytest.mark.parametrize("which", ["record", "image"])
def test_deletion_by_hand_counts_at_once(root, cache, entry, which):
    """`rm` of either file is a miss at the next request, also while memory has the entry."""
    cache.put(entry(1))
    cache.get(entry(1).record.key)

    getattr(Layout(root), which)(entry(1).record.key).unlink()

    assert cache.peek(entry(1).record.key) is None
    assert cache.get(entry(1).record.key) is None
    assert cache.held().memory_entries == 0
    assert cache.counts()["corrupt"] == 0


@pytest.mark.parametrize("method", ["delete", "clear"])
def test_deletion_by_another_process_counts_at_once(make, entry, method):
    """An entry deleted or cleared by another process is a miss at the next request."""
    mine, theirs = make(), make()
    mine.put(entry(1))
    mine.get(entry(1).record.key)

    assert getattr(theirs, method)(*([entry(1).record.key] if method == "delete" else []))

    assert mine.get(entry(1).record.key) is None


def test_replacement_by_another_process_is_seen(make, entry):
    """A copy in memory of what another process has replaced is not served; the new one is read from disk."""
    mine, theirs = make(), make()
    mine.put(entry(1, look=1))
    theirs.put(entry(1, look=2))

    hit = mine.get(entry(1).record.key)

    assert (hit.entry, hit.source) == (entry(1, look=2), Source.DISK)
    assert present(mine.get(entry(1).record.key)).source is Source.MEMORY


@pytest.mark.parametrize("folder", ["keys", "images", ""])
def test_missing_folder_is_trouble_not_a_deletion(root, cache, entry, folder):
    """When a whole folder is gone (a mount lost, say), memory still serves; when it is back, all is as before."""
    cache.put(entry(1))
    (root / folder).rename(root.parent / "away")

    assert present(cache.get(entry(1).record.key)).source is Source.MEMORY
    (root.parent / "away").rename(root / folder)

    assert present(cache.get(entry(1).record.key)).source is Source.MEMORY
    shutil.rmtree(root)
    assert present(cache.get(entry(1).record.key)).source is Source.MEMORY


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_disk_that_does_not_answer_is_no_witness(cache, entry, monkeypatch, number):
    """When the look at the files fails, memory serves, and the trouble is counted."""
    cache.put(entry(1))
    monkeypatch.setattr(os, "stat", _fail(number))
    monkeypatch.setattr(os, "lstat", _fail(number))

    assert present(cache.get(entry(1).record.key)).source is Source.MEMORY

    monkeypatch.undo()
    assert cache.counts()["read_errors"] == 1


def test_failed_write_lives_in_memory(cache, entry, monkeypatch):
    """A full disk costs nothing but persistence: `False`, a counter, and the entry is served from memory."""
    monkeypatch.setattr(os, "replace", _fail(errno.ENOSPC))
    assert cache.put(entry(1)) is False

    assert present(cache.get(entry(1).record.key)).source is Source.MEMORY
    assert cache.peek(entry(1).record.key) == entry(1)
    held, counts = cache.held(), cache.counts()
    assert (counts["write_errors"], counts["writes"], held.disk_entries, held.disk_bytes) == (1, 0, 0, 0)

    monkeypatch.undo()
    assert cache.put(entry(1)) is True
    assert cache.held().disk_entries == 1


def test_failed_write_hides_the_replaced_one(cache, entry, monkeypatch):
    """A refresh that could not be written is what is served, not the older entry on disk."""
    cache.put(entry(1, look=1))
    monkeypatch.setattr(os, "fsync", _fail(errno.EIO))

    assert cache.put(entry(1, look=2)) is False
    assert present(cache.get(entry(1).record.key)).entry == entry(1, look=2)

    monkeypatch.undo()
    assert cache.delete(entry(1).record.key)
    assert cache.get(entry(1).record.key) is None


def test_a_failed_change_says_so(cache, entry, monkeypatch):
    """On a read-only disk nothing that was asked for is said to be done, or not to be there; each failure counts."""
    known, pinned, none = (entry(seed).record.key for seed in (1, 2, 3))
    for seed in (1, 2, 4):
        cache.put(entry(seed))
    cache.pin(pinned)
    monkeypatch.setattr(os, "open", _refusing_writes(os.open))
    monkeypatch.setattr(os, "unlink", _fail(errno.EROFS))

    for change in (cache.delete, cache.pin):
        with pytest.raises(CacheUnavailable, match="Read-only file system"):
            change(known)
    with pytest.raises(CacheUnavailable, match="Read-only file system"):
        cache.unpin(pinned)
    with pytest.raises(CacheUnavailable, match="0 removed before that"):
        cache.clear()
    with pytest.raises(CacheUnavailable, match="0 removed before that"):
        cache.prune(to_bytes=0)
    # What needs no change is no failure, and what is not there is not there.
    assert cache.pin(pinned)
    assert cache.prune(to_bytes=0, dry_run=True).entries == 2
    assert cache.prune(to_bytes=10**9).entries == 0
    assert [cache.delete(none), cache.pin(none), cache.unpin(none), cache.unpin(known)] == [False] * 4

    monkeypatch.undo()
    assert cache.counts()["write_errors"] == 5
    assert present(cache.get(known)).entry == entry(1)


def _refusing_writes(really):
    def opened(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return really(path, flags, *args, **kwargs)

    return opened


def test_a_clean_up_that_breaks_off_says_how_far_it_came(cache, disk, entry, monkeypatch):
    """Some are gone, one cannot be removed: neither "all" nor "none" is the answer."""
    for seed in range(4):
        cache.put(entry(seed))
    remove, left = os.unlink, [6]

    def some(path, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0 and str(path).endswith(".json"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return remove(path, *args, **kwargs)

    monkeypatch.setattr(os, "unlink", some)
    with pytest.raises(CacheUnavailable, match=r"[12] removed before that"):
        cache.prune(to_bytes=0)
    monkeypatch.undo()
    disk.keep_up()
    assert 0 < cache.held().disk_entries < 4


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "cache_disk_full"),
        (errno.EDQUOT, "cache_disk_full"),
        (errno.EROFS, "cache_read_only"),
        (errno.EACCES, "cache_read_only"),
        (errno.EIO, "cache_unwritable"),
    ],
)
def test_trouble_stands_until_it_is_over(root, entry, monkeypatch, number, code):
    """It is named once, with its cause, while it lasts; it ends with a write that works, or with a test of the disk."""
    faults = Faults()
    now = Clock()
    cache = ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0, steady=now, faults=faults))
    cache.put(entry(1))
    for over in (lambda: cache.put(entry(3)), faults.retest):
        with monkeypatch.context() as trouble:
            trouble.setattr(os, "fsync", _fail(number))
            trouble.setattr(type(root), "write_bytes", _fail(number))
            for _ in range(5):
                assert cache.put(entry(2)) is False
            faults.retest()
            (fault,) = faults.standing
            assert fault.code == code
            assert os.strerror(number) in str(fault.detail)
            assert str(root) not in str(fault.detail)
        now.now += 60  # a disk that failed is left alone that long
        over()
        assert faults.standing == []


def test_a_disk_below_its_floor_is_named_before_anything_is_written(root, entry, monkeypatch):
    """The caretaker's look is enough; with room again the trouble is over, without a write of ours."""
    faults = Faults()
    disk = DiskTier(root, max_bytes=0, min_free_bytes=10**6, faults=faults)
    disk.put(entry(1))
    with monkeypatch.context() as full:
        full.setattr(disk, "_lacking", lambda _size: 1)
        disk.keep_up()
        faults.retest()
        assert [fault.code for fault in faults.standing] == ["cache_disk_full"]
    faults.retest()
    assert faults.standing == []


def test_what_passes_is_no_trouble(root, entry):
    """All entries pinned and no room: that picture is not stored, but nothing is wrong with the disk."""
    faults = Faults()
    cache = ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0, max_entries=1, faults=faults))
    cache.put(entry(1))
    cache.pin(entry(1).record.key)
    assert cache.put(entry(2)) is False
    assert faults.standing == []


def test_oversized_is_kept_nowhere(make, entry):
    """Over a quarter of the bound: not stored, counted, no trouble."""
    cache = make(disk=1000)

    assert cache.put(entry(1)) is False

    assert cache.get(entry(1).record.key) is None
    assert (cache.counts()["oversized"], cache.counts()["write_errors"]) == (1, 0)


def test_memory_without_room_reads_the_disk(make, entry):
    """An entry larger than the memory tier is served from disk every time."""
    cache = make(memory=100)
    cache.put(entry(1))

    sources = [cache.get(entry(1).record.key).source for _ in range(2)]

    assert sources == [Source.DISK, Source.DISK]


def test_memory_hits_keep_an_entry_on_disk(make, entry):
    """Being served from memory counts as use: eviction from disk removes unused entries."""
    cache = make()
    cache.put(entry(0))
    bounded = make(disk=int(cache.held().disk_bytes * 4.5))
    for seed in range(1, 5):
        bounded.put(entry(seed))
    for seed in range(5, 8):
        assert present(bounded.get(entry(1).record.key)).source is Source.MEMORY
        bounded.put(entry(seed))

    assert bounded.get(entry(1).record.key) is not None
    assert bounded.get(entry(2).record.key) is None
    assert bounded.counts()["evictions"] >= 3
    cache.clear()


def test_corrupt_entry_heals(root, cache, entry):
    """A damaged file is a miss, counted, quarantined; storing again is all it takes."""
    cache.put(entry(1))
    os.truncate(Layout(root).image(entry(1).record.key), 10)
    restarted = ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0))

    assert restarted.get(entry(1).record.key) is None
    assert restarted.counts()["corrupt"] == 1
    assert restarted.put(entry(1))
    assert present(restarted.get(entry(1).record.key)).entry == entry(1)


def test_thumbnail_is_made_once(root, cache, entry, monkeypatch):
    """Eight simultaneous requests get the same small WebP, made once, and later ones read it from disk."""
    mine = entry(1, side=400)
    cache.put(mine)
    drawn = []
    really = thumbs.draw

    def noted(png):
        drawn.append(1)
        return really(png)

    monkeypatch.setattr(thumbs, "draw", noted)
    answers = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        answers.append(cache.thumbnail(mine.record.key))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.append(ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0)).thumbnail(mine.record.key))

    assert (len(drawn), len(set(answers))) == (1, 1)
    with Image.open(io.BytesIO(answers[0])) as picture:
        assert (picture.format, picture.size) == ("WEBP", (320, 320))
    assert _hits(cache) == (0, 0)


def test_thumbnail_goes_with_its_entry(root, cache, entry, bytes_below):
    """It is counted in the bytes, gone after a deletion by any means, and made anew for a replacement."""
    key = entry(1).record.key
    cache.put(entry(1, look=1))
    without = cache.held().disk_bytes
    first = cache.thumbnail(key)
    assert without < cache.held().disk_bytes == bytes_below(root)

    cache.put(entry(1, look=2))
    assert cache.thumbnail(key) != first

    Layout(root).image(key).unlink()
    assert cache.thumbnail(key) is None
    cache.put(entry(1))
    cache.thumbnail(key)
    assert cache.delete(key)
    assert cache.thumbnail(key) is None
    assert cache.held().disk_bytes == bytes_below(root) == 0


def test_thumbnail_of_what_is_not_on_disk(cache, entry, monkeypatch):
    """Also an entry that could not be written has one, and one that cannot be kept is given out."""
    monkeypatch.setattr(os, "replace", _fail(errno.ENOSPC))
    cache.put(entry(1))

    assert cache.thumbnail(entry(1).record.key)
    monkeypatch.undo()
    cache.put(entry(2))
    monkeypatch.setattr(os, "replace", _fail(errno.ENOSPC))
    assert cache.thumbnail(entry(2).record.key)


def test_thumbnail_of_no_picture(cache, entry):
    """An entry whose bytes are no PNG has no thumbnail, and nothing breaks."""
    content = b"no picture"
    digest = hashlib.sha256(content).hexdigest()
    record = entry(1).record.model_copy(update={"bytes": len(content), "digest": digest})
    cache.put(Entry(record, content))

    assert cache.thumbnail(record.key) is None


def test_start_learns_in_the_background(make, entry):
    """Serving works before the folder is known, and after `close`; the scan runs in a thread of its own."""
    first = make()
    for seed in range(3):
        first.put(entry(seed))
    cache = make()
    assert cache.get(entry(0).record.key)

    cache.start()
    wait_until(lambda: cache.learned)

    assert cache.held().disk_entries == 3
    cache.close()
    assert cache.get(entry(1).record.key)
    assert cache.put(entry(9))


def test_close_without_start(cache):
    """Closing what was never started is no error."""
    cache.close()


def test_start_on_an_unusable_folder(tmp_path, entry):
    """A file where the cache folder should be: everything is a miss, nothing raises, storing says no."""
    (tmp_path / "file").write_text("in the way")
    cache = ResultCache(MemoryTier(0), DiskTier(tmp_path / "file", max_bytes=0, min_free_bytes=1))
    cache.start()
    cache.close()

    assert cache.get(entry(1).record.key) is None
    assert cache.put(entry(1)) is False
    assert present(cache.get(entry(1).record.key)).source is Source.MEMORY
    assert cache.thumbnail(entry(1).record.key)
    with pytest.raises(CacheUnavailable):
        cache.clear()


def test_pins_and_lists_reach_through(make, entry):
    """Pinning, listing, showing and pruning use the disk; pruned entries are not served from memory."""
    cache = make()
    for seed in range(3):
        cache.put(entry(seed))
    key = entry(1).record.key

    assert cache.pin(key)
    assert [item.pinned for item in cache.entries("circle").items].count(True) == 1
    assert cache.held().pinned == 1
    assert cache.prune(to_bytes=0, dry_run=True) == cache.prune(to_bytes=0)
    assert [cache.get(entry(seed).record.key) is not None for seed in range(3)] == [False, True, False]
    assert cache.show(key).seed == 1
    assert cache.show(entry(0).record.key) is None
    assert cache.clear() == 0
    assert present(cache.get(key)).source is Source.DISK
    assert cache.unpin(key)
    assert not cache.unpin(key)
    assert cache.clear() == 1


def test_deleting_what_is_gone_already(root, cache, entry):
    """A copy in memory of files that were removed by hand is no entry any more: delete finds nothing."""
    cache.put(entry(1))
    Layout(root).record(entry(1).record.key).unlink()

    assert cache.delete(entry(1).record.key) is False
    assert cache.held().memory_entries == 0


def test_too_old_for_memory_too(root, entry):
    """Above the TTL a copy in memory is no better than the file, whether it is on disk or could not be written."""
    now = [entry(1).record.created.timestamp()]
    cache = ResultCache(MemoryTier(0), DiskTier(root, max_bytes=0, ttl_seconds=60.0, clock=lambda: now[0]))
    cache.put(entry(1))
    assert present(cache.get(entry(1).record.key)).source is Source.MEMORY
    now[0] += 61

    assert cache.get(entry(1).record.key) is None
    assert cache.peek(entry(1).record.key) is None
    assert (cache.counts()["expired"], cache.held().memory_entries) == (1, 0)
    now[0] -= 61
    assert present(cache.get(entry(1).record.key)).source is Source.DISK


def test_hits_in_memory_are_written_for_other_processes(make, cache, disk, entry):
    """What is served from memory in one process is what another evicts last."""
    mine, theirs = cache, make()
    for seed in range(4):
        mine.put(entry(seed))
    for _ in range(5):
        assert present(mine.get(entry(2).record.key)).source is Source.MEMORY
    disk.keep_up()

    assert theirs.entries().items
    assert theirs.show(entry(2).record.key).frequency == 6
    assert theirs.prune(to_bytes=mine.held().disk_bytes // 4 + 100).entries == 3
    assert theirs.get(entry(2).record.key)


def test_victim_age(cache, disk, entry):
    """It says how long the last victim had not been used; nothing before the first."""
    cache.put(entry(0))
    assert cache.held().victim_age_seconds is None
    disk.max_entries = 1
    cache.put(entry(1))

    assert 0 <= cache.held().victim_age_seconds < 3600


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE])
def test_nothing_raises_in_any_trouble(cache, disk, entry, monkeypatch, number):
    """With every call to the system failing, every method answers, or says that it failed; then all is as before."""
    cache.put(entry(1))
    disk.scan()
    for call in ("open", "replace", "unlink", "mkdir", "fsync", "stat", "lstat", "scandir", "utime"):
        monkeypatch.setattr(os, call, _fail(number))

    assert present(cache.get(entry(1).record.key)).source is Source.MEMORY
    assert cache.put(entry(2)) is False
    assert present(cache.get(entry(2).record.key)).source is Source.MEMORY
    assert cache.get(entry(3).record.key) is None
    assert cache.thumbnail(entry(1).record.key)
    for change in (cache.pin, cache.unpin, cache.delete):
        with pytest.raises(CacheUnavailable, match=r"cannot be .* now: "):
            change(entry(1).record.key)
    assert cache.entries().items == []
    assert cache.show(entry(1).record.key) is None
    with pytest.raises(CacheUnavailable, match="can be removed now: "):
        cache.prune(to_bytes=0)
    cache.generation(entry(1).record.key).release()
    disk.scan()
    disk.scrub(10**6)
    disk.keep_up()

    monkeypatch.undo()
    assert cache.put(entry(3)) is True
    assert present(cache.get(entry(1).record.key)).entry == entry(1)
    assert cache.counts()["corrupt"] == 0


def test_what_is_held_is_what_lies_there(cache, entry, bytes_below, root):
    """Bytes, entries and pins are those of the folder and of memory."""
    entries = [entry(seed) for seed in range(3)]
    for each in entries:
        cache.put(each)
    assert cache.pin(entries[0].record.key)
    held = cache.held()
    assert (held.disk_entries, held.memory_entries, held.pinned) == (3, 3, 1)
    assert held.disk_bytes == bytes_below(root)
    assert held.memory_bytes == sum(len(each.png) for each in entries)


def test_prune_says_what_it_takes(cache, entry, bytes_below, root):
    """Entries and bytes are those that went, or would; a dry run takes none."""
    for seed in range(2):
        cache.put(entry(seed))
    before = bytes_below(root)
    for dry_run, left in ((True, before), (False, 0)):
        assert cache.prune(to_bytes=0, dry_run=dry_run) == Pruned(2, before)
        assert bytes_below(root) == left


LATER = datetime(2026, 12, 24, tzinfo=UTC).timestamp()  # than all entries of tests


class Shelf(dict):
    """A tier beyond the disk, in a dictionary."""

    source = Source.SHARED
    instant = False

    def __init__(self) -> None:
        super().__init__()
        self.touched: list[str] = []

    def peek(self, key):
        return self.get(key)

    def put(self, entry, _signature=None):
        self[entry.record.key] = Stored(entry, None)
        return self[entry.record.key]

    def delete(self, key):
        return self.pop(key, None) is not None

    def drop(self, stored):
        self.delete(stored.key)

    def still(self, _stored):
        return True

    def touch(self, key):
        self.touched.append(key)

    def prune(self, *, older_than):
        limit = LATER - older_than
        old = [key for key, stored in self.items() if stored.entry.record.created.timestamp() < limit]
        return sum(map(self.delete, old))

    def clear(self):
        gone = len(self)
        super().clear()
        return gone


def test_a_further_tier_is_asked_last_and_its_hits_are_stored(disk, entry):
    """What only it has is a hit of its own source, is then on disk and in memory, and is found there."""
    beyond = Shelf()
    cache = ResultCache(MemoryTier(0), disk, [beyond])
    mine = entry(1)
    beyond.put(mine)
    key = mine.record.key
    assert cache.recall(key) is None
    assert cache.peek(key) == mine
    assert [present(cache.get(key)).source for _ in range(2)] == [Source.SHARED, Source.MEMORY]
    assert beyond.touched == [key]
    assert present(ResultCache(MemoryTier(0), disk).get(key)).source is Source.DISK
    assert cache.counts()["hits_shared"] == 1


def test_a_further_tier_gets_what_is_put_and_loses_what_is_deleted(disk, entry):
    """Stored and deleted in every tier; a deletion on disk alone voids the copy in memory, not the further one."""
    beyond = Shelf()
    cache = ResultCache(MemoryTier(0), disk, [beyond])
    key = entry(1).record.key
    assert cache.put(entry(1))
    assert key in beyond
    disk.delete(key)
    assert present(cache.get(key)).source is Source.SHARED
    assert cache.delete(key)
    assert (key in beyond, cache.get(key), cache.delete(key)) == (False, None, False)


def test_a_further_tier_is_cleared_too(disk, entry):
    """What a clear removed is not found there again."""
    beyond = Shelf()
    cache = ResultCache(MemoryTier(0), disk, [beyond])
    cache.put(entry(1))
    beyond.put(entry(2))
    assert cache.clear() == 1
    assert [cache.get(entry(seed).record.key) for seed in (1, 2)] == [None, None]


def test_a_further_tier_loses_what_is_too_old_and_keeps_what_had_no_room(disk, entry):
    """Pruning by age reaches it, also for what the disk has lost before; bounds of the disk, and a dry run, do not."""
    beyond = Shelf()
    cache = ResultCache(MemoryTier(0), disk, [beyond])
    cache.put(entry(1))
    beyond.put(entry(2))
    assert cache.prune(to_bytes=0).entries == 1
    cache.prune(older_than=0, dry_run=True)
    assert len(beyond) == 2
    cache.prune(older_than=0)
    assert len(beyond) == 0


def test_a_further_tiers_hit_is_a_miss_once_it_is_too_old(root, entry):
    """`--cache-ttl` holds wherever a picture lies."""
    beyond = Shelf()
    disk = DiskTier(root, max_bytes=0, ttl_seconds=1.0, clock=lambda: LATER)
    cache = ResultCache(MemoryTier(0), disk, [beyond])
    beyond.put(entry(1))
    assert cache.get(entry(1).record.key) is None
    assert len(beyond) == 0


def test_a_further_tier_that_fails_costs_no_put(disk, entry, monkeypatch):
    """What is on disk is stored, whatever a tier beyond it says."""

    def fail(_entry, _signature=None):
        raise CacheWriteFailed("unreachable")

    beyond = Shelf()
    monkeypatch.setattr(beyond, "put", fail)
    cache = ResultCache(MemoryTier(0), disk, [beyond])
    assert cache.put(entry(1))
    assert cache.get(entry(1).record.key) == Hit(entry(1), Source.MEMORY)


def test_a_further_tiers_hit_is_served_where_the_disk_is_full(disk, entry, monkeypatch):
    """What cannot be stored is served all the same, and kept in memory no longer than that has room."""
    beyond = Shelf()
    cache = ResultCache(MemoryTier(0), disk, [beyond])
    beyond.put(entry(1))
    monkeypatch.setattr(os, "fsync", _fail(errno.ENOSPC))
    assert present(cache.get(entry(1).record.key)).source is Source.SHARED
    assert cache.counts()["write_errors"] == 1


def test_switched_off_it_holds_nothing(entry):
    """Every look-up misses, what is put is gone, every list is empty; each key may be generated."""
    off = NoCache()
    off.start()
    key = entry(1).record.key
    assert off.put(entry(1))
    assert [off.get(key), off.recall(key), off.peek(key), off.thumbnail(key), off.show(key)] == [None] * 5
    assert [off.delete(key), off.pin(key), off.unpin(key)] == [False] * 3
    assert (off.held(), off.entries(), off.prune(to_bytes=0), off.clear()) == (
        Held(),
        Listing([], None),
        Pruned(0, 0),
        0,
    )
    assert off.counts()["writes"] == 0
    rights = [off.generation(key), off.generation(key)]
    for right in rights:
        present(right).release()
    off.close()


def test_the_switched_off_cache_has_every_method():
    """What the service may call on one cache it may call on the other."""
    methods = {name for name in vars(ResultCache) if not name.startswith("_")}
    assert methods <= {name for name in vars(NoCache) if not name.startswith("_")}
