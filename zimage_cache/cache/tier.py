"""What all tiers share: the values they exchange, and how they report progress."""

import os
from collections.abc import Callable
from typing import NamedTuple, Self

from zimage_cache.entry import Entry

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
