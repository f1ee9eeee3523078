"""Sums that outlive the process: one small table in a database that several processes add to."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from zimage_cache.database import connect

_PATIENCE_SECONDS: Final = 1.0
_SINCE: Final = "since"
_TABLE: Final = "CREATE TABLE IF NOT EXISTS lifetime_counts (name TEXT PRIMARY KEY, value REAL NOT NULL)"
_ADD: Final = (
    "INSERT INTO lifetime_counts (name, value) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
)


class Sums(NamedTuple):
    """The sums by name, and since when they are kept, in seconds since 1970; None: nothing was added yet."""

    amounts: dict[str, float]
    since: float | None


class Lifetime:
    """Sums by name.

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
        with closing(self._connection()) as database:
            # Immediate: two processes that both read before they write would have to start again.
            database.execute("BEGIN IMMEDIATE")
            database.execute(_TABLE)
            database.execute("INSERT OR IGNORE INTO lifetime_counts VALUES (?, ?)", (_SINCE, since))
            database.executemany(_ADD, amounts.items())
            sums = _read(database)
            database.execute("COMMIT")
        return sums

    def sums(self) -> Sums:
        """Return the sums; makes nothing."""
        if not self.path.exists():
            return Sums({}, None)
        with closing(self._connection()) as database:
            made = database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'lifetime_counts'").fetchone()
            return _read(database) if made else Sums({}, None)

    def _connection(self) -> sqlite3.Connection:
        # In whatever journal mode the history, which lives in the same file, has set.
        return connect(self.path, _PATIENCE_SECONDS, autocommit=True)


def _read(database: sqlite3.Connection) -> Sums:
    amounts: dict[str, float] = dict(database.execute("SELECT name, value FROM lifetime_counts").fetchall())
    since = amounts.pop(_SINCE, None)
    return Sums(amounts, since)
