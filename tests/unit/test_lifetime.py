"""`Lifetime`: sums in a database, beside other processes and other tables."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from zimage_cache.service.statistics import Lifetime

ADDER = """
import sys
from pathlib import Path
from zimage_cache.service.statistics import Lifetime
lifetime = Lifetime(Path(sys.argv[1]))
for _ in range(40):
    lifetime.add({"hits": 1, "seconds": 0.5}, 100.0)
"""


@pytest.fixture
def lifetime(tmp_path) -> Lifetime:
    return Lifetime(tmp_path / "zimage.sqlite3")


def test_sums_add_up_and_remember_their_beginning(lifetime):
    """What is added is added to what is there, by this or any later process; the beginning is that of the first."""
    lifetime.add({"hits": 2, "seconds": 0.25}, 100.0)
    later = Lifetime(lifetime.path)
    assert later.add({"hits": 3}, 999.0) == ({"hits": 5.0, "seconds": 0.25}, 100.0)
    assert lifetime.sums() == ({"hits": 5.0, "seconds": 0.25}, 100.0)


def test_reading_makes_nothing(lifetime):
    """Reading sums before any were added makes no file."""
    assert lifetime.sums() == ({}, None)
    assert lifetime.id is None
    assert not lifetime.path.exists()


def test_other_tables_are_left_alone(lifetime):
    """The database belongs to others too: theirs is there before and after, and alone is no trouble."""
    with closing(sqlite3.connect(lifetime.path)) as database:
        database.execute("CREATE TABLE pictures (name TEXT)")
        database.execute("INSERT INTO pictures VALUES ('x')")
        database.commit()
    assert lifetime.sums() == ({}, None)
    lifetime.add({"hits": 1}, 100.0)
    with closing(sqlite3.connect(lifetime.path)) as database:
        assert database.execute("SELECT name FROM pictures").fetchall() == [("x",)]


def test_processes_add_up(lifetime):
    """Two processes that add at the same time lose nothing of each other."""
    adders = [subprocess.Popen([sys.executable, "-c", ADDER, str(lifetime.path)]) for _ in range(2)]
    assert [adder.wait(60) for adder in adders] == [0, 0]
    assert lifetime.sums().amounts == {"hits": 80.0, "seconds": 40.0}


def test_nothing_of_a_failed_addition_stays(lifetime):
    """An addition is whole or not at all: one bad amount takes the good ones with it."""
    lifetime.add({"hits": 1}, 100.0)
    with pytest.raises(sqlite3.Error):
        lifetime.add({"hits": 1, "seconds": None}, 100.0)
    assert lifetime.sums().amounts == {"hits": 1.0}


def test_identity_is_that_of_the_file(lifetime, tmp_path):
    """Two ways to the same database agree on which it is; another database is another."""
    lifetime.add({"hits": 1}, 100.0)
    (tmp_path / "link").symlink_to(tmp_path)
    other = Lifetime(tmp_path / "other.sqlite3")
    other.add({"hits": 1}, 100.0)
    assert lifetime.id == Lifetime(tmp_path / "link" / "zimage.sqlite3").id
    assert lifetime.id != other.id
