"""What happened, counted once: since this process began, and over all processes and restarts.

Every picture asked for ends as exactly one `Answer`. `/metrics`, `/cache/stats` and the command line are views of
the numbers here and of the cache's own counters; nothing is counted elsewhere.
"""

import bisect
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, make_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from zimage_cache.cache.cache import Held
from zimage_cache.database import connect, has_table, transaction
from zimage_cache.entry import Source
from zimage_cache.faults import Faults
from zimage_cache.i18n.messages import Message

_log = logging.getLogger(__name__)
_FLUSH_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 1.0
_UNSAVED: Final = "statistics_not_saved"
_SINCE: Final = "since"
_TABLE: Final = "CREATE TABLE IF NOT EXISTS lifetime_counts (name TEXT PRIMARY KEY, value REAL NOT NULL)"
_ADD: Final = (
    "INSERT INTO lifetime_counts (name, value) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
)
# Upper ends in seconds: hits take milliseconds, pictures seconds, queues minutes.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Unrated(StrEnum):
    """What became of a requested picture that is no part of the hit ratio."""

    BYPASS = "bypass"
    FAILED = "failed"
    ABANDONED = "abandoned"


class Stage(StrEnum):
    """What a delivered request waited for; `Job.stages` says what each of them is."""

    CACHE = "cache"
    QUEUE = "queue"
    DRAW = "draw"
    ENCODE = "encode"


Answer = Source | Unrated  # what became of a requested picture; exactly one of these
ANSWERS: Final[tuple[Answer, ...]] = (*Source, *Unrated)
FIELD: Final[Mapping[Answer, str]] = {
    **{source: f"hits_{source}" for source in Source if source.cached},
    Source.GENERATED: "misses",
    Source.SHARED: "shared",
    Unrated.BYPASS: "bypasses",
    Unrated.FAILED: "failures",
    Unrated.ABANDONED: "abandoned",
}


def _counter(help_: str, *, metric: str = "", of_cache: bool = False) -> Any:  # noqa: ANN401 - a number
    return field(default=0, metadata={"help": help_, "metric": metric, "of_cache": of_cache})


_Hits = make_dataclass(
    "_Hits",
    [(FIELD[tier], int, _counter(f"Pictures answered from {tier}.")) for tier in Source if tier.cached],
    frozen=True,
    slots=True,
    kw_only=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts(_Hits):  # type: ignore[misc, valid-type]  # made of the members of `Source`
    """Sums. Those before `generated` exclude each other: one of them counts each picture that was asked for.

    Each field says what it counts; `metric` is the name under which `/metrics` shows it, `of_cache` whether the cache
    counts it.
    """

    misses: int = _counter(
        "Pictures drawn by a run that their own request began; random seeds and refreshed pictures too."
    )
    shared: int = _counter("Pictures drawn by a run that another request had begun.")
    bypasses: int = _counter("Pictures asked for with the cache bypassed or switched off.")
    failures: int = _counter("Pictures not delivered: their call failed or waited too long.")
    abandoned: int = _counter("Pictures whose request was given up before the answer.")
    generated: int = _counter("Pictures drawn.", metric="zimage_generations")
    gpu_seconds: float = _counter("GPU-seconds spent on drawing pictures.", metric="zimage_gpu_seconds")
    gpu_seconds_saved: float = _counter(
        "GPU-seconds that hits and shared pictures did not cost again.", metric="zimage_gpu_seconds_saved"
    )
    writes: int = _counter("Entries committed to disk.", metric="zimage_cache_writes", of_cache=True)
    evictions: int = _counter("Entries removed from disk to make room.", metric="zimage_cache_evictions", of_cache=True)
    expired: int = _counter(
        "Look-ups of entries that were too old, and entries removed for that.",
        metric="zimage_cache_expired",
        of_cache=True,
    )
    corrupt: int = _counter(
        "Entries found damaged and moved to quarantine.", metric="zimage_cache_corrupt", of_cache=True
    )
    oversized: int = _counter("Pictures too large to be stored.", metric="zimage_cache_oversized", of_cache=True)
    read_errors: int = _counter("Reads of the cache that failed for reasons that are not the file's.", of_cache=True)
    write_errors: int = _counter("Changes of the cache that failed.", of_cache=True)
    write_backoffs: int = _counter(
        "Writes not tried while the disk keeps failing.", metric="zimage_cache_write_backoffs", of_cache=True
    )
    index_errors: int = _counter(
        "Times the index of the cache could not be used; the answers were right all the same.", of_cache=True
    )
    scrubbed: int = _counter("Entries verified in the background.", metric="zimage_cache_scrubbed", of_cache=True)

    @property
    def hit_ratio(self) -> float | None:
        """Share of delivered, looked-up pictures that came from a tier; None before the first."""
        asked = sum(map(self.of, Source))
        hits = asked - self.misses - self.shared
        return hits / asked if asked else None

    def of(self, answer: Answer) -> int:
        """Return how many pictures ended as *answer*."""
        return int(getattr(self, FIELD[answer]))


CACHE_COUNTS: Final = tuple(each.name for each in fields(Counts) if each.metadata["of_cache"])
_FRACTIONAL: Final = frozenset({"gpu_seconds", "gpu_seconds_saved"})
_NAMES: Final = tuple(each.name for each in fields(Counts))


@dataclass(frozen=True, slots=True)
class Period:
    """Counts since a moment in seconds since 1970; None = nothing was counted yet."""

    since: float | None
    counts: Counts


@dataclass(slots=True)
class Waits:
    """How long something was waited for: how often within each of `BUCKETS` alone and beyond, and in all."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Take in one wait."""
        self.buckets[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def copy(self) -> "Waits":
        """Return the same numbers, which stay as they are."""
        return Waits(list(self.buckets), self.seconds)


class Sums(NamedTuple):
    """The sums by name, and since when they are kept, in seconds since 1970; None: nothing was added yet."""

    amounts: dict[str, float]
    since: float | None


class Lifetime:
    """Sums that outlive the process, by name: a small table that several processes add to.

    Args:
        path: The database; made on the first `add`. It holds other tables too, so it is never replaced here.

    Every method blocks for the disk, for one second at most where another process has the database locked.

    Raises:
        sqlite3.Error, OSError: From every method: it cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str | None:
        """Tell whether two processes of this machine mean the same database; None before there is one."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return f"{status.st_dev:x}-{status.st_ino:x}"

    def add(self, amounts: Mapping[str, float], since: float) -> Sums:
        """Add what was counted *since* then, all or nothing, durable when it returns; return what the sums are."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with transaction(self.path, _PATIENCE_SECONDS) as database:
            database.execute(_TABLE)
            database.execute("INSERT OR IGNORE INTO lifetime_counts VALUES (?, ?)", (_SINCE, since))
            database.executemany(_ADD, amounts.items())
            return _read_sums(database)

    def sums(self) -> Sums:
        """Return the sums; makes nothing."""
        if not self.path.exists():
            return Sums({}, None)
        with closing(connect(self.path, _PATIENCE_SECONDS)) as database:
            return _read_sums(database) if has_table(database, "lifetime_counts") else Sums({}, None)


def _nothing() -> None:
    pass


class Statistics:
    """Counts, and adds them to the lifetime sums every few seconds.

    Args:
        lifetime: Where the lifetime sums are; None = nowhere, the lifetime is this process's.
        cache_counts: Returns what the cache has counted so far, by the names in `CACHE_COUNTS`; never blocks.
        clock: Seconds since 1970.
        beside: What else is to be kept every few seconds, and at the end.
        faults: Where trouble with the database stands while it lasts.

    Threads: any. Only `flush`, `lifetime` and `close` block for the disk. Trouble with the database is one warning,
    and nothing is lost while this process lives: what could not be added is added later. A killed one loses the last
    few seconds.
    """

    def __init__(
        self,
        lifetime: Lifetime | None,
        cache_counts: Callable[[], Mapping[str, int]] = dict,
        *,
        clock: Callable[[], float] = time.time,
        beside: Callable[[], None] = _nothing,
        faults: Faults | None = None,
    ) -> None:
        self._beside = beside
        self._faults = faults or Faults()
        self._lifetime = lifetime
        self._cache_counts = cache_counts
        self._since = clock()
        self._lock = threading.Lock()  # around the next three, never held across anything slow
        self._sums: dict[str, float] = dict.fromkeys(_NAMES, 0)
        self._waits = {answer: Waits() for answer in ANSWERS}
        self._stages = {stage: Waits() for stage in Stage}
        self._flushing = threading.Lock()  # around the next three
        self._flushed = Counts()
        self._known = Sums({}, None)
        self._troubled = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._flush_often, name="statistics", daemon=True)

    @property
    def database_id(self) -> str | None:
        """Which database the lifetime sums are in; None where there are none yet."""
        return None if self._lifetime is None else self._lifetime.id

    def start(self) -> None:
        """Begin to add to the lifetime sums."""
        if self._lifetime is not None:
            self._thread.start()

    def close(self) -> None:
        """Add what is left."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.flush()
        self._beside()

    def delivered(self, answer: Answer, *, seconds: float, saved: float) -> None:
        """Count a picture delivered after *seconds*; *saved* are the GPU-seconds that an earlier run spent."""
        with self._lock:
            self._sums[FIELD[answer]] += 1
            self._sums["gpu_seconds_saved"] += saved
            self._waits[answer].add(seconds)

    def spent(self, stages: Mapping[Stage, float]) -> None:
        """Count the seconds that a delivered request spent in each stage."""
        with self._lock:
            for stage, seconds in stages.items():
                self._stages[stage].add(seconds)

    def lost(self, answer: Unrated, pictures: int) -> None:
        """Count pictures that were not handed out."""
        with self._lock:
            self._sums[FIELD[answer]] += pictures

    def drawn(self, gpu_seconds: float) -> None:
        """Count a picture that was drawn."""
        with self._lock:
            self._sums["generated"] += 1
            self._sums["gpu_seconds"] += gpu_seconds

    def this_process(self) -> Period:
        """Return the counts since this process began."""
        return Period(self._since, self.snapshot()[0])

    def snapshot(self) -> tuple[Counts, dict[Answer, Waits]]:
        """Return one moment of the counts and the waits of this process, which therefore agree."""
        with self._lock:
            sums = dict(self._sums)
            waits = {answer: wait.copy() for answer, wait in self._waits.items()}
        cached = self._cache_counts()
        return _counts(sums | {name: cached.get(name, 0) for name in CACHE_COUNTS}), waits

    def stages(self) -> dict[Stage, Waits]:
        """Return how long the delivered requests of this process spent in each stage."""
        with self._lock:
            return {stage: wait.copy() for stage, wait in self._stages.items()}

    def lifetime(self) -> Period:
        """Return the counts of all processes so far, this one's up to this moment included."""
        with self._flushing:
            self._flush()
            known = self._known
            unflushed = _minus(self.snapshot()[0], self._flushed)
        sums = {name: known.amounts.get(name, 0) + amount for name, amount in unflushed.items()}
        return Period(self._since if known.since is None else known.since, _counts(sums))

    def flush(self) -> None:
        """Add to the lifetime sums what happened since the last time."""
        with self._flushing:
            self._flush()

    def _flush(self) -> None:
        """Add and read back; `_flushing` is held."""
        if self._lifetime is None:
            return
        counts = self.snapshot()[0]
        amounts = {name: amount for name, amount in _minus(counts, self._flushed).items() if amount}
        try:
            if amounts:
                self._known = self._lifetime.add(amounts, self._since)
                self._flushed = counts
            else:
                self._known = self._lifetime.sums()
        except (sqlite3.Error, OSError) as error:
            self._complain(self._lifetime, error)
        else:
            self._troubled = False
            self._faults.end(_UNSAVED)

    def _complain(self, lifetime: Lifetime, error: Exception) -> None:
        if not self._troubled:
            _log.warning(
                "statistics_not_saved file=%s error=%s; counting goes on in memory, and is saved when that works again",
                lifetime.path,
                error,
            )
        self._troubled = True
        self._faults.begin(_UNSAVED, Message("statistics_unsaved"))

    def _flush_often(self) -> None:
        while not self._closing.wait(_FLUSH_SECONDS):
            self.flush()
            self._beside()


def overview(held: Held, statistics: Statistics) -> dict[str, Any]:
    """Describe what the cache holds and what was counted, for `/cache/stats` and the command; blocks for the disk."""
    lifetime = _described(statistics.lifetime())  # first: the database may be made by that
    return {
        "database": statistics.database_id,
        "now": asdict(held),
        "lifetime": lifetime,
        "this_process": _described(statistics.this_process()),
    }


def together(described: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Add up what `overview` describes of several processes, of other versions too; since when is the earliest."""
    counts = _counts({name: sum(each.get(name) or 0 for each in described) for name in _NAMES})
    since = min((each["since"] for each in described if each["since"]), default=None)
    return {**_described(Period(None, counts)), "since": since}


def _described(period: Period) -> Mapping[str, Any]:
    since = None if period.since is None else datetime.fromtimestamp(period.since, UTC).isoformat()
    return {"since": since, **asdict(period.counts), "hit_ratio": period.counts.hit_ratio}


def _minus(counts: Counts, earlier: Counts) -> dict[str, float]:
    before = asdict(earlier)
    return {name: value - before[name] for name, value in asdict(counts).items()}


def _counts(sums: Mapping[str, float]) -> Counts:
    # The database keeps floats, which hold every integer up to 2^53.
    typed: dict[str, Any] = {
        name: float(value) if name in _FRACTIONAL else round(value) for name, value in sums.items()
    }
    return Counts(**typed)


def _read_sums(database: sqlite3.Connection) -> Sums:
    amounts: dict[str, float] = dict(database.execute("SELECT name, value FROM lifetime_counts").fetchall())
    since = amounts.pop(_SINCE, None)
    return Sums(amounts, since)
