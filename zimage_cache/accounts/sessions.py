"""Signed-in browsers. Kept in the workspace's database, so that a restart signs no user out, and ended by sign-out."""

import hashlib
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from zimage_cache.database import connect, has_table, transaction
from zimage_cache.lru import ByteLRU

_log = logging.getLogger(__name__)
IDLE_SECONDS: Final = 30 * 86_400.0  # a session ends so long after its last use
_DAY: Final = 86_400.0  # the last use is written at most so often
_FRESH_SECONDS: Final = 10.0  # what another process has ended is noticed within this time
_TOKEN_BYTES: Final = 32
_TOKEN_CHARACTERS: Final = 43
_MOST_OF_A_USER: Final = 100
_MOST_HELD: Final = 10_000
_PATIENCE_SECONDS: Final = 2.0
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS sessions (
  digest TEXT PRIMARY KEY, name TEXT NOT NULL, mark TEXT NOT NULL, used REAL NOT NULL) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser: the user's name, what changes with their password, and the last use, in Unix seconds."""

    name: str
    mark: str
    used: float


class Sessions:
    """The sessions of a workspace, by random tokens, of which only digests are stored.

    Methods other than `known` block for the disk; all may be called from any thread. Without a usable database,
    sessions last until the process ends.

    Args:
        path: The database, shared with other components.
        clock: Unix seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        # With the time at which each was read or written.
        self._held: ByteLRU[str, tuple[Session, float]] = ByteLRU(0, lambda _: 1, _MOST_HELD)
        # A read that began before the end of a session must not bring it back; the database may refuse to delete it.
        self._ended: ByteLRU[str, str] = ByteLRU(0, lambda _: 1, _MOST_HELD)
        self._undeleted: set[str] = set()

    def begin(self, name: str, mark: str) -> str:
        """Begin a session, and return its token of 256 bits; the oldest ones of a user with many end."""
        token, now = secrets.token_urlsafe(_TOKEN_BYTES), self._clock()
        session = Session(name, mark, now)

        def add(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM sessions WHERE used < ?", (now - IDLE_SECONDS,))
            _store(database, _digest(token), session)
            database.execute(
                "DELETE FROM sessions WHERE name = ?1 AND digest NOT IN "
                "(SELECT digest FROM sessions WHERE name = ?1 ORDER BY used DESC LIMIT ?2)",
                (name, _MOST_OF_A_USER),
            )

        self._write(add)
        self._hold(_digest(token), session)
        return token

    def known(self, token: str) -> Session | None:
        """Return the session if it was looked at a moment ago; does not block."""
        digest, now = _digest(token), self._clock()
        with self._lock:
            session, read = self._held.get(digest) or (None, 0.0)
        return session if session and 0 <= now - read < _FRESH_SECONDS else None

    def find(self, token: str) -> Session | None:
        """Return the session of *token*; None when there is none, or it has ended."""
        if len(token) != _TOKEN_CHARACTERS:
            return None
        digest, now = _digest(token), self._clock()
        try:
            session = self._read(digest)
        except sqlite3.Error as error:
            self._complain(error)
            with self._lock:
                session = (self._held.peek(digest) or (None,))[0]
        if session is None or now - session.used > IDLE_SECONDS:
            self._drop(digest)
            return None
        if now - session.used > _DAY:
            session = Session(session.name, session.mark, now)
            self._write(partial(_store, digest=digest, session=session))
        return session if self._hold(digest, session) else None

    def end(self, token: str) -> None:
        """End a session, at once in this process, and in others within ten seconds; a token of none changes nothing."""
        if self.find(token) is None:
            return
        digest = _digest(token)
        with self._lock:
            self._held.pop(digest)
            self._ended.put(digest, digest)
            self._undeleted.add(digest)
        self._write(lambda _: None)

    def _write(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """Apply a change to the database, and delete the sessions that have ended; a failure is logged."""
        with self._lock:
            ended = set(self._undeleted)
        try:
            with transaction(self._path, _PATIENCE_SECONDS) as database:
                database.execute(_TABLE)
                change(database)
                database.executemany("DELETE FROM sessions WHERE digest = ?", [(each,) for each in ended])
        except sqlite3.Error as error:
            self._complain(error)
        else:
            with self._lock:
                self._undeleted -= ended

    def _read(self, digest: str) -> Session | None:
        with closing(connect(self._path, _PATIENCE_SECONDS)) as database:
            if not has_table(database, "sessions"):
                return None
            row = database.execute("SELECT name, mark, used FROM sessions WHERE digest = ?", (digest,)).fetchone()
        return Session(*row) if row else None

    def _hold(self, digest: str, session: Session) -> bool:
        """Keep a session in memory, unless it has ended while it was read; return whether it has not."""
        with self._lock:
            if self._ended.peek(digest):
                return False
            self._held.put(digest, (session, self._clock()))
            return True

    def _drop(self, digest: str) -> None:
        with self._lock:
            self._held.pop(digest)

    def _complain(self, error: sqlite3.Error) -> None:
        _log.warning("sessions_not_kept database=%s error=%s", self._path, error)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _store(database: sqlite3.Connection, digest: str, session: Session) -> None:
    row = (digest, session.name, session.mark, session.used)
    database.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)", row)
