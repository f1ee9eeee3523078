"""The first tier: entries in memory, bounded by bytes. Knows no disk and verifies nothing."""

import sys
import threading
from typing import Final

from zimage_cache.cache.tier import Signature, Stored
from zimage_cache.entry import Entry, Source
from zimage_cache.lru import ByteLRU

# What Python needs for a record, however small the PNG beside it is.
_LEAST_WEIGHT: Final = 8192
# Up to this size its texts are part of that.
_USUAL_TEXT: Final = 2048


class MemoryTier:
    """Keeps the most recently used entries.

    Args:
        max_bytes: Bound on the PNG bytes kept; 0 = no limit. A larger entry is not kept at all. Each entry counts as
            8 KiB at least, and long prompts count beside the PNG: the bound is on memory that is really used.

    Threads: any; one lock, never held across anything slow.
    """

    source: Final = Source.MEMORY
    instant: Final = True

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: ByteLRU[str, Stored] = ByteLRU(max_bytes, _weight)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """PNG bytes kept now."""
        with self._lock:
            return sum(len(stored.entry.png) for stored in self._kept.values())

    def get(self, key: str) -> Stored | None:
        """Return what is kept under *key* and make it the most recently used."""
        with self._lock:
            return self._kept.get(key)

    def peek(self, key: str) -> Stored | None:
        """Return what is kept under *key*, without touching it."""
        with self._lock:
            return self._kept.peek(key)

    def put(self, entry: Entry, signature: Signature | None = None) -> Stored | None:
        """Keep *entry*, letting the least recently used go; return what is kept, None for one over the bound."""
        stored = Stored(entry, signature)
        with self._lock:
            if not self._kept.fits(stored):
                self._kept.pop(stored.key)
                return None
            self._kept.put(stored.key, stored)
            return stored

    def delete(self, key: str) -> bool:
        """Forget *key*; return whether it was kept."""
        with self._lock:
            return self._kept.pop(key) is not None

    def drop(self, stored: Stored) -> None:
        """Forget this very copy: one that a racing `put` has already replaced stays."""
        with self._lock:
            if self._kept.peek(stored.key) is stored:
                self._kept.pop(stored.key)

    def still(self, _stored: Stored) -> bool:
        """Return True: memory forgets what others still have."""
        return True

    def touch(self, key: str) -> None:
        """Make *key* the most recently used."""
        self.get(key)

    def clear(self) -> int:
        """Forget everything; return how many entries that were."""
        with self._lock:
            forgotten = len(self._kept)
            self._kept.clear()
            return forgotten


def _weight(stored: Stored) -> int:
    """Return about how many bytes keeping an entry takes; its prompts are there twice, in two fields of the record."""
    texts = 2 * max(0, sys.getsizeof(stored.entry.record.canonical) - _USUAL_TEXT)
    return max(len(stored.entry.png), _LEAST_WEIGHT) + texts
