"""Opens SQLite files shared by several components and processes; on read-only and full disks, for reading only.

WAL mode needs memory that processes share by a file, which network shares and mounts of virtual machines do not have. A
database would stay in that mode and could not be opened there again, so it gets it only where such memory was tried.
"""

import errno
import fcntl
import mmap
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final, Literal

# Messages of SQLite where the two further files of a database in WAL mode cannot be made.
_REFUSED: Final = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
)
_NEEDED_BYTES: Final = 2**16
_NO_SHARED_MEMORY: Final = frozenset(
    {sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP}
    | {sqlite3.SQLITE_IOERR_SHMLOCK, sqlite3.SQLITE_PROTOCOL}
)
_TAKEN: Final = frozenset({errno.EACCES, errno.EAGAIN})


def storable(number: int) -> int:
    """Return the nearest integer that SQLite can store; a file's time in nanoseconds exceeds it after the year 2262."""
    return min(max(number, -(2**63)), 2**63 - 1)


class Snapshot(sqlite3.Connection):
    """A read-only connection to the file as it was when opened: later changes by other processes are not visible."""


def connect(path: Path, seconds: float, *, autocommit: bool = False) -> sqlite3.Connection:
    """Open a database, which is made where it is missing; on a read-only or full disk, return a `Snapshot` of it.

    In WAL mode even a reader needs two more files beside the database, which cannot be made on such a disk. A database
    in WAL mode that was copied to a file system without shared memory leaves that mode.

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
        if needs_shared_memory(error) and not _shares_memory(path.parent):
            _leave_wal(path, seconds)
            return sqlite3.connect(path, timeout=seconds, isolation_level=level)
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


def use_wal(database: sqlite3.Connection, folder: Path) -> None:
    """Switch to WAL mode, in which readers do not wait for a writer, where the file system of *folder* permits it."""
    if _shares_memory(folder):
        with suppress(sqlite3.OperationalError):  # locked, or the disk is read-only
            database.execute("PRAGMA journal_mode = WAL").fetchone()


def refused_lock(folder: Path) -> str | None:
    """Return what the file system says where it refuses the locks that SQLite needs; None where it has them.

    SQLite itself would say that the database is locked, or speak of an error of the disk.
    """
    try:
        with _probe(folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # With its name, the file could not be made, which has nothing to do with locks.
        return None if error.filename is not None or error.errno in _TAKEN else error.strerror
    return None


def needs_shared_memory(error: sqlite3.Error) -> bool:
    """Return whether a database could not be opened because it is in WAL mode."""
    return getattr(error, "sqlite_errorcode", 0) in _NO_SHARED_MEMORY


def has_table(database: sqlite3.Connection, name: str) -> bool:
    """Return whether there is a table called *name*."""
    return database.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).fetchone() is not None


def _is_refused(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _REFUSED


def _can_grow(folder: Path) -> bool:
    """Return whether files can be made in *folder*: then the error had another cause."""
    if not os.access(folder, os.W_OK) or shutil.disk_usage(folder).free <= _NEEDED_BYTES:
        return False
    try:  # a quota of this user may be used up on a disk with room
        with _probe(folder):
            return True
    except OSError:
        return False


def _shares_memory(folder: Path) -> bool:
    try:
        return _maps(folder)
    except OSError:  # no file can be made there now, which says nothing of memory
        return True


@cache
def _maps(folder: Path) -> bool:
    """Return whether processes can share memory by a file in *folder*."""
    with _probe(folder) as file:
        try:
            with mmap.mmap(file.fileno(), _NEEDED_BYTES) as shared:
                shared[0] = 1
        except OSError:
            return False
    return True


@contextmanager
def _probe(folder: Path) -> Iterator[BinaryIO]:
    """Make a file of the size that SQLite's further files begin with, and remove it."""
    path = folder / f".{secrets.token_hex(8)}.part"
    try:
        with path.open("x+b") as file:
            file.write(bytes(_NEEDED_BYTES))
            file.flush()
            yield file
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _leave_wal(path: Path, seconds: float) -> None:
    """Switch a database from WAL mode to a rollback journal; one process that has it alone needs no shared memory."""
    with closing(sqlite3.connect(path, timeout=seconds, isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = DELETE").fetchone()
