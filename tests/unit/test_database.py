"""Databases where nothing can be written, and on file systems without shared memory or locks."""

import errno
import fcntl
import mmap
import os
import sqlite3
from contextlib import closing

import pytest

from zimage_cache.database import Snapshot, connect, refused_lock, use_wal


@pytest.fixture
def path(tmp_path):
    """Give a database in WAL mode, closed: the two files beside it are gone."""
    path = tmp_path / "odd name?#.sqlite3"
    with closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE numbers (number INTEGER)")
        made.execute("INSERT INTO numbers VALUES (7)")
        made.commit()
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208 - names
    return path


@pytest.fixture
def unwritable(path, monkeypatch):
    """Give the database on a disk that refuses the files which a database in WAL mode needs beside it."""

    class Refusing(sqlite3.Connection):
        def execute(self, *_args):
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error

    really = sqlite3.connect

    def opened(*args, **kwargs):
        return really(*args, **({"factory": Refusing} | kwargs))

    monkeypatch.setattr(sqlite3, "connect", opened)
    monkeypatch.setattr(os, "access", lambda *_: False)
    return path


def test_an_ordinary_database_is_an_ordinary_connection(path):
    """It can be written, and what is not there is made."""
    for each in (path, path.with_name("new")):
        with closing(connect(each, 1.0)) as opened:
            opened.execute("CREATE TABLE others (number INTEGER)")
            assert not isinstance(opened, Snapshot)


def test_what_cannot_be_written_is_read(unwritable):
    """Also under a name that means something in a URI; writing is an error of SQLite's own."""
    with closing(connect(unwritable, 1.0, autocommit=True)) as opened:
        assert isinstance(opened, Snapshot)
        assert opened.execute("SELECT number FROM numbers").fetchall() == [(7,)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            opened.execute("INSERT INTO numbers VALUES (8)")


def test_what_is_not_there_is_not_made_up(unwritable):
    """No snapshot of nothing."""
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        connect(unwritable.parent / "none" / "none", 1.0)


def test_a_disk_that_can_be_written_is_not_read_past_its_locks(unwritable, monkeypatch):
    """Where files can be made, a failure is something else: a snapshot might be torn by who writes just now."""
    monkeypatch.setattr(os, "access", lambda *_: True)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        connect(unwritable, 1.0)


def test_a_quota_is_a_full_disk(unwritable, monkeypatch):
    """Where the disk has room, but this user's quota is used up, the database is read as on a full one."""
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(type(unwritable), "open", _refused(errno.EDQUOT))
    with closing(connect(unwritable, 1.0)) as opened:
        assert isinstance(opened, Snapshot)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENODEV, errno.EACCES])
def test_no_wal_without_shared_memory(tmp_path, monkeypatch, number):
    """A database on a share of a virtual machine keeps its journal: in WAL mode it could not be opened again."""
    monkeypatch.setattr(mmap, "mmap", _refused(number))
    with closing(sqlite3.connect(tmp_path / "a")) as database:
        use_wal(database, tmp_path)
        assert _mode(database) == "delete"


def test_wal_where_there_is_shared_memory(tmp_path):
    """On other file systems readers do not wait for writers; nothing is left of the try."""
    with closing(sqlite3.connect(tmp_path / "a")) as database:
        use_wal(database, tmp_path)
        assert _mode(database) == "wal"
    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208 - names


def test_a_folder_that_cannot_be_written_says_nothing_of_memory(tmp_path, monkeypatch):
    """A disk that is full at the first try gets WAL mode when it has room again."""
    with closing(sqlite3.connect(tmp_path / "a")) as database:
        with monkeypatch.context() as full:
            full.setattr(type(tmp_path), "open", _refused(errno.ENOSPC))
            full.setattr(mmap, "mmap", _refused(errno.EINVAL))
            use_wal(database, tmp_path)
        database.execute("PRAGMA journal_mode = DELETE").fetchone()
        use_wal(database, tmp_path)
        assert _mode(database) == "wal"


@pytest.mark.parametrize("code", ["IOERR_SHMMAP", "IOERR_SHMOPEN", "IOERR_SHMSIZE", "IOERR_SHMLOCK", "PROTOCOL"])
def test_a_database_copied_to_where_there_is_no_shared_memory(path, monkeypatch, code):
    """It leaves WAL mode, with all that is in it, and can be written."""

    class Refusing(sqlite3.Connection):
        """Refuses to be used in WAL mode, unless it has the database alone."""

        def execute(self, sql, *more):
            if "locking_mode" in sql:
                Refusing.alone = True
            if not self.alone:
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{code}")
                raise error
            return super().execute(sql, *more)

        alone = False

    really = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **named: really(*args, **{"factory": Refusing} | named))
    monkeypatch.setattr(mmap, "mmap", _refused(errno.EINVAL))
    with closing(connect(path, 1.0)) as database:
        assert database.execute("SELECT number FROM numbers").fetchall() == [(7,)]
        assert _mode(database) == "delete"
        database.execute("INSERT INTO numbers VALUES (8)")


def test_refused_locks_are_told_from_all_else(tmp_path, monkeypatch):
    """What the file system says of locks; locks that work, that another holds, and a full disk are no refusal."""
    assert refused_lock(tmp_path) is None
    for number, said in [(errno.ENOLCK, True), (errno.ENOSYS, True), (errno.EOPNOTSUPP, True), (errno.EAGAIN, False)]:
        monkeypatch.setattr(fcntl, "lockf", _refused(number))
        assert refused_lock(tmp_path) == (os.strerror(number) if said else None)
    monkeypatch.setattr(type(tmp_path), "open", _refused(errno.EROFS))
    assert refused_lock(tmp_path) is None


def _mode(database: sqlite3.Connection) -> str:
    return str(database.execute("PRAGMA journal_mode").fetchone()[0])


def _refused(number: int):
    """Refuse a call; where that is one on a path, the error has it, as those of the system have."""

    def refuse(first, *_args, **_named):
        raise OSError(
            number, os.strerror(number), *([] if isinstance(first, int) or hasattr(first, "read") else [first])
        )

    return refuse
