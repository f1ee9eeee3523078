"""Databases that can be read where nothing can be written."""

import os
import sqlite3
from contextlib import closing

import pytest

from zimage_cache.database import Snapshot, connect


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
