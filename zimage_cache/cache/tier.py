"""What a tier is, the values that tiers exchange, and how long work on them reports progress."""

import os
from collections.abc import Callable
from typing import NamedTuple, Protocol, Self

from zimage_cache.entry import Entry, Source

OnProgress = Callable[[int, int], object]  # called with the number of keys done and the number of all keys


def ignore_progress(_done: int, _total: int) -> None:
    """Do nothing."""


class Signature(NamedTuple):
    """Which version of a file this is: another write of the same key has another signature."""

    mtime_ns: int
    inode: int
    size: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Take it from what `stat` says."""
        return cls(status.st_mtime_ns, status.st_ino, status.st_size)


class Stored(NamedTuple):
    """An entry, and the signature of its record on disk; `None` for an entry that could not be written."""

    entry: Entry
    signature: Signature | None

    @property
    def key(self) -> str:
        """The entry's key."""
        return self.entry.record.key


class Tier(Protocol):
    """One place that keeps entries by their keys. Threads: any."""

    @property
    def source(self) -> Source:
        """What a hit from here is called."""

    @property
    def instant(self) -> bool:
        """Whether `get`, `peek` and `drop` take microseconds, so that an event loop may call them."""

    def get(self, key: str) -> Stored | None:
        """Return a whole, verified entry and count it as used; None for what is not here, damaged, or no key."""

    def peek(self, key: str) -> Stored | None:
        """Return the same without counting anything."""

    def put(self, entry: Entry, signature: Signature | None = None) -> Stored | None:
        """Keep *entry* instead of an older one.

        Args:
            entry: What to keep.
            signature: Of its record, where another tier has written it.

        Returns:
            What is kept, with the signature that belongs to it; None where *entry* is too large to be kept.

        Raises:
            CacheWriteFailed: It is not kept; counted and logged already.
        """

    def delete(self, key: str) -> bool:
        """Remove *key*; return whether it was here.

        Raises:
            CacheWriteFailed: It is still here; counted and logged already.
        """

    def drop(self, stored: Stored) -> None:
        """Forget *stored*, which another tier does not have any more; an entry that has replaced it stays."""

    def still(self, stored: Stored) -> bool:
        """Tell whether *stored*, found in another tier, may be served: False where it was deleted or replaced here.

        True where this tier cannot tell. Takes microseconds.
        """

    def touch(self, key: str) -> None:
        """Count *key* as used, after a hit in a faster tier. Takes microseconds."""


class FurtherTier(Tier, Protocol):
    """A tier beyond the disk: what removes more than one entry reaches it too."""

    def clear(self) -> int:
        """Remove everything; return how many entries that were.

        Raises:
            CacheWriteFailed: Some may still be here; counted and logged already.
        """

    def prune(self, *, older_than: float) -> int:
        """Remove what was drawn more than so many seconds ago; return how many entries that were.

        Raises:
            CacheWriteFailed: Some may still be here; counted and logged already.
        """
