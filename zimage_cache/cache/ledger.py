"""What lies on the disk and what it is worth, as far as this process and the index know.

Decisions are made in memory; the index passes changes on to other processes, and to the next start.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from zimage_cache.cache.eviction import Footprint, Order
from zimage_cache.cache.index import Index, Row, RowState, Use
from zimage_cache.cache.store import Presence, Store
from zimage_cache.entry import Record
from zimage_cache.errors import CacheError

# After a bound was met, one byte in twenty of what it allows is free: not every put evicts.
_LOW_WATERMARK = 0.95
# How many rows are taken over while hits wait for the order.
_AT_ONCE = 256
# How many keys a scan takes over at once.
_SCANNED_AT_ONCE = 256
# A lock that is taken again at once is never seen free: with 100,000 rows a hit waited for a second.
_YIELD_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be there; 0 = no limit."""

    bytes: int
    entries: int = 0

    def exceeded(self, size: int, entries: int) -> bool:
        """Tell whether so much is more than that."""
        return 0 < self.bytes < size or 0 < self.entries < entries

    @property
    def target(self) -> "Bounds":
        """What to get down to once they are exceeded."""
        return Bounds(int(self.bytes * _LOW_WATERMARK), self.entries)


class Ledger:
    """The accounts of one cache folder.

    Args:
        index: Where changes are told to others, and theirs are read.
        order: Who goes first.
        clock: Seconds since 1970.

    Threads: any. `write`, `follow`, `flush` and the scan block for the index, and say "step"; all else is instant.
    """

    def __init__(self, index: Index, order: Order, clock: Callable[[], float]) -> None:
        self.index = index
        self._order = order
        self._clock = clock
        # A step changes a row and what it means in memory together: after reading rows, memory agrees with them.
        self._step = threading.RLock()
        self._lock = threading.Lock()  # around all below, never held across anything slow
        self._reserved = 0
        self._pending = 0
        self._uses: dict[str, int] = {}
        # Keys that changed while a scan of the disk was under way: what the scan saw of them is not to be believed.
        self._changed: set[str] | None = None

    @property
    def bytes(self) -> int:
        """Bytes on disk."""
        return self._order.bytes

    @property
    def entries(self) -> int:
        """Entries on disk."""
        return self._order.entries

    @property
    def pinned(self) -> int:
        """Entries that are pinned."""
        return self._order.pinned

    def get(self, key: str) -> Footprint | None:
        """Return what is known of *key*."""
        with self._lock:
            return self._order.get(key)

    def whole(self, key: str) -> bool:
        """Tell whether there should be an entry."""
        footprint = self.get(key)
        return footprint is not None and footprint.whole

    def keys(self) -> list[str]:
        """Return all keys, in their order."""
        with self._lock:
            keys = list(self._order)
        return sorted(keys)

    def use(self, key: str, note_after: float) -> bool:
        """Count a use; return whether the disk should be told, which was not in the last *note_after* seconds."""
        now = self._clock()
        with self._lock:
            footprint = self._order.get(key)
            if footprint is None:
                return False
            self._order.use(key, now)
            self._uses[key] = self._uses.get(key, 0) + 1
            if abs(now - footprint.noted) < note_after:
                return False
            footprint.noted = now
            return True

    def renew(self, key: str) -> None:
        """Make *key* the most recently used, which the disk was told already, without counting a use."""
        with self._lock:
            self._order.use(key, self._clock(), times=0)
            footprint = self._order.get(key)
            if footprint is not None:
                footprint.noted = footprint.used
                self._uses.setdefault(key, 0)

    # Room

    def reserve(self, size: int, entries: int) -> None:
        """Count what is about to be written; negative, and it is not any more."""
        with self._lock:
            self._reserved += size
            self._pending += entries

    def over(self, bounds: Bounds) -> bool:
        """Tell whether everything, reservations included, exceeds *bounds*."""
        return bounds.exceeded(self._order.bytes + self._reserved, self._order.entries + self._pending)

    def victim(self, skipped: set[str]) -> str | None:
        """Return the key to evict first."""
        with self._lock:
            return self._order.victim(self._clock(), skipped)

    def victims(self) -> list[tuple[str, Footprint]]:
        """Return all that may be evicted, the first to go first."""
        with self._lock:
            kept = self._order.snapshot()
        return self._order.sorted(kept, self._clock())

    def surplus(
        self, older_than: float | None, to_bytes: int | None, to_entries: int | None = None
    ) -> list[tuple[str, Footprint]]:
        """Choose what to remove so that nothing is older than so many seconds, and so many bytes and entries stay."""
        oldest = None if older_than is None else self._clock() - older_than
        aged: list[tuple[str, Footprint]] = []
        others: list[tuple[str, Footprint]] = []
        for each in self.victims():
            (aged if oldest is not None and each[1].whole and each[1].created < oldest else others).append(each)
        size = self.bytes - sum(footprint.bytes for _, footprint in aged)
        entries = self.entries - sum(footprint.whole for _, footprint in aged)
        for key, footprint in others:
            too_large = to_bytes is not None and size > to_bytes
            too_many = to_entries is not None and entries > to_entries and footprint.whole
            if too_large or too_many:
                aged.append((key, footprint))
                size -= footprint.bytes
                entries -= footprint.whole
        return aged

    # Steps

    def write(self, key: str, presence: Presence, record: Record | None, *, evicted: bool = False) -> None:
        """Say what *key* occupies now, and *record* unless it is unreadable; the caller holds its lock. A step."""
        with self._step:
            with self._lock:
                row = self._row(key, presence, record, evicted=evicted)
                self._uses.pop(key, None)  # they are in the row
                self._take(row)
            self.index.write([row])

    def follow(self, *, everything: bool = True) -> None:
        """Take over what others have said, or, if not *everything*, a first part of it. A step for each part."""
        while self._follow_some() and everything:
            time.sleep(_YIELD_SECONDS)

    def _follow_some(self) -> bool:
        """Take over a part of what others have said; return whether there may be more."""
        with self._step:
            rows = self.index.changes(_AT_ONCE)
            with self._lock:
                for row in rows:
                    self._take(row)
        return len(rows) == _AT_ONCE

    def flush(self) -> None:
        """Tell others what was used here. A step."""
        with self._step:
            with self._lock:
                counted, self._uses = self._uses, {}
                known = [(key, times, self._order.get(key)) for key, times in counted.items()]
                uses = {key: Use(times, kept.used, kept.worth) for key, times, kept in known if kept}
            if uses:
                self.index.touch(uses)

    def row(self, key: str, presence: Presence, record: Record | None) -> Row:
        """Return the row of *key* without writing it."""
        with self._lock:
            return self._row(key, presence, record)

    # Scans

    @contextmanager
    def scanning(self) -> Iterator[None]:
        """Remember meanwhile which keys change."""
        self.follow()
        self.index.behind = False
        with self._lock:
            self._changed = set()
        try:
            yield
        finally:
            with self._lock:
                self._changed = None
                self._order.settle_floor()

    def strange(self, seen: Mapping[str, Presence]) -> list[str]:
        """Return the keys of which the index or the memory says something else than a scan saw."""
        told = self.index.told()
        keys = {*seen, *told, *self.keys()}
        return [key for key in keys if not (_sight(seen.get(key)) == told.get(key) == _known(self.get(key)))]

    def found(self, seen: Sequence[tuple[str, Presence, Record | None]]) -> None:
        """Take over what a scan saw, but for what has changed since it began. A step."""
        with self._step:
            self.follow()
            with self._lock:
                changed = self._changed or ()
                rows = [self._row(*each) for each in seen if each[0] not in changed]
                for row in rows:
                    self._take(row)
            self.index.write(rows)

    def _take(self, row: Row) -> None:
        """Believe *row*, locked."""
        if self._changed is not None:
            self._changed.add(row.key)
        if not row.bytes:
            self._order.went(row.worth)
            self._order.set(row.key, _NOTHING)
            return
        known = self._order.get(row.key)
        footprint = Footprint(
            bytes=row.bytes,
            whole=bool(row.whole),
            used=row.used,
            stamp=row.stamp,
            pinned=bool(row.pinned),
            created=row.created,
            cost=row.cost,
            frequency=row.frequency + self._uses.get(row.key, 0),
            worth=row.worth,
        )
        if known is not None:
            footprint.used, footprint.noted = max(row.used, known.used), known.noted
            footprint.worth = max(row.worth, known.worth) if row.stamp == known.stamp else row.worth
        self._order.set(row.key, footprint)

    def _row(self, key: str, presence: Presence, record: Record | None, *, evicted: bool = False) -> Row:
        """Describe *key*, locked; what only we remember of it stays."""
        known = self._order.get(key)
        if not presence.bytes:
            return Row.gone(key, self._clock(), known.worth if known and evicted else 0.0)
        cost, frequency = (record.gpu_seconds if record else 0.0), (known.frequency if known else 1)
        return Row(
            key=key,
            bytes=presence.bytes,
            whole=presence.whole,
            stamp=presence.stamp,
            pinned=presence.pinned,
            created=record.created.timestamp() if record else 0.0,
            cost=cost,
            frequency=frequency,
            used=known.used if known else presence.used,
            worth=self._order.worth(cost, frequency, presence.bytes),
            prompt=str(record.request.get("prompt", "")) if record else None,
            seed=_storable(record.request["seed"]) if record else 0,
            width=_storable(record.width) if record else 0,
            height=_storable(record.height) if record else 0,
            model=record.generator.model if record else "",
        )


class Inventory:
    """Takes stock of a folder.

    Threads: any. A caller that changes files holds the stripe of their key and no other.
    """

    def __init__(self, store: Store, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._stale: set[str] = set()
        self.learned = False  # whether all that is on disk was looked at once

    @contextmanager
    def changing(self, key: str) -> Iterator[None]:
        """Hold the lock of *key*, and measure afterwards what it occupies, whatever happened."""
        with self._store.stripes.hold(key):
            try:
                yield
            finally:
                self._measure(key)

    @contextmanager
    def changing_if_free(self, key: str, *, evicting: bool = False) -> Iterator[bool]:
        """As `changing`, without waiting; gives whether *key* was free."""
        with self._store.stripes.try_hold(key) as free:
            try:
                yield free
            finally:
                if free:
                    self._measure(key, evicted=evicting)

    def mark_stale(self, key: str) -> None:
        """Note that *key* was found otherwise than it is known; instant."""
        self._stale.add(key)

    def remeasure_stale(self, most: int | None = None) -> None:
        """Look at what another process or a person has changed; where a key is locked, its holder looks.

        Args:
            most: How many keys to look at; None = all there are now.
        """
        for _ in range(len(self._stale) if most is None else min(most, len(self._stale))):
            with suppress(CacheError, KeyError), self.changing_if_free(self._stale.pop()):
                pass

    def expect_nothing(self) -> None:
        """Note that there is no folder: while nothing is known either, all that comes is written here."""
        self.learned = self.learned or not self._ledger.bytes

    def learn(self, stopped: Callable[[], bool]) -> list[str]:
        """Take over everything that is on disk; return the keys that need mending."""
        with self._ledger.scanning():
            found = self._store.survey(stopped)
            if stopped() or self._store.folder_lost():  # lost meanwhile: what was not found is not gone
                return []
            strange = self._ledger.strange(found)
            for begin in range(0, len(strange), _SCANNED_AT_ONCE):
                if stopped():
                    return []
                keys = strange[begin : begin + _SCANNED_AT_ONCE]
                seen = [(key, found.get(key, Presence())) for key in keys]
                self._ledger.found([(key, presence, self._record(key, presence)) for key, presence in seen])
        now = self._clock()
        self._ledger.index.settle(now)
        self.learned = True
        return [key for key, presence in found.items() if presence.halved or presence.orphaned(now)]

    def _measure(self, key: str, *, evicted: bool = False) -> None:
        """Set what *key* occupies, locked, so that two measurements cannot overtake each other."""
        with suppress(CacheError):  # the disk does not say: what was known stays the best guess
            presence = self._store.look(key)
            self._ledger.write(key, presence, self._record(key, presence), evicted=evicted)

    def _record(self, key: str, presence: Presence) -> Record | None:
        with suppress(CacheError):  # a look-up judges it
            found = self._store.record(key) if presence.whole else None
            return found and found[0]
        return None


_MOST = 2**63 - 1
_NOTHING = Footprint(0, whole=False, used=0.0)


def _storable(number: int) -> int:
    """Return what SQLite can hold: a larger number comes from a record that was tampered with."""
    return max(-_MOST, min(number, _MOST))


def _sight(presence: Presence | None) -> RowState | None:
    if presence is None or not presence.bytes:
        return None
    return presence.bytes, presence.whole, presence.stamp, presence.pinned


def _known(footprint: Footprint | None) -> RowState | None:
    if footprint is None:
        return None
    return footprint.bytes, footprint.whole, footprint.stamp, footprint.pinned
