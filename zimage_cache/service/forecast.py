"""How far jobs are, and how long they will take: from the queue, and from the pictures drawn here so far."""

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from zimage_cache.database import connect, has_table, transaction
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.protocol import Status
from zimage_cache.i18n.messages import Message
from zimage_cache.request import Recipe
from zimage_cache.service.flights import Phase, Run
from zimage_cache.service.model import Model

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS: Final = 1.0
_MOST: Final = 2000
_COLUMNS: Final = "device, model, precision, runtime, width, height, guided"
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS pace (device TEXT, model TEXT, precision TEXT, runtime TEXT, width INTEGER, "
    f"height INTEGER, guided INTEGER, seconds REAL NOT NULL, learnt REAL NOT NULL, PRIMARY KEY ({_COLUMNS}))"
)
_FORGET: Final = "DELETE FROM pace WHERE rowid NOT IN (SELECT rowid FROM pace ORDER BY learnt DESC LIMIT ?)"


@dataclass(frozen=True, slots=True)
class Progress:
    """How a job stands.

    Args:
        phase: "queued", "loading", "encoding" (the prompt), "drawing", "decoding" or "finishing".
        detail: What a loading generator does.
        ahead: Pictures that will be drawn before this job's next one.
        step: Finished evaluations of the picture being drawn, of `steps`.
        done: Finished pictures, of `n`.
        eta_seconds: Until the last picture; None while nothing is known.
        preview: A small JPEG of the picture being drawn; None unless the job is watched and there is one.
    """

    phase: str
    detail: Message | None = None
    ahead: int = 0
    step: int = 0
    steps: int = 0
    done: int = 0
    n: int = 1
    eta_seconds: float | None = None
    preview: bytes | None = None


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


class Forecast:
    """Tells askers what to expect, from the GPU-seconds an evaluation of each kind of picture took here the last time.

    The plan needs no place in the key: a generator draws each size under one plan, and when that changes the next
    picture is the new measure.

    Args:
        devices: What each model is drawn on, by the model's name: another device's pace says nothing.
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

    def cost(self, model: Model, recipes: Sequence[Recipe]) -> float | None:
        """Estimate the GPU-seconds of all of *recipes*; None: of some kind none was drawn yet."""
        guesses = [self.guess(model.name, model.known_identity, recipe) for recipe in recipes]
        return None if None in guesses else sum(filter(None, guesses))

    def progress(self, model: Model, pending: Sequence[Run], n: int) -> Progress:
        """Tell how a job of *n* pictures stands now that waits for the *pending* runs of *model*."""
        done = n - len(pending)
        undrawn = [run for run in pending if run.phase in {Phase.WAITING, Phase.DRAWING}]
        if not undrawn:
            return Progress("finishing", n=n, done=done, eta_seconds=0.0)
        run = next((run for run in undrawn if run.phase is Phase.DRAWING), undrawn[0])
        state = model.state
        loading = state.status is Status.LOADING
        return Progress(
            "loading" if loading else "queued" if run.phase is Phase.WAITING else _drawing_phase(run),
            detail=state.phase if loading else None,
            ahead=_ahead(model, run),
            step=run.step.evaluation if run.step else 0,
            steps=run.plan.recipe.evaluations,
            done=done,
            n=n,
            eta_seconds=None if loading else self._eta(model, undrawn),
            preview=run.preview,
        )

    def _eta(self, model: Model, undrawn: Sequence[Run]) -> float | None:
        """Estimate the wait for all of *undrawn*: the pictures up to the last of them, at the pace of these."""
        cost = self.cost(model, [run.plan.recipe for run in undrawn])
        if cost is None:
            return _measured(undrawn[0]) if len(undrawn) == 1 else None
        pictures = max(len(undrawn), 1 + max(_ahead(model, run) for run in undrawn))
        begun = sum(_share(run) for run in model.drawing)
        return cost / len(undrawn) * (pictures - begun) / min(model.lanes, pictures)

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


def _ahead(model: Model, run: Run) -> int:
    """Count the pictures that will be drawn before this one, the one being drawn included."""
    if run.phase is not Phase.WAITING:
        return 0
    return (model.queue.ahead(run) or 0) + len(model.drawing)


def _drawing_phase(run: Run) -> str:
    if run.step is None:
        return "encoding"
    return "decoding" if run.step.evaluation == run.step.evaluations else "drawing"


def _share(run: Run) -> float:
    return run.step.evaluation / run.step.evaluations if run.step else 0.0


def _measured(run: Run) -> float | None:
    """Estimate the rest of a run from its own finished evaluations alone."""
    share = _share(run)
    # Since its first evaluation began: waking the model and reading the prompt come once.
    return (time.monotonic() - run.began) * (1 - share) / share if share and run.began else None


def _read(path: Path) -> dict[Kind, float]:
    with closing(connect(path, _PATIENCE_SECONDS)) as database:
        made = has_table(database, "pace")
        rows = database.execute(f"SELECT {_COLUMNS}, seconds FROM pace").fetchall() if made else []  # noqa: S608 - names
    # Of any type, where another program wrote them.
    return {Kind._make((*row[:-2], bool(row[-2]))): row[-1] for row in rows if _is_time(row[-1])}


def _is_time(seconds: object) -> bool:
    return isinstance(seconds, float) and math.isfinite(seconds) and seconds > 0


def _write(path: Path, learnt: Mapping[Kind, tuple[float, float]]) -> None:
    """Write all or nothing, and forget what was learnt longest ago where there is too much."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(*kind, seconds, moment) for kind, (seconds, moment) in learnt.items()]
    with transaction(path, _PATIENCE_SECONDS) as database:
        database.execute(_TABLE)
        database.executemany("INSERT OR REPLACE INTO pace VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        database.execute(_FORGET, (_MOST,))
