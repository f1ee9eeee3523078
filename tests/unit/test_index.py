"""Tests of cache.index: a lost or damaged file is logged and made again, without an error."""

import contextlib
import sqlite3
import threading
from typing import Any

import pytest

from zimage_cache.cache.index import NAME, Index, Row, Use
from zimage_cache.cache.trouble import LimitedWarnings, Tally
from zimage_cache.errors import InvalidRequest

KEYS = [f"{number:064x}" for number in range(100)]


def _row(number: int, **more) -> Row:
    fields: dict[str, Any] = {
        "bytes": 100,
        "whole": True,
        "stamp": 1,
        "pinned": False,
        "created": float(number),
        "cost": 1.5,
    }
    fields |= {"frequency": 1, "used": 5.0, "worth": 0.5, "prompt": f"a red circle {number}", "seed": number}
    return Row(key=KEYS[number], **{**fields, **more})


class Opened:
    """An index with a clock to set, and what it counted."""

    def __init__(self, root) -> None:
        self.now = 0.0
        self.tally = Tally()
        self.index = Index(root, tally=self.tally, warnings=LimitedWarnings(), clock=lambda: self.now)


@pytest.fixture
def make(tmp_path):
    """Give a maker of indexes on one folder; each call is a process of its own."""
    return lambda: Opened(tmp_path)


def _keys(index: Index) -> list[str]:
    return [item.key for item in index.page("", 100, None).items]


def test_rows_reach_other_processes_once(make):
    """What one writes the other reads exactly once, the newest only, in the order of writing."""
    mine, theirs = make().index, make().index
    mine.write([_row(1), _row(2)])
    mine.write([_row(1, bytes=7)])

    assert [(row.key, row.bytes) for row in theirs.changes()] == [(KEYS[2], 100), (KEYS[1], 7)]
    assert theirs.changes() == []
    mine.write([Row.gone(KEYS[2], 5.0, 0.25)])
    assert [(row.key, row.bytes, row.worth) for row in theirs.changes()] == [(KEYS[2], 0, 0.25)]


def test_uses_of_two_processes_add_up(make):
    """Frequencies are summed, the later use and the higher worth stand, unknown and removed keys stay so."""
    mine, theirs = make().index, make().index
    mine.write([_row(1), Row.gone(KEYS[2], 5.0, 0.0)])
    mine.touch({KEYS[1]: Use(3, 9.0, 0.9), KEYS[2]: Use(1, 9.0, 1.0), KEYS[3]: Use(1, 9.0, 1.0)})
    theirs.touch({KEYS[1]: Use(2, 7.0, 0.7)})

    (row,) = [row for row in make().index.changes() if row.bytes]
    assert (row.key, row.frequency, row.used, row.worth) == (KEYS[1], 6, 9.0, 0.9)


def test_it_survives(make):
    """Closed and opened, and opened by the next process, it knows what was written; complete once that was said."""
    first = make().index
    first.write([_row(1)])
    assert first.behind
    first.behind = False
    first.settle(0.0)
    first.close()
    second = make().index

    assert _keys(first) == _keys(second) == [KEYS[1]]
    assert (first.behind, second.behind) == (False, False)


def test_pages(make):
    """Newest first, whole, without overlaps or gaps, also where many are of the same instant."""
    index = make().index
    index.write([_row(number, created=float(number // 7)) for number in range(50)])
    index.write([_row(60, prompt=None), Row.gone(KEYS[61], 5.0, 0.0)])
    seen, cursor = [], None
    while True:
        page = index.page("", 8, cursor)
        seen += page.items
        if (cursor := page.cursor) is None:
            break

    assert [item.key for item in seen] == sorted(KEYS[:50], key=lambda k: (int(k, 16) // 7, k), reverse=True)
    assert index.page("", 50, None).cursor is None


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("RED", True),
        ("circle red", True),
        ("红", True),
        ("100%", True),
        ("re%le", False),
        ("blue", False),
        ("a_b", False),
    ],
)
def test_search(make, query, found):
    """Every word must occur, wherever; nothing in a query is a pattern."""
    index = make().index
    index.write([_row(1, prompt="a red circle, 红, 100% sure, axb")])

    assert bool(index.page(query, 5, None).items) == found


@pytest.mark.parametrize("cursor", ["", "x", "~", "nonsense~" + KEYS[0]])
def test_foreign_cursor(make, cursor):
    """An invalid cursor is an `InvalidRequest`."""
    with pytest.raises(InvalidRequest, match="cursor"):
        make().index.page("", 5, cursor)


def _garbage(path):
    path.write_bytes(b"no database at all " * 500)


def _torn(path):
    content = path.read_bytes()
    path.write_bytes(content[:1024] + bytes(len(content) - 1024))


def _foreign(path):
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE entries (rev, note)")
    other.close()


def _newer(path):
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()


DAMAGE = {
    "removed": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "garbage": _garbage,
    "torn": _torn,
    "foreign": _foreign,
    "of a later version": _newer,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("who", ["the same process", "the next one"])
def test_damaged_file_is_built_anew(make, tmp_path, damage, who):
    """Whatever lies in its place: no error, `behind` until all was written again, and then it is as before."""
    index = make().index
    index.write([_row(1)])
    index.behind = False
    index.settle(0.0)
    index.close()
    damage(tmp_path / NAME)
    if who == "the next one":
        index = make().index

    index.changes()
    assert index.behind
    assert _keys(index) == []
    index.write([_row(2)])

    assert _keys(index) == [KEYS[2]]
    assert _keys(make().index) == [KEYS[2]]


def test_damage_deep_inside(make, tmp_path):
    """A page somewhere in the middle is found when the file is opened: built anew, and said once."""
    first = make().index
    first.write([_row(number % 100, prompt="x" * 500) for number in range(400)])
    first.settle(0.0)
    first.close()
    content = bytearray((tmp_path / NAME).read_bytes())
    assert len(content) > 10 * 4096
    content[6 * 4096 : 7 * 4096] = b"\xff" * 4096
    (tmp_path / NAME).write_bytes(content)
    opened = make()

    assert _keys(opened.index) == []
    assert (opened.index.behind, opened.tally["index_errors"]) == (True, 1)
    opened.index.write([_row(1)])
    assert _keys(make().index) == [KEYS[1]]


def test_damage_to_an_open_file(make, tmp_path):
    """A file that goes bad under us is built anew once it is noticed, by the next call, for all processes."""
    mine, theirs = make(), make()
    mine.index.write([_row(number, prompt="x" * 500) for number in range(100)])
    mine.index.changes()
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as other, other:
        other.execute("UPDATE entries SET bytes = 'many', rev = rev + 1000 WHERE seed = 7")

    assert mine.index.changes() == []
    assert mine.index.behind
    mine.index.write([_row(1)])
    theirs.index.write([_row(2)])

    assert sorted(row.key for row in mine.index.changes()) == [KEYS[1], KEYS[2]]
    assert mine.tally["index_errors"] == 1


def test_file_replaced_under_an_open_one(make, tmp_path):
    """A process whose file was removed or rebuilt uses the new one, and marks it as incomplete."""
    mine = make().index
    mine.write([_row(1)])
    mine.behind = False
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / (NAME + suffix)).unlink()
    theirs = make().index
    theirs.write([_row(2)])

    mine.write([_row(3)])

    assert mine.behind
    assert sorted(_keys(theirs)) == [KEYS[2], KEYS[3]]


@pytest.mark.parametrize("way", ["a folder in its place", "a file for a root", "read-only"])
def test_impossible_file_is_replaced_by_memory(tmp_path, monkeypatch, caplog, way):
    """Where there can be no file everything works in memory, said once; the file is tried again every half minute."""
    root = tmp_path / "cache"
    really = sqlite3.connect
    match way:
        case "a folder in its place":
            (root / NAME).mkdir(parents=True)
        case "a file for a root":
            root.write_text("in the way")
        case _:

            def connect(path, **more):
                if path != ":memory:":
                    raise sqlite3.OperationalError("attempt to write a readonly database")
                return really(path, **more)

            monkeypatch.setattr(sqlite3, "connect", connect)
    opened = Opened(root)
    opened.index.write([_row(1)])
    opened.index.behind = False

    assert _keys(opened.index) == [KEYS[1]]
    assert not opened.index.behind
    assert len(caplog.records) == 1

    monkeypatch.undo()
    if root.is_file():
        root.unlink()
    elif (root / NAME).is_dir():
        (root / NAME).rmdir()
    assert _keys(opened.index) == [KEYS[1]]
    opened.now = 31.0
    assert _keys(opened.index) == []
    assert opened.index.behind
    opened.index.write([_row(2)])
    assert _keys(Opened(root).index) == [KEYS[2]]


def test_file_that_was_out_of_reach(make, monkeypatch):
    """Changes made while a good file could not be opened are missing in it: when it opens again, it is incomplete."""
    opened = make()
    opened.index.write([_row(1)])
    opened.index.behind = False
    opened.index.settle(0.0)
    opened.index.close()
    really = sqlite3.connect

    def connect(path, **more):
        if path != ":memory:":
            raise sqlite3.OperationalError("unable to open database file")
        return really(path, **more)

    monkeypatch.setattr(sqlite3, "connect", connect)
    opened.index.write([_row(2)])
    opened.index.behind = False
    monkeypatch.undo()
    opened.now = 31.0

    assert _keys(opened.index) == [KEYS[1]]
    assert opened.index.behind


def test_stuck_writer_is_waited_for_once(make, tmp_path, monkeypatch, caplog):
    """A long lock on the database causes one wait per half minute; reading continues; then all changes are written."""
    monkeypatch.setattr("zimage_cache.cache.index._PATIENCE_MS", 20)
    opened = make()
    opened.index.write([_row(1)])
    opened.index.behind = False
    stuck = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    stuck.execute("BEGIN IMMEDIATE")

    for number in range(2, 12):
        opened.index.write([_row(number)])

    assert opened.tally["index_errors"] == 1
    assert opened.index.behind
    assert _keys(opened.index) == [KEYS[1]]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    stuck.execute("ROLLBACK")
    stuck.close()
    opened.now = 31.0
    opened.index.write([_row(12)])
    assert KEYS[12] in _keys(opened.index)


def test_many_processes_never_see_a_locked_database(make):
    """Four connections and eight threads writing at once: every row arrives, no error."""
    opened = [make() for _ in range(4)]
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for turn in range(10):
            opened[number % 4].index.write([_row(number * 10 + turn)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(row.key for row in make().index.changes()) == KEYS[:80]
    assert [each.tally["index_errors"] for each in opened] == [0, 0, 0, 0]


def test_rows_of_the_gone_are_dropped_after_a_day(make):
    """A scan drops the rows of keys that went over a day ago; younger ones are news for others still."""
    index = make().index
    index.write([_row(1), Row.gone(KEYS[2], 1000.0, 0.0), Row.gone(KEYS[3], 90_000.0, 0.0)])

    index.settle(1000.0 + 86_401)

    assert sorted(row.key for row in make().index.changes()) == [KEYS[1], KEYS[3]]
