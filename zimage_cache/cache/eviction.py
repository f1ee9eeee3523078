"""In which order entries go when room is needed. A pure structure: no clock, no disk, no lock.

`gdsf` (Greedy-Dual-Size-Frequency, Cherkasova 1998, with GPU-seconds for the cost): an entry is worth
`H = L + frequency * gpu_seconds / bytes`, the least worth goes first, and `L` is what the last one to go was worth:
so that entries that are no longer requested are overtaken by new ones. `lru`: the least recently used goes first.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Literal

Policy = Literal["gdsf", "lru"]

# Pages and clients that were just given a picture's address come to fetch it: these go last.
GRACE_SECONDS = 600.0
_SLACK = 64


@dataclass(slots=True)
class Footprint:
    """What one key occupies on disk, and what it is worth. Times in seconds since 1970.

    Args:
        bytes: Size of all its files.
        whole: Whether it has a record: if not, it is a leftover that cannot be served.
        used: When it was last used.
        stamp: Which version of the record this is about: its modification time in nanoseconds.
        pinned: Whether it must stay.
        created: When the picture was drawn.
        cost: GPU-seconds that drawing it took.
        frequency: How often it was drawn or served.
        worth: H, see above.
        noted: When this process last told the disk of its use.
        turn: Rank among the recently used, growing with each use also when the clock does not.
    """

    bytes: int
    whole: bool
    used: float
    stamp: int = 0
    pinned: bool = False
    created: float = 0.0
    cost: float = 0.0
    frequency: int = 1
    worth: float = 0.0
    noted: float = 0.0
    turn: float = 0.0


class Order:
    """The keys on disk with their footprints, and which is evicted first.

    Using a key is O(1): it keeps the place it is queued at, which is too low from then on, and is found out when it
    comes to the front. Finding a victim is O(log n) amortised.

    Threads: none; the caller holds a lock.
    """

    def __init__(self, policy: Policy = "gdsf", *, grace: float = GRACE_SECONDS) -> None:
        self.bytes = self.entries = self.pinned = 0
        self._policy = policy
        self._grace = grace
        self._floor = 0.0  # L
        self._turn = 0.0
        self._kept: dict[str, Footprint] = {}
        self._settled, self._recent = _Heap(), _Heap()
        # The keys of `_recent`, about in the order in which their grace ends.
        self._ending: OrderedDict[str, None] = OrderedDict()

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def get(self, key: str) -> Footprint | None:
        """Return what is known of *key*."""
        return self._kept.get(key)

    def use(self, key: str, now: float, times: int = 1) -> None:
        """Make *key* the most recently used, and count that so many times."""
        footprint = self._kept.get(key)
        if footprint is not None:
            footprint.used = now
            footprint.frequency += times
            footprint.worth = self.worth(footprint.cost, footprint.frequency, footprint.bytes)
            self._turn = footprint.turn = max(now, math.nextafter(self._turn, math.inf))

    def set(self, key: str, footprint: Footprint) -> None:
        """Say what *key* occupies now; nothing, and it is forgotten."""
        known = self._kept.get(key)
        self._count(known, -1)
        if not footprint.bytes:
            self._kept.pop(key, None)
            self._unqueue(key)
            return
        footprint.turn = max(footprint.used, known.turn) if known else footprint.used
        self._kept[key] = footprint
        self._count(footprint, 1)
        if known is None or self._rank(known) != self._rank(footprint) or known.pinned != footprint.pinned:
            self._unqueue(key)
            if not footprint.pinned:
                self._settled.put(key, self._rank(footprint))

    def worth(self, cost: float, frequency: int, size: int) -> float:
        """Return H for so many GPU-seconds, uses and bytes."""
        return self._floor + frequency * cost / size

    def settle_floor(self) -> None:
        """Set L to what the least worth is, if that is more: a new process has evicted nothing yet."""
        self.went(min((each.worth for each in self._kept.values() if each.whole), default=0.0))

    def went(self, worth: float) -> None:
        """Say what an evicted key was worth, here or in another process: no entry that stays is worth less."""
        self._floor = max(self._floor, worth)

    def victim(self, now: float, skipped: Container[str] = ()) -> str | None:
        """Return the key to evict first that is not among *skipped*: never a pinned one, the recently used last."""
        self._settle(now)
        while (key := self._settled.first(skipped)) is not None:
            footprint = self._kept[key]
            if self._requeued(self._settled, key):
                continue
            if not self._is_recent(footprint, now):
                return key
            self._settled.discard(key)
            self._recent.put(key, self._rank(footprint))
            self._ending[key] = None
        while (key := self._recent.first(skipped)) is not None:
            if not self._requeued(self._recent, key):
                return key
        return None

    def snapshot(self) -> list[tuple[str, Footprint]]:
        """Return all that may be evicted, in no order."""
        return [(key, footprint) for key, footprint in self._kept.items() if not footprint.pinned]

    def sorted(self, kept: list[tuple[str, Footprint]], now: float) -> list[tuple[str, Footprint]]:
        """Return *kept* in the order of eviction; needs no lock."""
        return sorted(kept, key=lambda each: (self._is_recent(each[1], now), self._rank(each[1])))

    def _settle(self, now: float) -> None:
        """Move those whose grace has ended; the first with some left ends the search."""
        while self._ending:
            key = next(iter(self._ending))
            if self._is_recent(self._kept[key], now):
                return
            self._unqueue(key)
            self._settled.put(key, self._rank(self._kept[key]))

    def _requeued(self, heap: "_Heap", key: str) -> bool:
        """Put *key* where it belongs, if it was used since it was queued."""
        rank = self._rank(self._kept[key])
        if rank == heap.rank(key):
            return False
        heap.put(key, rank)
        if key in self._ending:
            self._ending.move_to_end(key)
        return True

    def _unqueue(self, key: str) -> None:
        self._settled.discard(key)
        self._recent.discard(key)
        self._ending.pop(key, None)

    def _is_recent(self, footprint: Footprint, now: float) -> bool:
        # A use in the future is a clock that was set, not a recent one.
        return footprint.whole and abs(now - footprint.used) < self._grace

    def _rank(self, footprint: Footprint) -> float:
        if not footprint.whole:
            return -1.0
        return footprint.worth if self._policy == "gdsf" else footprint.turn

    def _count(self, footprint: Footprint | None, sign: int) -> None:
        if footprint is not None:
            self.bytes += sign * footprint.bytes
            self.entries += sign * footprint.whole
            self.pinned += sign * footprint.pinned


class _Heap:
    """Keys by rank, smallest first. A key queued anew or discarded leaves a place behind, dropped when it comes up."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._number = 0

    def rank(self, key: str) -> float:
        """Return the rank *key* is queued at."""
        return self._places[key][0]

    def put(self, key: str, rank: float) -> None:
        """Queue *key* at *rank*, behind its equals, and nowhere else."""
        self._number += 1
        self._places[key] = rank, self._number
        if len(self._heap) > 2 * len(self._places) + _SLACK:
            self._heap = [(*place, each) for each, place in self._places.items()]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (rank, self._number, key))

    def discard(self, key: str) -> None:
        """Forget *key*, if it is queued."""
        self._places.pop(key, None)

    def first(self, skipped: Container[str]) -> str | None:
        """Return the key of smallest rank that is not among *skipped*."""
        aside = []
        try:
            while self._heap:
                rank, number, key = self._heap[0]
                if self._places.get(key) == (rank, number):
                    if key not in skipped:
                        return key
                    aside.append(self._heap[0])
                heapq.heappop(self._heap)
            return None
        finally:
            for place in aside:
                heapq.heappush(self._heap, place)
