"""Sessions of browsers: they survive a restart, end by sign-out and by age, and need no working database."""

import sqlite3
from contextlib import closing

import pytest

from zimage_cache.accounts.sessions import IDLE_SECONDS, Session, Sessions

DAY = 86_400.0


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(tmp_path, clock) -> Sessions:
    return Sessions(tmp_path / "zimage.sqlite3", clock)


def test_a_session_survives_a_restart(sessions, tmp_path, clock):
    """Another process finds it by its token; the file has no token."""
    token = sessions.begin("ann", "mark")
    other = Sessions(tmp_path / "zimage.sqlite3", clock)
    assert other.known(token) is None
    found = other.find(token)
    assert found is not None
    assert (found.name, found.mark) == ("ann", "mark")
    assert other.known(token) == found
    assert token.encode() not in (tmp_path / "zimage.sqlite3").read_bytes()
    assert other.find("other") is None


def test_a_sign_out_ends_it_everywhere(sessions, tmp_path, clock):
    """At once in this process, and within ten seconds in another one that has just looked."""
    token = sessions.begin("ann", "mark")
    other = Sessions(tmp_path / "zimage.sqlite3", clock)
    assert other.find(token)
    sessions.end(token)
    assert sessions.known(token) is sessions.find(token) is None
    clock.now += 10
    assert other.known(token) is other.find(token) is None


def test_a_month_without_use_ends_it(sessions, clock):
    """Each use counts from then on; it is written once a day at most."""
    token = sessions.begin("ann", "mark")
    for _ in range(40):
        clock.now += 2 * DAY
        assert sessions.find(token)
    clock.now += IDLE_SECONDS - DAY
    assert sessions.find(token)
    clock.now += IDLE_SECONDS + DAY
    assert sessions.known(token) is sessions.find(token) is None


def test_uses_within_a_day_write_nothing(sessions, tmp_path, clock):
    """The time of the last use stays as it was."""
    token = sessions.begin("ann", "mark")
    clock.now += DAY / 2
    assert sessions.find(token)
    with closing(sqlite3.connect(tmp_path / "zimage.sqlite3")) as database:
        assert database.execute("SELECT used FROM sessions").fetchall() == [(clock.now - DAY / 2,)]


def test_a_user_has_a_hundred_sessions_at_most(sessions, clock):
    """The oldest ends; those of others stay."""
    others = sessions.begin("ben", "mark")
    tokens = []
    for _ in range(101):
        clock.now += 1
        tokens.append(sessions.begin("ann", "mark"))
    clock.now += 11
    assert sessions.find(tokens[0]) is None
    assert all(sessions.find(token) for token in [*tokens[1:], others])


def test_without_a_database(tmp_path, clock, caplog):
    """Sessions last as long as the process, and the log says why."""
    (tmp_path / "folder").mkdir()
    sessions = Sessions(tmp_path / "folder", clock)
    token = sessions.begin("ann", "mark")
    clock.now += 60
    found = sessions.find(token)
    assert found is not None
    assert found.name == "ann"
    sessions.end(token)
    assert sessions.find(token) is None
    assert "sessions_not_kept" in caplog.text


def test_a_sign_out_that_the_database_refuses(sessions, tmp_path, clock):
    """It counts in this process at once, and the row goes with the next change."""
    token = sessions.begin("ann", "mark")
    with closing(sqlite3.connect(tmp_path / "zimage.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        sessions.end(token)
        other.execute("ROLLBACK")
    assert sessions.known(token) is sessions.find(token) is None
    assert Sessions(tmp_path / "zimage.sqlite3", clock).find(token)
    sessions.begin("ben", "mark")
    assert Sessions(tmp_path / "zimage.sqlite3", clock).find(token) is None


def test_a_sign_out_while_the_session_is_read(sessions, monkeypatch, clock):
    """The read that began before does not bring it back."""
    token = sessions.begin("ann", "mark")
    clock.now += 60
    read = Sessions._read  # noqa: SLF001 - the moment between the read and its result has no public witness

    def slow(self: Sessions, digest: str) -> Session | None:
        found = read(self, digest)
        monkeypatch.setattr(Sessions, "_read", read)
        sessions.end(token)
        return found

    monkeypatch.setattr(Sessions, "_read", slow)
    assert sessions.find(token) is sessions.known(token) is None


def test_reads_wait_for_no_writer(sessions, tmp_path, clock):
    """A database that another process is changing has all sessions."""
    token = sessions.begin("ann", "mark")
    clock.now += 60
    with closing(sqlite3.connect(tmp_path / "zimage.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert Sessions(tmp_path / "zimage.sqlite3", clock).find(token)


def test_tokens_of_no_session_write_nothing(sessions, monkeypatch):
    """A client without an account cannot have the database written by sign-outs."""
    token = sessions.begin("ann", "mark")
    written: list[object] = []
    monkeypatch.setattr("zimage_cache.accounts.sessions.transaction", lambda *given: written.append(given))
    for each in ("", "x", token[::-1], token + "x"):
        sessions.end(each)
    assert written == []
    assert sessions.find(token)
