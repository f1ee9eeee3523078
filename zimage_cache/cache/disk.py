"""The second tier: a folder of verified entries, bounded in bytes, number, age and by the disk's free space.

Decides what may stay, what fits, and what to count. `store` reads and writes the files, `ledger` has the sizes and
values of what lies there and compares itself with the folder, `trouble` counts and logs what fails.
"""

import builtins
import errno
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zimage_cache.cache import files, thumbs
from zimage_cache.cache.eviction import Order, Policy
from zimage_cache.cache.index import Index, Listed, Listing
from zimage_cache.cache.layout import is_key
from zimage_cache.cache.ledger import Bounds, Inventory, Ledger
from zimage_cache.cache.locks import Generation
from zimage_cache.cache.store import MAX_IMAGE, MAX_RECORD, Store
from zimage_cache.cache.tier import OnProgress, Signature, Stored, ignore_progress
from zimage_cache.cache.trouble import BELOW_MIN_FREE, DiskFull, DiskTrouble, LimitedWarnings, Tally
from zimage_cache.entry import Entry, Record, Source
from zimage_cache.errors import CacheError, CacheWriteFailed, CorruptEntry
from zimage_cache.faults import Faults, can_be_written

# An entry may take a quarter of the bound at most: a few giants must not empty the cache.
_LARGEST_SHARE = 4
# How many entries at most go in one call: to make room for other programs when those have filled the disk, and, beside
# a caretaker, for one that is written.
_BATCH = 16
# How many entries that cannot be removed are passed over.
_STUBBORN = 4
# How far the order that survives the loss of the index may lag behind.
_TOUCH_SECONDS = 3600.0
# How long an entry must have been too old before it is swept: a clock that was set wrong is set right meanwhile.
_DOOMED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a clean-up removed, or would: entries, and the bytes of all their files."""

    entries: int
    bytes: int


class DiskTier:
    """Entries in a folder that other processes may be using at the same time.

    Reads never raise: trouble is counted, logged and a miss. Writes raise `CacheWriteFailed`, counted and logged.

    Args:
        root: The folder; made on the first write.
        max_bytes: Bound on the bytes of records, pictures and thumbnails together; 0 = no limit. Until `scan` is
            through, what the index says and this process has met counts, and nothing is evicted. See `attended`.
        max_entries: Bound on the number of entries; 0 = no limit.
        ttl_seconds: Age, from the moment it was drawn, above which an entry is a miss; 0 = none.
        min_free_bytes: Bytes of the file system to leave to others; 0 = none.
        policy: Who goes first when room is needed, see `eviction`.
        clock: Seconds since 1970.
        steady: Monotonic seconds.
        warnings: Where trouble is logged.
        faults: Where trouble stands while it lasts.

    `attended` tells that a caretaker scans the folder and brings it down to the bounds, in small batches. Then a write
    waits for neither: it evicts one batch at most, and where that is too little, or nothing is known yet, the bounds
    are exceeded by what is written until the caretaker comes to it. Unattended, each write does all that itself, and
    the bounds hold at every instant.

    Threads: any. A caller that changes files holds the stripe of their key and no other; room is made before that.
    """

    source: Final = Source.DISK
    instant: Final = False

    def __init__(
        self,
        root: Path,
        *,
        max_bytes: int,
        max_entries: int = 0,
        ttl_seconds: float = 0.0,
        min_free_bytes: int = 0,
        policy: Policy = "gdsf",
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        warnings: LimitedWarnings | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self.ttl_seconds = ttl_seconds
        self.min_free_bytes = min_free_bytes
        self.attended = False
        self.tally = Tally()
        self.victim_age: float | None = None  # of the last one evicted, in seconds since it was last used
        self._clock = clock
        self._steady = steady
        self._store = Store(root)
        warnings = warnings or LimitedWarnings()
        index = Index(root, tally=self.tally, warnings=warnings, clock=steady)
        self._ledger = Ledger(index, Order(policy), clock)
        self._trouble = DiskTrouble(root, self.tally, warnings, steady, faults=faults or Faults(), works=self._writable)
        self._inventory = Inventory(self._store, self._ledger, clock)
        self._scanning = threading.Lock()
        self._doomed: dict[str, float] = {}
        self._unvisited: Iterator[str] | None = None
        self._yielded = False

    def __len__(self) -> int:
        return self._ledger.entries

    @property
    def bytes(self) -> int:
        """Bytes on disk, as far as this process knows."""
        return self._ledger.bytes

    @property
    def pinned(self) -> int:
        """Entries that are pinned, as far as this process knows."""
        return self._ledger.pinned

    def get(self, key: str) -> Stored | None:
        """Read a verified entry and make it the most recently used."""
        stored = self._found(key)
        if stored is None:
            return None
        if self._expired(stored.entry.record):
            self.tally.add("expired")
            return None
        self.touch(key)
        return stored

    def peek(self, key: str) -> Stored | None:
        """Read a verified entry without touching it."""
        stored = self._found(key)
        return None if stored is None or self._expired(stored.entry.record) else stored

    def put(self, entry: Entry, _signature: Signature | None = None) -> Stored | None:
        """Write an entry; blocks for the disk.

        Returns:
            `None` when it is over a quarter of the bound, and so not stored.

        Raises:
            CacheWriteFailed: Counted and logged already.
        """
        record_bytes = len(entry.record.to_json().encode())
        if self._too_large(len(entry.png), record_bytes):
            self.tally.add("oversized")
            return None
        key = entry.record.key
        with self._trouble.writing():
            with self._room(len(entry.png) + record_bytes, key), self._inventory.changing(key):
                stored = self._store.commit(entry)
            self.tally.add("writes")
            self._renew(key)
            if not self.attended:
                with suppress(CacheError):  # other processes may have written meanwhile; it is stored in any case
                    self._make_room()
            return stored

    def delete(self, key: str) -> bool:
        """Remove an entry durably; return whether there was one.

        Raises:
            CacheWriteFailed: Counted and logged already.
        """
        if not is_key(key):
            return False
        with self._trouble.changing():
            # What is not there needs no lock, which a read-only disk refuses.
            return self._store.there(key) and bool(self._remove([key], pinned=True))

    def clear(self, *, pinned: bool = False, on_progress: OnProgress = ignore_progress) -> int:
        """Remove everything, also what other processes wrote; return how many entries that were.

        Args:
            pinned: Also what is pinned.
            on_progress: Called with the number of keys done and of all keys.

        Raises:
            CacheWriteFailed: Counted and logged already; some may be gone.
        """
        with self._trouble.changing():
            return len(self._remove(self._store.survey(), pinned=pinned, on_progress=on_progress))

    def prune(
        self,
        *,
        older_than: float | None = None,
        to_bytes: int | None = None,
        to_entries: int | None = None,
        dry_run: bool = False,
        on_progress: OnProgress = ignore_progress,
    ) -> Pruned:
        """Remove entries that are not pinned.

        Args:
            older_than: First what was drawn more than so many seconds ago; None = nothing for its age.
            to_bytes: Then, in the order of eviction, as many as bring the folder down to so many bytes.
            to_entries: And to so many entries.
            dry_run: Only say what would go.
            on_progress: Called with the number of keys done and of all keys.

        Raises:
            CacheWriteFailed: Counted and logged already; some may be gone.
        """
        self.scan()
        chosen = dict(self._ledger.surplus(older_than, to_bytes, to_entries))
        if not dry_run:
            with self._trouble.changing():
                removed = self._remove(chosen, on_progress=on_progress)
            chosen = {key: each for key, each in chosen.items() if key in removed}
        return Pruned(sum(each.whole for each in chosen.values()), sum(each.bytes for each in chosen.values()))

    def pin(self, key: str) -> bool:
        """Keep an entry from being evicted or getting too old; return whether there is one.

        Raises:
            CacheWriteFailed: Counted and logged already.
        """
        if not is_key(key):
            return False
        with self._trouble.changing():
            if self._store.whole_record(key) is None:
                return False
            if self._store.pinned(key):
                return True
            with self._inventory.changing(key):
                return self._store.pin(key)

    def unpin(self, key: str) -> bool:
        """Treat an entry like all others again; return whether it was pinned.

        Raises:
            CacheWriteFailed: Counted and logged already.
        """
        if not is_key(key):
            return False
        with self._trouble.changing():
            if not self._store.pinned(key):
                return False
            with self._inventory.changing(key):
                return self._store.unpin(key)

    def pinned_keys(self) -> set[str]:
        """Return the keys of the entries that are pinned, by whichever process; empty where the disk does not say."""
        with suppress(CacheError):
            return self._store.pinned_keys()
        return set()

    def marks(self, keys: Iterable[str]) -> dict[str, bool]:
        """Return for each of *keys* that is on disk whether it is pinned."""
        return self._store.marks(keys)

    def generation(self, key: str) -> Generation | None:
        """Take the right to generate *key* among all processes on this folder; None while another has it.

        Where no locks can be had, every caller has the right: a picture drawn twice is better than none.
        """
        try:
            return Generation.take(self._store.layout.locks, key)
        except CacheError as error:
            self._trouble.note("write_errors", f"lock {files.kind(error)}", str(error))
            return Generation()

    def page(self, query: str, limit: int, cursor: str | None) -> Listing:
        """List entries, newest first; blocks for a scan when the index does not know them all.

        Raises:
            InvalidRequest: *cursor* is none of ours.
        """
        if self._lost():
            return Listing([], None)
        self.keep_up()
        if self._ledger.index.behind:
            self.scan()
        return self._ledger.index.page(query, limit, cursor)

    def show(self, key: str) -> Listed | None:
        """Say about one entry what lists say, its picture unread."""
        if not is_key(key):
            return None
        with self._trouble.reading(), suppress(CorruptEntry):
            record = self._store.whole_record(key)
            if record is not None:
                self._ledger.follow()
                return self._ledger.row(key, self._store.look(key), record).listed()
        return None

    def still(self, stored: Stored) -> bool:
        """Tell whether *stored*, from another tier, may be served: it is not too old, nor gone or replaced here."""
        if self._expired(stored.entry.record):
            return False
        if stored.signature is None:
            return True
        with self._trouble.reading():
            return self._store.still(stored)
        return True

    def drop(self, stored: Stored) -> None:
        """Do nothing: what is on disk is deleted by its key alone."""

    def touch(self, key: str) -> None:
        """Make *key* the most recently used, and count that, also after a hit in memory. Other processes see it later.

        For an order to survive the loss of the index, the picture's modification time says when it was last used,
        at most an hour late. Not the record's: that is part of its signature, and a touch would void every copy in
        memory.
        """
        if self._ledger.use(key, _TOUCH_SECONDS):
            self._note(key)

    def thumbnail(self, key: str) -> builtins.bytes | None:
        """Read the thumbnail; `None` when there is none of the picture that is stored now. Touches nothing."""
        if not is_key(key):
            return None
        with self._trouble.reading(), suppress(CorruptEntry):  # a look-up judges a corrupt entry
            record = self._store.whole_record(key)
            sealed = self._store.thumb(key)
            return None if record is None or sealed is None else thumbs.unseal(sealed, record.digest)
        return None

    def put_thumbnail(self, record: Record, webp: builtins.bytes) -> None:
        """Keep a thumbnail beside the entry of *record*, if that is still the stored one.

        Raises:
            CacheWriteFailed: Counted and logged already.
        """
        sealed = thumbs.seal(webp, record.digest)
        with self._trouble.writing(), self._room(len(sealed), record.key), self._inventory.changing(record.key):
            self._store.commit_thumb(record, sealed)

    def try_out(self) -> None:
        """Note what would keep pictures from being stored here, before the first one is; leaves nothing new."""
        with suppress(CacheWriteFailed), self._trouble.changing():
            if not self._store.folder_lost():
                self._store.try_out()
            elif files.status(self.root) is not None:
                self._store.try_out_beside()

    def scan(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Learn what is on disk, put right what dead writers left, remove what is over the bounds; blocks for long.

        Args:
            stopped: Asked again and again whether to give up.
        """
        if self._lost():
            self._inventory.expect_nothing()
            return
        with self._scanning, self._trouble.reading():
            broken = self._inventory.learn(stopped)
            for key in broken:
                if not stopped():
                    self._mend(key)
            if stopped():
                return
            for path in self._store.leftovers(self._clock()):
                files.remove(path)
            Generation.sweep(self._store.layout.locks)
            self._sweep_expired(stopped)
            if not self.attended:
                self._evict_surplus()

    def scrub(self, budget: int, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Verify the entries whose turn it is, of about *budget* bytes together; return whether all had theirs.

        Only one thread calls this.
        """
        if self._unvisited is None:
            self._unvisited = iter(self._ledger.keys())
        for key in self._unvisited:
            footprint = self._ledger.get(key)
            if footprint is not None and footprint.whole:
                with self._trouble.reading():
                    self._read(key)
                self.tally.add("scrubbed")
                budget -= footprint.bytes
            if budget <= 0 or stopped():
                return False
        self._unvisited = None
        return True

    def relieve(self) -> bool:
        """Evict one batch of what is over the bounds; return whether another may follow.

        Before the first scan is through, nothing goes: the index alone may be wrong.
        """
        with self._trouble.reading():
            if self._inventory.learned and self._ledger.over(self._bounds):
                return bool(self._evict_some(_BATCH)) and self._ledger.over(self._bounds)
        return False

    def keep_up(self) -> None:
        """Write to the index what was used and found here, and read what other processes wrote."""
        if not self._lost():
            self._foresee()
            self._ledger.flush()
            self._inventory.remeasure_stale()
            self._ledger.follow()

    @property
    def behind(self) -> bool:
        """Whether another scan is needed: the index lacks something, or the first one did not come to its end."""
        return self._ledger.index.behind or not self._inventory.learned

    def close(self) -> None:
        """Say what has not been said, and close the index; everything goes on working, and opens it again."""
        self.keep_up()
        self._ledger.index.close()

    # Reading

    def _found(self, key: str) -> Stored | None:
        """Read an entry, whatever its age, and note what other processes or people did to it."""
        if not is_key(key):
            return None
        with self._trouble.reading():
            stored = self._read(key)
            if (stored is not None) != self._ledger.whole(key):
                self._inventory.mark_stale(key)  # measured later: no look-up waits for the index
            return stored
        return None

    def _lost(self) -> bool:
        """Tell whether the folder is not there, or does not answer: nothing is known then, and nothing is told."""
        with self._trouble.reading():
            return self._store.folder_lost()
        return True

    def _expired(self, record: Record) -> bool:
        """Tell whether an entry is too old. One from the future, by a clock that was set, is new."""
        if not 0 < self.ttl_seconds < self._clock() - record.created.timestamp():
            return False
        with suppress(CacheError):
            return not self._store.pinned(record.key)
        return True

    def _read(self, key: str) -> Stored | None:
        try:
            return self._store.read(key)
        except CorruptEntry:
            return self._judge(key)

    def _judge(self, key: str) -> Stored | None:
        """Read again, under the lock of the key, what did not fit together."""
        try:
            with self._inventory.changing(key):
                return self._store.judge(key)
        except CorruptEntry as error:
            self._trouble.note("corrupt", "corrupt", f"{key[:12]}: {error}; a miss, and in quarantine now")
            return None

    # Writing

    def _too_large(self, image_bytes: int, record_bytes: int) -> bool:
        if image_bytes > MAX_IMAGE or record_bytes > MAX_RECORD:
            return True
        return 0 < self.max_bytes < (image_bytes + record_bytes) * _LARGEST_SHARE

    def _remove(
        self, keys: Collection[str], *, pinned: bool = False, on_progress: OnProgress = ignore_progress
    ) -> set[str]:
        """Remove entries and what is left of some; return the keys of the entries.

        Raises:
            CacheError: One could not be removed; says how many were before that.
        """
        removed: set[str] = set()
        for done, key in enumerate(keys):
            on_progress(done, len(keys))
            try:
                with self._inventory.changing(key):
                    if pinned or not self._store.pinned(key):
                        if self._store.remove(key):
                            removed.add(key)
                        self._store.unpin(key)
            except CacheError as error:
                before = f"; {len(removed)} removed before that" if len(keys) > 1 else ""
                raise CacheWriteFailed(f"{error}{before}") from error.__cause__
        if removed:
            files.sync_folder(self._store.layout.keys)
        return removed

    def _renew(self, key: str) -> None:
        """Make *key* the most recently used without counting a use: it was written."""
        self._ledger.renew(key)
        self._note(key)

    def _note(self, key: str) -> None:
        files.touch(self._store.layout.image(key), self._clock())

    def _sweep_expired(self, stopped: Callable[[], bool]) -> None:
        """Remove what has been too old for an hour on the steady clock."""
        if not self.ttl_seconds:
            return
        now, steady = self._clock(), self._steady()
        old = [key for key, each in self._ledger.victims() if each.whole and now - each.created > self.ttl_seconds]
        self._doomed = {key: self._doomed.get(key, steady) for key in old}
        for key, since in self._doomed.items():
            if steady - since >= _DOOMED_SECONDS and not stopped():
                self._remove_expired(key)

    def _remove_expired(self, key: str) -> None:
        with self._inventory.changing_if_free(key) as free:
            record = self._store.whole_record(key) if free else None
            if record is not None and self._expired(record) and self._store.remove(key):
                self.tally.add("expired")

    def _mend(self, key: str) -> None:
        with self._inventory.changing_if_free(key) as free:
            if free:
                self._store.mend(key, self._clock())

    # Room

    @contextmanager
    def _room(self, size: int, key: str) -> Iterator[None]:
        """Reserve *size* bytes for *key*, evicting before if need be."""
        entries = 0 if self._ledger.whole(key) else 1
        self._ledger.reserve(size, entries)
        try:
            left = _BATCH - self._leave_free(size)
            if not (self._make_some_room(left) if self.attended else self._make_room()):
                raise CacheWriteFailed(f"no room for {size} bytes within the bounds: all others are busy or pinned")
            yield
        finally:
            self._ledger.reserve(-size, -entries)

    @property
    def _bounds(self) -> Bounds:
        return Bounds(self.max_bytes, self.max_entries)

    def _make_some_room(self, most: int) -> bool:
        """Evict up to *most* entries; return whether there is room now, or will be: the caretaker does the rest."""
        self._inventory.remeasure_stale(_BATCH)
        self._ledger.follow(everything=False)
        if not self._inventory.learned or not self._ledger.over(self._bounds):
            return True
        return self._evict_some(most) > 0 or not most or not self._ledger.over(self._bounds)

    def _make_room(self) -> bool:
        """Evict until everything, reservations included, is well within the bounds; return whether it is within."""
        self._inventory.remeasure_stale()
        self._ledger.follow()
        if self._ledger.over(self._bounds) and not self._inventory.learned:
            self.scan()  # nothing is removed by the index alone: a wrong row may say anything
        return self._evict_surplus()

    def _evict_surplus(self) -> bool:
        if self._ledger.over(self._bounds):
            self._evict_some()
        return not self._ledger.over(self._bounds)

    def _evict_some(self, most: int | None = None) -> int:
        """Evict, *most* entries or as many as it takes to be well within the bounds; return how many are gone."""
        skipped: set[str] = set()
        gone = failures = 0
        while gone != most and self._ledger.over(self._bounds.target):
            victim = self._ledger.victim(skipped)
            if victim is None:
                break
            try:
                evicted = self._evict(victim)
            except CacheError:  # one that cannot be removed keeps no other from going; several are a broken disk
                failures += 1
                if failures > _STUBBORN:
                    raise
                evicted = False
            gone += evicted
            if not evicted:
                skipped.add(victim)
        return gone

    def _evict(self, key: str) -> bool:
        """Remove *key* unless it is busy or pinned; return whether it is gone."""
        known = self._ledger.get(key)
        with self._inventory.changing_if_free(key, evicting=True) as free:
            if free and not self._store.pinned(key) and self._store.remove(key):
                self.tally.add("evictions")
                self.victim_age = max(0.0, self._clock() - known.used) if known else None
        return self._ledger.get(key) is None

    def _leave_free(self, size: int) -> int:
        """Keep *size* bytes out when the disk is nearly full, and give back one batch, once while that lasts.

        Returns:
            How many entries were evicted for that.
        """
        if not self.min_free_bytes:
            return 0
        files.make_folders((self.root,))
        lacking, evicted = self._lacking(size), 0
        if lacking and not self._yielded:
            evicted = self._evict_batch()
            lacking = self._lacking(size)
        self._yielded = lacking > 0
        if lacking:
            raise DiskFull(f"{self.root}: {lacking} bytes short of the {self.min_free_bytes} to leave free")
        return evicted

    def _foresee(self) -> None:
        """Note a full or read-only disk before the next write meets it."""
        with suppress(OSError, CacheError):
            if os.statvfs(self.root).f_flag & os.ST_RDONLY:
                self._trouble.lasts("read_only", os.strerror(errno.EROFS))
            elif self.min_free_bytes and self._lacking(0):
                self._trouble.lasts("disk_full", BELOW_MIN_FREE)

    def _writable(self) -> bool:
        """Tell whether a picture could be stored now.

        Raises:
            OSError, CacheError: It could not.
        """
        self._store.try_out()
        return can_be_written(self._store.layout.tmp) and not (self.min_free_bytes and self._lacking(0))

    def _lacking(self, size: int) -> int:
        return max(0, self.min_free_bytes + size - files.free_bytes(self.root))

    def _evict_batch(self) -> int:
        for evicted in range(_BATCH):
            victim = self._ledger.victim(set())
            if victim is None or not self._evict(victim):
                return evicted
        return _BATCH
