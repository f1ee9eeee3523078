"""The table of pictures, in a database shared with other components. The files are authoritative, not this table."""

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from zimage_cache.database import Snapshot, connect, use_wal
from zimage_cache.history.files import Stamp
from zimage_cache.history.picture import Picture
from zimage_cache.history.search import Condition, normal

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_VERSION: Final = 2
_FORMER: Final = 1  # the same tables, but files of other tools were read in another way
_PATIENCE_SECONDS: Final = 5.0
_SEEDS: Final = range(2**63)
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS history_version (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS history_pictures (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  folder TEXT NOT NULL,
  name TEXT NOT NULL,
  size INTEGER NOT NULL,
  changed INTEGER NOT NULL,
  made INTEGER NOT NULL,
  owner TEXT NOT NULL,
  readable INTEGER NOT NULL,
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  seed INTEGER,
  key TEXT,
  model TEXT,
  prompt TEXT NOT NULL,
  details TEXT NOT NULL,
  parameters TEXT NOT NULL,
  UNIQUE (folder, name)
);
CREATE INDEX IF NOT EXISTS history_newest ON history_pictures (folder, made DESC, id DESC);
"""
# Trigrams, not words: Chinese has no spaces, and queries may be the beginnings of words.
_WORDS: Final = """
CREATE VIRTUAL TABLE IF NOT EXISTS history_words USING fts5(
  prompt, details, content='history_pictures', content_rowid='id', tokenize='trigram');
CREATE TRIGGER IF NOT EXISTS history_words_added AFTER INSERT ON history_pictures BEGIN
  INSERT INTO history_words (rowid, prompt, details) VALUES (new.id, new.prompt, new.details);
END;
CREATE TRIGGER IF NOT EXISTS history_words_removed AFTER DELETE ON history_pictures BEGIN
  INSERT INTO history_words (history_words, rowid, prompt, details)
    VALUES ('delete', old.id, old.prompt, old.details);
END;
CREATE TRIGGER IF NOT EXISTS history_words_changed AFTER UPDATE OF prompt, details ON history_pictures BEGIN
  INSERT INTO history_words (history_words, rowid, prompt, details)
    VALUES ('delete', old.id, old.prompt, old.details);
  INSERT INTO history_words (rowid, prompt, details) VALUES (new.id, new.prompt, new.details);
END;
"""
# Made with the first picture that is added, so that databases from before it need no other version.
_KEYS: Final = "CREATE INDEX IF NOT EXISTS history_keys ON history_pictures (folder, key)"
_OURS: Final = ("history_words", "history_pictures", "history_version")
_COLUMNS: Final = (
    "folder, name, size, changed, made, owner, readable, width, height, seed, key, model, prompt, details, parameters"
)
# The owner is not updated, because the file does not contain it.
_PUT: Final = (
    f"INSERT INTO history_pictures ({_COLUMNS}) VALUES ({', '.join('?' * 15)}) "  # noqa: S608 - our own names
    "ON CONFLICT (folder, name) DO UPDATE SET size=excluded.size, changed=excluded.changed, made=excluded.made, "
    "readable=excluded.readable, width=excluded.width, height=excluded.height, seed=excluded.seed, key=excluded.key, "
    "model=excluded.model, prompt=excluded.prompt, details=excluded.details, parameters=excluded.parameters, "
    "owner=CASE excluded.owner WHEN '' THEN owner ELSE excluded.owner END RETURNING id"
)
_SELECT: Final = (
    "SELECT id, name, size, changed, made, owner, readable, width, height, key, model, parameters FROM history_pictures"
)


class HistoryIndex:
    """Rows about the pictures of one folder; the table may hold rows of other folders too.

    Every method opens the database anew, blocks for the disk, and may be called from any thread of any process. A
    deleted database is made again; a damaged one is renamed and replaced by a new one.

    Args:
        path: The database.
        folder: The folder of the pictures.

    Raises:
        sqlite3.Error, OSError: From every method: the database cannot be opened, read or written.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = str(folder)

    def put(self, pictures: Iterable[Picture]) -> list[int]:
        """Insert or refresh pictures by name, all or nothing; return their ids."""
        rows = [self._row(picture) for picture in pictures]

        def put(database: sqlite3.Connection) -> list[int]:
            database.execute(_KEYS)
            return [database.execute(_PUT, row).fetchall()[0][0] for row in rows]

        return self._within(put)

    def rename(self, changes: Iterable[tuple[int, str]]) -> None:
        """Change the names of pictures; their ids and owners stay."""
        self._within(
            lambda database: database.executemany(
                "UPDATE OR IGNORE history_pictures SET name = ? WHERE id = ?", [(name, id_) for id_, name in changes]
            )
        )

    def delete(self, ids: Iterable[int]) -> None:
        """Delete rows."""
        rows = [(id_,) for id_ in ids]
        self._within(lambda database: database.executemany("DELETE FROM history_pictures WHERE id = ?", rows))

    def get(self, id_: int) -> Picture | None:
        """Return one picture of this folder."""
        found = self._select("folder = ? AND id = ?", (self._folder, id_))
        return found[0] if found else None

    def stamps(self) -> dict[str, tuple[int, Stamp]]:
        """Return the id and the stamp of each picture of this folder by name, unreadable ones too."""
        query = "SELECT id, name, size, changed FROM history_pictures WHERE folder = ?"
        rows = self._within(lambda database: database.execute(query, (self._folder,)).fetchall())
        return {name: (id_, Stamp(size, changed)) for id_, name, size, changed in rows}

    def newest(
        self, wanted: Sequence[Condition], *, limit: int, after: tuple[int, int] | None, owners: Collection[str] | None
    ) -> list[Picture]:
        """Return readable pictures, newest first, that fulfil all conditions *wanted*.

        Args:
            wanted: From `search.conditions`.
            limit: Maximum number.
            after: The time and id of the last picture of the previous page.
            owners: Only pictures of these; None = all.
        """
        later = [] if after is None else [Condition("(made, id) < (?, ?)", after)]
        where, values = self._where([*wanted, *later], owners)
        return self._select(f"{where} ORDER BY made DESC, id DESC LIMIT ?", (*values, limit))

    def count(self, wanted: Sequence[Condition], *, owners: Collection[str] | None) -> int:
        """Return how many pictures `newest` would list without a limit."""
        where, values = self._where(wanted, owners)
        query = f"SELECT COUNT(*) FROM history_pictures WHERE {where}"  # noqa: S608 - our own conditions
        return int(self._within(lambda database: database.execute(query, values).fetchone()[0]))

    def same(self, key: str, size: int, owner: str, before: int | None = None) -> list[Picture]:
        """Return readable pictures of a key, a size in bytes and an owner; with *before*, only those of lower ids."""
        wanted = [Condition("key = ?", (key,)), Condition("size = ?", (size,))]
        earlier = [] if before is None else [Condition("id < ?", (before,))]
        where, values = self._where([*wanted, *earlier], [owner])
        return self._select(f"{where} ORDER BY id", values)

    def _where(self, wanted: Sequence[Condition], owners: Collection[str] | None) -> tuple[str, tuple[str | int, ...]]:
        """Return the condition for readable pictures of this folder and of *owners*, with its values."""
        every = [Condition("folder = ?", (self._folder,)), Condition("readable"), *wanted]
        if owners is not None:
            every.append(Condition(f"owner IN ({', '.join('?' * len(owners))})", tuple(owners)))
        values = tuple(value for condition in every for value in condition.values)
        return " AND ".join(condition.sql for condition in every), values

    @property
    def full_text(self) -> bool:
        """Whether this SQLite has a trigram index; without one, every search reads every row."""
        return self._within(_has_words)

    def _select(self, where: str, values: tuple[str | int, ...]) -> list[Picture]:
        rows = self._within(lambda database: database.execute(f"{_SELECT} WHERE {where}", values).fetchall())
        return [_picture(row) for row in rows]

    def _row(self, picture: Picture) -> tuple[Any, ...]:
        parameters = picture.parameters or {}
        seed = parameters.get("seed")
        seed = seed if isinstance(seed, int) and seed in _SEEDS else None
        fields = [parameters.get("negative_prompt"), picture.model, f"{picture.width}x{picture.height}", seed]
        return (
            self._folder,
            picture.name,
            *picture.stamp,
            picture.made,
            picture.owner,
            picture.readable,
            picture.width,
            picture.height,
            seed,
            picture.key,
            picture.model,
            normal(str(parameters.get("prompt") or "")),
            normal("\n".join(str(each) for each in (*fields, picture.name) if each is not None)),
            json.dumps(parameters),
        )

    def _within(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Call *work* in one transaction; a damaged database is renamed, and *work* is called on a new one."""
        try:
            with self._opened() as database, database:
                return work(database)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._set_aside(error)
        with self._opened() as database, database:
            return work(database)

    def writable(self) -> bool:
        """Return whether a row could be written now."""
        try:
            with self._opened() as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
        except (sqlite3.Error, OSError):
            return False
        return True

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # Not kept open, so that deleting or replacing the file while the server runs takes effect at once.
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(connect(self._path, _PATIENCE_SECONDS)) as database:
            try:
                use_wal(database, self._path.parent)
                database.execute("PRAGMA synchronous = NORMAL")  # rows lost by a power failure are read again
                if _version(database) != _VERSION:
                    _make(database)
                yield database
            except sqlite3.DatabaseError as error:
                if isinstance(database, Snapshot) and _is_damage(error):  # another process is probably writing now
                    raise sqlite3.OperationalError(str(error)) from error
                raise

    def _set_aside(self, error: sqlite3.Error) -> None:
        aside = self._path.with_name(f"{self._path.name}.damaged")
        _log.warning("history_index_damaged file=%s set_aside=%s error=%s", self._path, aside, error)
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self._path}{suffix}", f"{aside}{suffix}")  # noqa: PTH105 - suffixes, not paths


def _version(database: sqlite3.Connection) -> int | None:
    try:
        row = database.execute("SELECT version FROM history_version").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return None
    return int(row[0]) if row else None


def _make(database: sqlite3.Connection) -> None:
    """Make the tables; those of another version are dropped first and rebuilt from the files.

    Of the former version the rows stay, with their ids and owners, and files without a key are read again.
    """
    database.execute("BEGIN IMMEDIATE")  # of two processes that start together, only one makes the tables
    try:
        if _version(database) == _FORMER:
            database.execute("UPDATE history_pictures SET changed = -1 WHERE key IS NULL")
            database.execute("UPDATE history_version SET version = ?", (_VERSION,))
        elif _version(database) not in {None, _VERSION}:
            for name in _OURS:
                database.execute(f"DROP TABLE IF EXISTS {name}")
        _run(database, _TABLES)
        with contextlib.suppress(sqlite3.OperationalError):  # no FTS5, or a version without trigrams
            _run(database, _WORDS)
        if _version(database) is None:
            database.execute("INSERT INTO history_version VALUES (?)", (_VERSION,))
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _run(database: sqlite3.Connection, script: str) -> None:
    """Execute several statements inside the transaction; `executescript` would commit it first."""
    statement = ""
    for line in script.strip().splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            database.execute(statement)
            statement = ""


def _has_words(database: sqlite3.Connection) -> bool:
    found = database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'history_words_changed'").fetchone()
    return found is not None


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _picture(row: tuple[Any, ...]) -> Picture:
    id_, name, size, changed, made, owner, readable, width, height, key, model, parameters = row
    return Picture(
        name=name,
        stamp=Stamp(size, changed),
        made=made,
        owner=owner,
        width=width,
        height=height,
        key=key,
        model=model,
        parameters=json.loads(parameters),
        readable=bool(readable),
        id=id_,
    )
