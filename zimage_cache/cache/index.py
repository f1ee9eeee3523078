"""The index: what the processes on one folder tell each other, and what lists are made of. Disposable.

One SQLite file, in WAL mode where the file system permits that. Every write of a row gives it a new, higher `rev`, so
that what others did is a range scan from where one stopped. Nothing is served from here, and no error here reaches a
caller: what is missing, locked, corrupt or impossible on this file system is replaced by an index in memory, and built
anew from the files.
"""

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from zimage_cache.cache.layout import is_key
from zimage_cache.cache.trouble import LimitedWarnings, Tally
from zimage_cache.database import needs_shared_memory, use_wal
from zimage_cache.errors import InvalidRequest
from zimage_cache.process_lock import SETTLING_SECONDS, ProcessLock

T = TypeVar("T")

NAME = "index.sqlite3"
_VERSION = 1
_PATIENCE_MS = 1000
# How long to do without after trouble, before the file is tried again.
_PAUSE_SECONDS = 30.0
_GONE_SECONDS = 86400.0
_SHOWN = 80
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    rev INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    whole INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    created REAL NOT NULL,
    cost REAL NOT NULL,
    frequency INTEGER NOT NULL,
    used REAL NOT NULL,
    worth REAL NOT NULL,
    prompt TEXT,
    seed INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    model TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS newest ON entries (created DESC, key DESC) WHERE prompt IS NOT NULL;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One stored entry, as lists show it.

    Args:
        key: Its fingerprint.
        prompt: As asked.
        created: Seconds since 1970.
        bytes: Of record, picture and thumbnail together.
        gpu_seconds: What drawing it took.
        frequency: How often it was drawn or served, as far as is remembered.
        pinned: Whether it stays until it is deleted by key.
        seed: Of the picture.
        width: In pixels.
        height: In pixels.
        model: Which drew it.
    """

    key: str
    prompt: str
    created: float
    bytes: int
    gpu_seconds: float
    frequency: int
    pinned: bool
    seed: int
    width: int
    height: int
    model: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list, newest first; `cursor` asks for the next one, None on the last."""

    items: list[Listed]
    cursor: str | None


class Row(NamedTuple):
    """What is known of one key; no bytes: it is gone. The fields are those of `Footprint` and `Listed`.

    `prompt` is None where there is nothing to list: for leftovers, and for records that cannot be read.
    """

    key: str
    bytes: int
    whole: bool
    stamp: int
    pinned: bool
    created: float
    cost: float
    frequency: int
    used: float
    worth: float
    prompt: str | None = None
    seed: int = 0
    width: int = 0
    height: int = 0
    model: str = ""

    @classmethod
    def gone(cls, key: str, used: float, worth: float) -> "Row":
        """Say that nothing is left of *key*; *worth* is 0 unless it was evicted."""
        return cls(key, 0, False, 0, False, 0.0, 0.0, 0, used, worth)  # noqa: FBT003 - a row of zeros

    def listed(self) -> Listed:
        """Return what lists show of it."""
        return Listed(
            key=self.key,
            prompt=self.prompt or "",
            created=self.created,
            bytes=self.bytes,
            gpu_seconds=self.cost,
            frequency=self.frequency,
            pinned=bool(self.pinned),
            seed=self.seed,
            width=self.width,
            height=self.height,
            model=self.model,
        )


class Use(NamedTuple):
    """How a key was used since that was last told: how often, when last, and what it is worth now."""

    times: int
    used: float
    worth: float


# What of a row tells whether it is still right: bytes, whole, stamp, pinned.
RowState = tuple[int, bool, int, bool]

_NUMBERS = 9  # so many numbers follow the key
_FIELDS = ", ".join(Row._fields)
_WRITE = f"INSERT OR REPLACE INTO entries ({_FIELDS}) VALUES ({', '.join('?' * len(Row._fields))})"  # noqa: S608 - our own names
_USED = {"frequency": "frequency + ?", "used": "max(used, ?)", "worth": "max(worth, ?)"}
_TOUCHED = ", ".join(_USED.get(name, name) for name in Row._fields)
_TOUCH = f"INSERT OR REPLACE INTO entries ({_FIELDS}) SELECT {_TOUCHED} FROM entries WHERE key = ? AND whole"  # noqa: S608 - likewise
_SINCE = f"SELECT rev, {_FIELDS} FROM entries WHERE rev > ? ORDER BY rev LIMIT ?"  # noqa: S608 - likewise
_PAGE = f"SELECT {_FIELDS} FROM entries WHERE prompt IS NOT NULL"  # noqa: S608 - likewise


class Index:
    """The rows of one cache folder.

    Args:
        root: The cache folder; nothing is made there before the first call.
        tally: Counts `index_errors`.
        warnings: Where trouble is logged.
        clock: Monotonic seconds.

    Threads: any, one at a time. All calls may block for the disk, and for another process for a second at most.
    """

    def __init__(
        self,
        root: Path,
        *,
        tally: Tally,
        warnings: LimitedWarnings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = root / NAME
        self.behind = True  # rows may be missing or wrong: the files have to be looked at
        self._tally = tally
        self._warnings = warnings
        self._clock = clock
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None  # of the open file; None for an index in memory
        self._again = self._stuck_until = 0.0  # when to try the file, and writing, once more
        self._seen = 0  # the highest `rev` taken over
        self._condemned: int | None = None  # the inode of a file that was found corrupt

    def write(self, rows: Iterable[Row]) -> None:
        """Say how keys are now, replacing what was said before."""
        self._change(lambda connection: connection.executemany(_WRITE, rows))

    def touch(self, uses: Mapping[str, Use]) -> None:
        """Say that keys were used; what other processes said of their uses is added to, not replaced."""
        parameters = [(*use, key) for key, use in uses.items()]
        self._change(lambda connection: connection.executemany(_TOUCH, parameters))

    def changes(self, most: int = -1) -> list[Row]:
        """Return up to *most* rows written since the last one that was returned, one's own included, oldest first."""

        def read(connection: sqlite3.Connection) -> list[Row]:
            found = connection.execute(_SINCE, (self._seen, most)).fetchall()
            rows = [Row(*row[1:]) for row in found]
            if not all(map(_sound, rows)):
                raise _corrupt("rows that this program does not write")
            self._seen = found[-1][0] if found else self._seen
            return rows

        return self._attempt(read) or []

    def told(self) -> dict[str, RowState]:
        """Return what was said of each key that is there."""
        sql = "SELECT key, bytes, whole, stamp, pinned FROM entries WHERE bytes > 0"
        found = self._attempt(lambda connection: connection.execute(sql).fetchall())
        return {key: (size, bool(whole), stamp, bool(pinned)) for key, size, whole, stamp, pinned in found or ()}

    def page(self, query: str, limit: int, cursor: str | None) -> Listing:
        """Return entries whose prompt holds every word of *query*, newest first.

        Raises:
            InvalidRequest: *cursor* is none of ours.
        """
        conditions = [_PAGE]
        parameters: list[object] = []
        for word in query.split():
            conditions.append("prompt LIKE ? ESCAPE '\\'")
            parameters.append(f"%{_escaped(word)}%")
        if cursor is not None:
            conditions.append("(created, key) < (?, ?)")
            parameters.extend(_position(cursor))
        sql = " AND ".join(conditions) + " ORDER BY created DESC, key DESC LIMIT ?"
        found = self._attempt(lambda connection: connection.execute(sql, (*parameters, limit + 1)).fetchall())
        items = [Row(*row).listed() for row in (found or ())[:limit]]
        more = len(found or ()) > limit
        return Listing(items, f"{items[-1].created!r}~{items[-1].key}" if more else None)

    def settle(self, now: float) -> None:
        """Say that all files were looked at; drop the rows of keys that went over a day ago, as all have heard."""
        gone = "DELETE FROM entries WHERE bytes = 0 AND abs(? - used) > ?"
        self._change(lambda connection: connection.execute(gone, (now, _GONE_SECONDS)))
        if not self.behind:
            self._change(lambda connection: connection.execute(f"PRAGMA user_version = {_VERSION}"))

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            self._use(None, None)

    def _change(self, work: Callable[[sqlite3.Connection], object]) -> None:
        def committed(connection: sqlite3.Connection) -> bool:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                work(connection)
            return True

        # Not every put waits for a process that holds the lock for so long.
        if self._clock() < self._stuck_until or self._attempt(committed) is None:
            self.behind = True

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do *work*; None when that fails, which is logged and has consequences for later calls only."""
        with self._lock:
            try:
                return work(self._connected())
            except sqlite3.Error as error:
                self._give_up(error)
                return None

    def _connected(self) -> sqlite3.Connection:
        """Return the connection to the file; in trouble, and for a while after, the one to an index in memory."""
        if self._clock() >= self._again and (self._inode is None or self._replaced(self._inode)):
            try:
                self._open_file()
            except (sqlite3.Error, OSError) as error:
                self._complain(error)
                self._again = self._clock() + _PAUSE_SECONDS
                if self._inode is not None:
                    self._use(None, None)
        if self._connection is None:
            memory = _connect(":memory:")
            memory.executescript(_SCHEMA)
            self._use(memory, None)
            return memory
        return self._connection

    def _replaced(self, inode: int) -> bool:
        """Tell whether a file is no longer the one of that name: it was removed or rebuilt."""
        try:
            return self.path.stat().st_ino != inode
        except OSError:
            return True

    def _discard(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(NAME + suffix).unlink(missing_ok=True)

    def _open_file(self) -> None:
        """Open or make the file, one process at a time, so that none replaces what another has just rebuilt."""
        lock = ProcessLock(self.path.parent / "locks" / "index.lock")
        if not lock.acquire(_PATIENCE_MS / 1000 + SETTLING_SECONDS):
            raise TimeoutError("its lock is not free")
        try:
            if self._condemned is not None and not self._replaced(self._condemned):
                self._discard()
            self._condemned = None
            try:
                connection, complete = _opened(self.path)
            except sqlite3.DatabaseError as error:
                if _code(error) not in _CORRUPT:
                    raise
                self._complain(error)
                self._discard()
                connection, complete = _opened(self.path)
            # Also what was said to an index in memory meanwhile has to be said again.
            self._use(connection, self.path.stat().st_ino, complete=complete and self._connection is None)
        finally:
            lock.release()

    def _use(self, connection: sqlite3.Connection | None, inode: int | None, *, complete: bool = False) -> None:
        """Put another connection, or none, in the place of ours."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        if connection is not None:
            weakref.finalize(self, connection.close)
        self._connection, self._inode, self._seen, self.behind = connection, inode, 0, not complete

    def _give_up(self, error: sqlite3.Error) -> None:
        """Do without the file after whatever went wrong; one that is only busy stays open."""
        self._complain(error)
        self.behind = True
        if _code(error) in _BUSY:
            self._stuck_until = self._clock() + _PAUSE_SECONDS
            return
        if _code(error) in _CORRUPT:
            self._condemned = self._inode  # built anew by the next call, unless another process was faster
        else:
            self._again = self._clock() + _PAUSE_SECONDS
        self._use(None, None)

    def _complain(self, error: Exception) -> None:
        self._tally.add("index_errors")
        self._warnings.warn("index", f"{self.path}: {error}; going on without what it says")


def _opened(path: Path) -> tuple[sqlite3.Connection, bool]:
    """Open or make the file; return whether it is complete: all entries were looked at since it was made.

    Raises:
        sqlite3.Error: With a code of `_CORRUPT` when it should be built anew.
    """
    connection = _connect(str(path))
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in {0, _VERSION}:
            raise _corrupt(f"version {version} is not {_VERSION}")
        use_wal(connection, path.parent)
        connection.execute("PRAGMA synchronous = NORMAL")
        if version == 0:
            connection.executescript(_SCHEMA)
        connection.execute(f"{_PAGE} LIMIT 1").fetchone()
    except sqlite3.Error as error:
        connection.close()
        # Other tables than ours, or a file that was copied here from a file system with shared memory.
        if _code(error) == sqlite3.SQLITE_ERROR or needs_shared_memory(error):
            raise _corrupt(str(error)) from None
        raise
    return connection, version == _VERSION


def _connect(path: str) -> sqlite3.Connection:
    # No implicit transactions: ours begin with the lock they need, where waiting for it is allowed.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
    return connection


def _sound(row: Row) -> bool:
    """Tell whether the values of a row are of the kinds they were written as: SQLite does not see to that."""
    numbers = all(isinstance(value, (int, float)) for value in row[1 : _NUMBERS + 1])
    return is_key(row.key) and numbers and row.bytes >= 0


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _corrupt(message: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(message)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _escaped(word: str) -> str:
    for special in "\\%_":
        word = word.replace(special, "\\" + special)
    return word


def _position(cursor: str) -> tuple[float, str]:
    created, _, key = cursor.partition("~")
    try:
        return float(created), key
    except ValueError:
        raise InvalidRequest("earlier_list", field="cursor", got=ascii(cursor)[:_SHOWN]) from None
