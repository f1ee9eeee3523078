"""How long pictures take here, learnt from those already drawn, by this process and by earlier ones."""

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from zimage_cache.database import connect
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.request import Recipe

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS: Final = 1.0
_MOST: Final = 2000
_COLUMNS: Final = "device, model, precision, runtime, width, height, guided"
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS pace (device TEXT, model TEXT, precision TEXT, runtime TEXT, width INTEGER, "
    f"height INTEGER, guided INTEGER, seconds REAL NOT NULL, learnt REAL NOT NULL, PRIMARY KEY ({_COLUMNS}))"
)
_FORGET: Final = "DELETE FROM pace WHERE rowid NOT IN (SELECT rowid FROM pace ORDER BY learnt DESC LIMIT ?)"


class Kind(NamedTuple):
    """Pictures that take equally long an evaluation: drawn by the same maker on the same kind of device, of one size.

    `guided`: whether guidance doubles the work.
    """

    device: str
    model: str
    precision: str
    runtime: str
    width: int
    height: int
    guided: bool


class Pace:
    """Remembers GPU-seconds an evaluation, by device, model, identity, size and whether guidance doubles the work.

    The plan needs no place in the key: a generator draws each size under one plan, and when that changes the next
    picture is the new measure.

    Args:
        devices: What each model is drawn on, by the model's name: another card's pace says nothing.
        database: Where it is kept between starts; it holds other tables too. None = nowhere.

    Threads: any. Only `recall` and `flush` block for the disk, for a second or two at most. Trouble with the database
    is one line in the log: then this process knows what it learns itself.
    """

    def __init__(self, devices: Mapping[str, str] | None = None, database: Path | None = None) -> None:
        self._devices = dict(devices or {})
        self._database = database
        self._lock = threading.Lock()  # around the next two, never held across anything slow
        self._seconds: dict[Kind, float] = {}
        self._unsaved: dict[Kind, tuple[float, float]] = {}
        self._troubled = False

    def learn(self, model: str, identity: GeneratorIdentity, recipe: Recipe, gpu_seconds: float) -> None:
        """Take the latest picture as the measure: loads and clocks change, old averages mislead."""
        kind, seconds = self._kind(model, identity, recipe), gpu_seconds / recipe.evaluations
        with self._lock:
            self._seconds[kind] = seconds
            self._unsaved[kind] = seconds, time.time()

    def guess(self, model: str, identity: GeneratorIdentity | None, recipe: Recipe) -> float | None:
        """Return the GPU-seconds to expect for *recipe*; None before the first of its kind, or of unknown identity."""
        seconds = None if identity is None else self._seconds.get(self._kind(model, identity, recipe))
        return None if seconds is None else seconds * recipe.evaluations

    def recall(self) -> None:
        """Learn what earlier processes knew; what this one has learnt already stands."""
        if self._database is None or not self._database.exists():
            return
        try:
            recalled = _read(self._database)
        except (sqlite3.Error, OSError) as error:
            self._complain(error)
        else:
            with self._lock:
                self._seconds = recalled | self._seconds

    def flush(self) -> None:
        """Keep what was learnt since the last time."""
        if self._database is None:
            return
        with self._lock:
            unsaved, self._unsaved = self._unsaved, {}
        if not unsaved:
            return
        try:
            _write(self._database, unsaved)
        except (sqlite3.Error, OSError) as error:
            with self._lock:
                self._unsaved = unsaved | self._unsaved
            self._complain(error)
        else:
            self._troubled = False

    def _kind(self, model: str, identity: GeneratorIdentity, recipe: Recipe) -> Kind:
        device = self._devices.get(model, "")
        guided = recipe.guidance_scale > 0
        return Kind(device, model, identity.precision, identity.runtime, recipe.width, recipe.height, guided)

    def _complain(self, error: Exception) -> None:
        if not self._troubled:
            _log.info("pace_not_kept file=%s error=%s; waits are estimated from this start on", self._database, error)
        self._troubled = True


def _read(path: Path) -> dict[Kind, float]:
    with closing(_connection(path)) as database:
        made = database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'pace'").fetchone()
        rows = database.execute(f"SELECT {_COLUMNS}, seconds FROM pace").fetchall() if made else []  # noqa: S608 - names
    # Of any type, where another program wrote them.
    return {Kind._make((*row[:-2], bool(row[-2]))): row[-1] for row in rows if _is_time(row[-1])}


def _is_time(seconds: object) -> bool:
    return isinstance(seconds, float) and math.isfinite(seconds) and seconds > 0


def _write(path: Path, learnt: Mapping[Kind, tuple[float, float]]) -> None:
    """Write all or nothing, and forget what was learnt longest ago where there is too much."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(*kind, seconds, moment) for kind, (seconds, moment) in learnt.items()]
    with closing(_connection(path)) as database:
        # Immediate: two processes that both read before they write would have to start again.
        database.execute("BEGIN IMMEDIATE")
        database.execute(_TABLE)
        database.executemany("INSERT OR REPLACE INTO pace VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        database.execute(_FORGET, (_MOST,))
        database.execute("COMMIT")


def _connection(path: Path) -> sqlite3.Connection:
    # In whatever journal mode the history, which lives in the same file, has set.
    return connect(path, _PATIENCE_SECONDS, autocommit=True)
