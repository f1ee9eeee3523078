"""Both tiers as one: memory over disk, where the disk is the truth and memory a copy of it."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from zimage_cache.cache import thumbs
from zimage_cache.cache.caretaker import Caretaker
from zimage_cache.cache.disk import DiskTier, Pruned
from zimage_cache.cache.index import Listed, Listing
from zimage_cache.cache.layout import is_key
from zimage_cache.cache.locks import Generation
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.cache.tier import FurtherTier, OnProgress, Stored, Tier, ignore_progress
from zimage_cache.entry import Entry, Hit
from zimage_cache.errors import CacheUnavailable, CacheWriteFailed, CorruptEntry

_MAKERS = 16


@contextmanager
def _refused(rule: str) -> Iterator[None]:
    """Convert the error of a disk that refuses a change: the template *rule* tells what did not happen."""
    try:
        yield
    except CacheWriteFailed as error:
        raise CacheUnavailable(rule, error=error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a cache holds now.

    Args:
        memory_bytes: PNG bytes in memory.
        memory_entries: Entries in memory.
        disk_bytes: Bytes of records, pictures and thumbnails on disk.
        disk_entries: Entries on disk.
        pinned: Entries on disk that are only removed when deleted by key.
        victim_age_seconds: Seconds between the last use and the eviction of the entry that this process evicted last;
            None before the first. A small value means that the bound is small for what is asked for.
        memory_max_bytes: The bound of `memory_bytes`; 0 = none.
        disk_max_bytes: The bound of `disk_bytes`; 0 = none.
    """

    memory_bytes: int = 0
    memory_entries: int = 0
    disk_bytes: int = 0
    disk_entries: int = 0
    pinned: int = 0
    victim_age_seconds: float | None = None
    memory_max_bytes: int = 0
    disk_max_bytes: int = 0


class _Step(NamedTuple):
    """A tier and what its hits are counted as, the faster tiers, the nearest of them first, and the slower ones.

    `judges` are all others: each may say that what this one has must not be served any more.
    """

    tier: Tier
    hits: str
    faster: tuple[Tier, ...]
    slower: tuple[Tier, ...]
    judges: tuple[Tier, ...]


class ResultCache:
    """Pictures by key, in several tiers. No method raises a `CacheError`: trouble is counted and logged.

    `delete`, `clear`, `prune`, `pin` and `unpin` raise `CacheUnavailable` where the disk refuses: what they were asked
    for did not happen, or not all of it, and the caller must not be told otherwise.

    The disk decides what there is: a copy in memory is served while the disk still has the same. Tiers beyond the disk
    are asked last; what they have is stored on disk and in memory.

    Args:
        memory: Holds copies of what is on disk, and what could not be written there.
        disk: Holds everything else.
        beyond: Further tiers, the fastest first.

    Threads: any. All but `recall`, `held` and `counts` may block for the disk: not for an event loop.
    """

    enabled = True

    def __init__(self, memory: MemoryTier, disk: DiskTier, beyond: Sequence[FurtherTier] = ()) -> None:
        self._memory = memory
        self._disk = disk
        self._beyond = beyond
        tiers: tuple[Tier, ...] = (memory, disk, *beyond)  # in the order in which they are asked
        self._steps = [
            _Step(tier, f"hits_{tier.source}", tiers[:at][::-1], tiers[at + 1 :], tiers[:at] + tiers[at + 1 :])
            for at, tier in enumerate(tiers)
        ]
        self._instant = list(takewhile(lambda step: step.tier.instant, self._steps))
        # One maker of a thumbnail at a time for each; the first digit of the key tells which.
        self._makers = [threading.Lock() for _ in range(_MAKERS)]
        self._caretaker = Caretaker(disk)

    def start(self) -> None:
        """Begin to look after the disk in the background: learn what is there, tell others, sweep, scrub.

        Everything works before the first round is done.
        """
        self._caretaker.start()

    @property
    def learned(self) -> bool:
        """Whether the first look at the whole disk is done."""
        return self._caretaker.learned.is_set()

    def close(self) -> None:
        """Stop that at once, and close the index; everything else goes on working."""
        self._caretaker.stop()
        self._disk.close()

    def get(self, key: str) -> Hit | None:
        """Look *key* up in one tier after another; what is found counts as used and is kept in the faster ones."""
        return self._first_hit(key, self._steps)

    def recall(self, key: str) -> Hit | None:
        """Look *key* up in the instant tiers alone: some microseconds, so that an event loop may."""
        return self._first_hit(key, self._instant)

    def peek(self, key: str, *, instantly: bool = False) -> Entry | None:
        """Look *key* up just as safely, but count, touch and promote nothing; *instantly*: as `recall`."""
        steps = self._instant if instantly else self._steps
        found = (self._valid(step, step.tier.peek(key)) for step in steps)
        return next((stored.entry for stored in found if stored is not None), None)

    def put(self, entry: Entry) -> bool:
        """Store *entry*, replacing an older one; return whether it is on disk.

        One that could not be written stays in memory for as long as that has room. One that is over a quarter of
        the disk's bound is not kept at all.
        """
        try:
            stored = self._disk.put(entry)
        except CacheWriteFailed:
            self._memory.put(entry)
            return False
        if stored is None:
            return False
        for tier in (self._memory, *self._beyond):
            with suppress(CacheWriteFailed):  # counted and logged; it is on disk
                tier.put(*stored)
        return True

    def delete(self, key: str) -> bool:
        """Remove *key* from all tiers; return whether one of them had it."""
        remembered = self._valid(self._steps[0], self._memory.peek(key)) is not None
        with _refused("cannot_delete"):
            deleted = [tier.delete(key) for tier in (self._disk, *self._beyond)]
        self._memory.delete(key)
        return remembered or any(deleted)

    def clear(self, *, pinned: bool = False, on_progress: OnProgress = ignore_progress) -> int:
        """Remove everything from all tiers; return how many entries the disk had.

        Args:
            pinned: Also what is pinned on the disk.
            on_progress: Called with the number of keys done and of all keys.
        """
        with _refused("cannot_clear"):
            removed = self._disk.clear(pinned=pinned, on_progress=on_progress)
            for tier in self._beyond:
                tier.clear()
        self._memory.clear()
        return removed

    def prune(
        self,
        *,
        older_than: float | None = None,
        to_bytes: int | None = None,
        to_entries: int | None = None,
        dry_run: bool = False,
        on_progress: OnProgress = ignore_progress,
    ) -> Pruned:
        """Remove entries that are not pinned; blocks for a look at the whole disk.

        Args:
            older_than: First, in every tier, what was drawn more than so many seconds ago; None = nothing for its age.
            to_bytes: Then, in the order of eviction, as many as bring the disk down to so many bytes; as with
                eviction, what is beyond the disk stays.
            to_entries: And to so many entries.
            dry_run: Only say what would go.
            on_progress: Called with the number of keys done and of all keys, once it removes.

        Returns:
            What went, or would go, from the disk.
        """
        with _refused("cannot_prune"):
            pruned = self._disk.prune(
                older_than=older_than,
                to_bytes=to_bytes,
                to_entries=to_entries,
                dry_run=dry_run,
                on_progress=on_progress,
            )
            if older_than is not None and not dry_run:
                for tier in self._beyond:
                    tier.prune(older_than=older_than)
        return pruned

    def pin(self, key: str, unstored: Entry | None = None) -> bool:
        """Keep an entry on disk from being evicted or getting too old; return whether that is so now.

        One that could not be written, or is only about to be (*unstored*), is written for that.
        """
        with _refused("cannot_pin"):
            if self._disk.pin(key):
                return True
            kept = self._memory.peek(key)
            entry = unstored if kept is None or kept.signature is not None else kept.entry
            return entry is not None and self._store(entry) and self._disk.pin(key)

    def unpin(self, key: str) -> bool:
        """Treat an entry like all others again; return whether it was pinned."""
        with _refused("cannot_unpin"):
            return self._disk.unpin(key)

    def pinned_keys(self) -> set[str]:
        """Return the keys of the entries that are pinned; blocks for the disk."""
        return self._disk.pinned_keys()

    def marks(self, keys: Iterable[str]) -> dict[str, bool]:
        """Return for each of *keys* that is on disk whether it is pinned; no picture is read. Blocks for the disk."""
        return self._disk.marks(keys)

    def entries(self, query: str = "", limit: int = 50, cursor: str | None = None) -> Listing:
        """List what is on disk, newest first.

        Args:
            query: Words that the prompt must hold, in any order; upper and lower case are the same for a to z.
            limit: How many at most.
            cursor: Where an earlier list ended.

        Raises:
            InvalidRequest: *cursor* is none that a list gave.
        """
        return self._disk.page(query, limit, cursor)

    def show(self, key: str) -> Listed | None:
        """Say about one entry what lists say; nothing is counted or touched."""
        return self._disk.show(key)

    def generation(self, key: str) -> Generation | None:
        """Take the right to generate *key*, for the caller to release; None while another process has it.

        Never waits. A killed holder has nothing any more.
        """
        return self._disk.generation(key)

    def thumbnail(self, key: str) -> bytes | None:
        """Return a WebP, longest side at most 320 pixels, made once; `None` when there is no entry."""
        if not is_key(key):
            return None
        if (webp := self._disk.thumbnail(key)) is not None:
            return webp
        with self._makers[int(key[0], 16)]:
            return self._disk.thumbnail(key) or self._make_thumbnail(key)

    def held(self) -> Held:
        """Return what both tiers hold now; never blocks for the disk."""
        return Held(
            memory_bytes=self._memory.bytes,
            memory_entries=len(self._memory),
            disk_bytes=self._disk.bytes,
            disk_entries=len(self._disk),
            pinned=self._disk.pinned,
            victim_age_seconds=self._disk.victim_age,
            memory_max_bytes=self._memory.max_bytes,
            disk_max_bytes=self._disk.max_bytes,
        )

    def counts(self) -> Counter[str]:
        """Return how often each event happened since this process began, by name; never blocks for the disk."""
        return self._disk.tally.counts()

    def _store(self, entry: Entry) -> bool:
        stored = self._disk.put(entry)
        if stored is None:
            raise CacheWriteFailed("it is over a quarter of --cache-max-bytes")
        self._memory.put(*stored)
        return True

    def _first_hit(self, key: str, steps: Iterable[_Step]) -> Hit | None:
        for step in steps:
            if (stored := self._valid(step, step.tier.get(key))) is not None:
                self._disk.tally.add(step.hits)
                self._promote(step, stored)
                return Hit(stored.entry, step.tier.source)
        return None

    def _valid(self, step: _Step, stored: Stored | None) -> Stored | None:
        """Pass on what a tier has, if every other one says that it may be served; forget it otherwise."""
        if stored is None:
            return None
        for tier in step.judges:
            if not tier.still(stored):
                step.tier.drop(stored)
                return None
        return stored

    def _promote(self, step: _Step, stored: Stored) -> None:
        """Count a hit in the slower tiers as well, and keep it in the faster ones."""
        for tier in step.slower:
            tier.touch(stored.key)
        for tier in step.faster:
            with suppress(CacheWriteFailed):  # counted and logged; the tier that has it keeps it
                stored = tier.put(*stored) or stored

    def _make_thumbnail(self, key: str) -> bytes | None:
        if (entry := self.peek(key)) is None:
            return None
        try:
            webp = thumbs.draw(entry.png)
            self._disk.put_thumbnail(entry.record, webp)
        except CorruptEntry:
            return None  # nothing was damaged here: what was stored never was a picture
        except CacheWriteFailed:
            return webp
        return webp


class NoCache:
    """A cache that is switched off: it holds nothing, stores nothing, and has the methods of `ResultCache`."""

    enabled = False
    learned = True

    def start(self) -> None: ...

    def close(self) -> None: ...

    def get(self, _key: str) -> Hit | None:
        return None

    recall = get

    def peek(self, _key: str, *, instantly: bool = False) -> Entry | None:  # noqa: ARG002 - as of a cache
        return None

    def put(self, _entry: Entry) -> bool:
        """Store nothing, which is no failure: return True."""
        return True

    def delete(self, _key: str) -> bool:
        return False

    unpin = delete

    def pin(self, _key: str, _unstored: Entry | None = None) -> bool:
        return False

    def clear(self, *, pinned: bool = False, on_progress: OnProgress = ignore_progress) -> int:  # noqa: ARG002
        return 0

    def prune(self, **_bounds: object) -> Pruned:
        return Pruned(0, 0)

    def pinned_keys(self) -> set[str]:
        return set()

    def marks(self, _keys: Iterable[str]) -> dict[str, bool]:
        return {}

    def entries(self, _query: str = "", _limit: int = 50, _cursor: str | None = None) -> Listing:
        return Listing([], None)

    def show(self, _key: str) -> Listed | None:
        return None

    def generation(self, _key: str) -> Generation | None:
        """Give the right to generate to every caller: no other process shares results."""
        return Generation()

    def thumbnail(self, _key: str) -> bytes | None:
        return None

    def held(self) -> Held:
        return Held()

    def counts(self) -> Counter[str]:
        return Counter()


AnyCache = ResultCache | NoCache
