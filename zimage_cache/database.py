"""Opens SQLite files shared by several components and processes; on read-only and full disks, for reading only."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Literal

# Messages of SQLite where the two further files of a database in WAL mode cannot be made.
_REFUSED: Final = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
)
_NEEDED_BYTES: Final = 2**16


class Snapshot(sqlite3.Connection):
    """A read-only connection to the file as it was when opened: later changes by other processes are not visible."""


def connect(path: Path, seconds: float, *, autocommit: bool = False) -> sqlite3.Connection:
    """Open a database, which is made where it is missing; on a read-only or full disk, return a `Snapshot` of it.

    In WAL mode even a reader needs two more files beside the database, which cannot be made on such a disk.

    Args:
        path: The file.
        seconds: How long to wait for other connections that write.
        autocommit: Begin no transactions implicitly.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    level: Literal["DEFERRED"] | None = None if autocommit else "DEFERRED"
    database = sqlite3.connect(path, timeout=seconds, isolation_level=level)
    try:
        database.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        database.close()
        if not _is_refused(error) or not path.is_file() or _can_grow(path.parent):
            raise
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        return sqlite3.connect(uri, uri=True, timeout=seconds, isolation_level=level, factory=Snapshot)
    except sqlite3.Error:
        database.close()
        raise
    return database


@contextmanager
def transaction(path: Path, seconds: float) -> Iterator[sqlite3.Connection]:
    """Open a database for one transaction: committed at the end of the block, rolled back by an exception.

    Raises:
        sqlite3.Error: It cannot be opened or written within *seconds*.
    """
    # In whatever journal mode the history, which lives in the same file, has set.
    with closing(connect(path, seconds, autocommit=True)) as database:
        # Immediate: two processes that both read before they write would have to start again.
        database.execute("BEGIN IMMEDIATE")
        yield database
        database.execute("COMMIT")


def has_table(database: sqlite3.Connection, name: str) -> bool:
    """Return whether there is a table called *name*."""
    return database.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone() is not None


def _is_refused(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _REFUSED


def _can_grow(folder: Path) -> bool:
    """Return whether files can be made in *folder*: then the error had another cause."""
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _NEEDED_BYTES
