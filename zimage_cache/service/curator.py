"""The cache as people look after it: what it holds, what it did, and which entries stay or go."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from zimage_cache.cache.cache import CacheStats, ResultCache
from zimage_cache.cache.disk import Pruned
from zimage_cache.cache.index import Listed, Listing
from zimage_cache.service.shelf import Shelf
from zimage_cache.service.statistics import Period, Statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the cache holds now.

    Args:
        memory_bytes: PNG bytes in memory.
        memory_entries: Entries in memory.
        disk_bytes: Bytes of records, pictures and thumbnails on disk.
        disk_entries: Entries on disk.
        pinned: Entries on disk that stay until somebody deletes them by name.
        victim_age_seconds: How long ago the entry that this process evicted last had last been used; None before
            the first. Short: the bound is small for what people ask for.
    """

    memory_bytes: int = 0
    memory_entries: int = 0
    disk_bytes: int = 0
    disk_entries: int = 0
    pinned: int = 0
    victim_age_seconds: float | None = None


class Curator:
    """Answers what people ask about the cache, and does what they want done.

    Args:
        cache: None = switched off: it holds nothing.
        shelf: Pictures on their way to the cache, which a deletion must reach as well.

    Threads: any. All but `held` block for the disk: not for an event loop.
    """

    def __init__(self, cache: ResultCache | None, shelf: Shelf, statistics: Statistics) -> None:
        self._cache = cache
        self._shelf = shelf
        self._statistics = statistics

    def held(self) -> Held:
        """Tell what the cache holds now."""
        if self._cache is None:
            return Held()
        return held_by(self._cache.stats())

    def overview(self) -> dict[str, Any]:
        """Tell everything `/cache/stats` and `zimage cache stats` show."""
        return overview(self.held(), self._statistics)

    def entries(self, query: str = "", limit: int = 50, cursor: str | None = None) -> Listing:
        """List entries, newest first, whose prompt has all words of *query*; *cursor* goes on where a page ended.

        Raises:
            InvalidRequest: *cursor* is none that a page gave.
        """
        return Listing([], None) if self._cache is None else self._cache.entries(query, limit, cursor)

    def entry(self, key: str) -> Listed | None:
        """Say about one entry what `entries` says; None = there is none."""
        return None if self._cache is None else self._cache.show(key)

    def delete(self, key: str) -> bool:
        """Remove an entry, pinned or not; return whether there was one."""
        waiting = self._shelf.get(key)
        if waiting is not None:
            self._shelf.drop(key, waiting)
        deleted = self._cache is not None and self._cache.delete(key)
        return deleted or waiting is not None

    def pin(self, key: str) -> bool:
        """Keep an entry until somebody deletes it by name; return whether there is one."""
        return self._cache is not None and self._cache.pin(key)

    def unpin(self, key: str) -> bool:
        """Let an entry go like any other; return whether there is one."""
        if self._cache is None or self._cache.show(key) is None:
            return False
        self._cache.unpin(key)
        return True

    def prune(self, *, older_than: float | None, to_bytes: int | None, to_entries: int | None, dry_run: bool) -> Pruned:
        """Remove what is older than so many seconds, then what goes first until so many bytes and entries are left."""
        if self._cache is None:
            return Pruned(0, 0)
        return self._cache.prune(older_than=older_than, to_bytes=to_bytes, to_entries=to_entries, dry_run=dry_run)


def held_by(stats: CacheStats) -> Held:
    """Take from *stats* what is held."""
    return Held(**{each.name: getattr(stats, each.name) for each in fields(Held)})


def overview(now: Held, statistics: Statistics) -> dict[str, Any]:
    """Write down what is held and what was counted; blocks for the disk."""
    lifetime = _described(statistics.lifetime())  # first: the database may be made by that
    return {
        "database": statistics.database_id,
        "now": asdict(now),
        "lifetime": lifetime,
        "this_process": _described(statistics.this_process()),
    }


def _described(period: Period) -> Mapping[str, Any]:
    since = None if period.since is None else datetime.fromtimestamp(period.since, UTC).isoformat()
    return {"since": since, **asdict(period.counts), "hit_ratio": period.counts.hit_ratio}
