"""`History`: the folder of pictures and the index of it, kept together."""

import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from zimage_cache.database import refused_lock
from zimage_cache.entry import Entry
from zimage_cache.errors import HistoryUnavailable, InvalidRequest
from zimage_cache.faults import Faults, can_be_written, cause_of
from zimage_cache.history import files
from zimage_cache.history.files import Stamp, Survey
from zimage_cache.history.index import HistoryIndex
from zimage_cache.history.picture import Picture
from zimage_cache.history.search import Condition, conditions, no_keys, pieces, resembling
from zimage_cache.history.thumbs import Thumbnails
from zimage_cache.i18n.messages import Message

_log = logging.getLogger(__name__)
_CURSOR = re.compile(r"(-?\d{1,15})_(\d{1,18})")
_BATCH: Final = 100
_CANDIDATES: Final = 200
_LEAST_SHARED: Final = 0.5
_MOST_BYTES: Final = 2**28
_FRESH_SECONDS: Final = 0.2  # a first page waits so long for files that have just come into the folder
_FAULTS: Final = {
    "disk_full": Message("history_disk_full"),
    "read_only": Message("history_read_only"),
    "unwritable": Message("history_unwritable"),
}
_INDEX: Final = "history_index_unusable"
_TEMPORARY: Final = "history_index_temporary"


# Names of accounts, "" for pictures that belong to none; None = all of them.
Owners = Collection[str] | None


class Page(NamedTuple):
    """Some pictures, newest first; `cursor` requests the next ones, None = there are no more.

    `total` is how many there are on all pages, as far as the index knows; None on those after the first.
    """

    pictures: list[Picture]
    cursor: str | None
    total: int | None


class History:
    """A folder of pictures and its index, independent of the cache: clearing one does not affect the other.

    The files are authoritative. The index is rebuilt from the files' metadata when it is lost, compared with the files
    at `start` and whenever the folder changed, and a picture is listed only after a check of its file.
    Methods may block for the disk; from any thread, and beside other processes.

    Args:
        folder: Made when it is missing, also when it is removed later.
        workspace: The folder of the index and the thumbnails; default: beside *folder*.
        faults: Receives persistent faults.
        apart: Folders of other files of this program, which hold no pictures of people even if they are in *folder*.
    """

    def __init__(
        self,
        folder: Path,
        workspace: Path | None = None,
        faults: Faults | None = None,
        *,
        apart: Iterable[Path] = (),
    ) -> None:
        home = workspace or folder.parent
        self._folder = folder
        self._home = home
        self._index = HistoryIndex(home / "zimage.sqlite3", folder)
        self._temporary: TemporaryDirectory[str] | None = None  # where the index is when it cannot be in the workspace
        self._thumbnails = Thumbnails(home / "history_thumbs")
        self._apart = frozenset(_inside(folder, (home / "history_thumbs", *apart)))
        self._faults = faults or Faults()
        self._comparing = threading.Lock()
        self._closing = threading.Event()
        self._started = False
        self._compared: Survey | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start a thread that keeps the index up to date; returns at once."""
        if (reason := refused_lock(self._home)) is not None:
            self._use_temporary_index(reason)
        self._started = True
        self._closing.clear()
        self._follow()

    def close(self) -> None:
        """Stop that thread; waits until it has read the present picture."""
        self._started = False
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        if self._temporary is not None:
            self._temporary.cleanup()

    def add(self, entry: Entry, owner: str = "") -> Path | None:
        """Write a copy as `image_YYYYMMDD_HHMMSS_<key8>[_n].png` (local time); on failure log a warning, return None.

        Where *owner* has a file of the same key with the very same bytes, that one stays the only one, and its path is
        returned. The file is written atomically. An error of the index is logged as a warning; the next comparison
        adds the file.
        """
        if (twin := self._twin(entry, owner)) is not None:
            return twin
        moment = entry.record.created.astimezone().strftime("%Y%m%d_%H%M%S")
        try:
            path = files.write_new(self._folder, f"image_{moment}_{entry.record.key[:8]}", entry.png)
        except OSError as error:
            _log.warning("history_write_failed folder=%s error=%s", self._folder, error)
            cause = cause_of(error)
            fault = Message("because", what=_FAULTS[cause], reason=error.strerror)
            self._faults.begin(f"history_{cause}", fault, self._writable)
            return None
        self._faults.end(*(f"history_{cause}" for cause in _FAULTS))
        try:
            if stamp := files.stamp_of(path):
                [id_] = self._index.put([Picture.read(self._folder, path.name, stamp, owner)])
                path = self._only(path, entry, owner, id_)
        except (sqlite3.Error, OSError) as error:
            _log.warning("history_index_failed file=%s error=%s", path, error)
            self._faults.begin(_INDEX, Message(_INDEX), self._index.writable)
        else:
            self._faults.end(_INDEX)
        return path

    def _twin(self, entry: Entry, owner: str, before: int | None = None) -> Path | None:
        """Return the file of an earlier picture of *owner* with the bytes of *entry*; None where none is known."""
        try:
            known = self._index.same(entry.record.key, len(entry.png), owner, before)
            twins = (each for each in self._current(known) if self.read(each) == entry.png)
            found = next(twins, None)
        except (sqlite3.Error, OSError):  # not known: two files are better than none
            return None
        return None if found is None else self._folder / found.name

    def _only(self, path: Path, entry: Entry, owner: str, id_: int) -> Path:
        """Delete the new file *path* if another thread or process added the same picture first; return what stays.

        Of two that write at the same time, the one whose row has the lower number finds no earlier one.
        """
        twin = self._twin(entry, owner, before=id_)
        if twin is None:
            return path
        path.unlink(missing_ok=True)
        self._index.delete([id_])
        return twin

    def reconcile(self) -> None:
        """Bring the index up to date with the files: new, vanished, changed and renamed ones.

        Raises:
            HistoryUnavailable: The index cannot be written. A missing folder changes nothing.
        """
        with self._comparing, _translated():
            known = self._index.stamps()  # read before the folder: a file added in between must not seem deleted
            try:
                found = files.survey(self._folder, self._apart)
            except OSError:
                return  # perhaps not mounted: removing its rows would lose the ids and owners
            self._complain(found)
            there = found.pictures
            gone = [name for name in known if name not in there and found.knows(name)]
            fresh = {name: stamp for name, stamp in there.items() if known.get(name, (0, None))[1] != stamp}
            renamed = _renamed({name: known[name] for name in gone}, fresh.keys() - known.keys(), there)
            self._index.rename(renamed)
            self._index.delete({known[name][0] for name in gone} - {id_ for id_, _ in renamed})
            self._read(fresh)
            files.sweep(found.parts, time.time())
            self._thumbnails.sweep((self._folder / name, stamp) for name, stamp in there.items())
            self._compared = None if self._closing.is_set() else found

    def page(
        self,
        query: str = "",
        *,
        limit: int = 50,
        cursor: str | None = None,
        owners: Owners = None,
        starred: Callable[[], Collection[str]] = no_keys,
    ) -> Page:
        """Return pictures, newest first; pictures added later do not shift the next page.

        Args:
            query: Words, "several words", `seed:42`, `size:1024x768`, `model:turbo`, `key:` and a key or the first 8 or
                more digits of it, `is:starred`; all must be found.
            limit: Most of them, at least 1.
            cursor: From the previous page.
            owners: Only pictures of these; None = all.
            starred: Returns the keys of the pictures that are starred.

        Raises:
            InvalidRequest: The query is too long, or the cursor is invalid.
            HistoryUnavailable: The index cannot be used.
        """
        after = None if cursor is None else _position(cursor)
        comparison = self._follow()
        if comparison is not None and cursor is None:
            comparison.join(_FRESH_SECONDS)
        with _translated():
            wanted = conditions(query, full_text=self._index.full_text, starred=starred)
            found = list(islice(self._every(wanted, after=after, owners=owners), limit + 1))
            total = self._index.count(wanted, owners=owners) if cursor is None else None
        shown = found[:limit]
        return Page(shown, f"{shown[-1].made}_{shown[-1].id}" if len(found) > limit else None, total)

    def similar(self, text: str, *, limit: int = 8, owners: Owners = None) -> list[Picture]:
        """Return pictures whose prompts have at least half of the trigrams of *text*, the most similar first.

        Raises:
            HistoryUnavailable: The index cannot be used.
        """
        asked = pieces(text)
        if not asked:
            return []
        with _translated():
            close = resembling(asked, most=_CANDIDATES) if self._index.full_text else None
            rows = self._index.newest([close] if close else [], limit=_CANDIDATES, after=None, owners=owners)
            scored = [(_closeness(asked, row), row) for row in rows]
            close_first = sorted(scored, key=lambda each: each[0], reverse=True)
            enough = (row for (shared, _), row in close_first if shared >= _LEAST_SHARED)
            return list(islice(self._current(enough), limit))

    def get(self, id_: int, owners: Owners = None) -> Picture | None:
        """Return one picture, if its file is still there.

        Raises:
            HistoryUnavailable: The index cannot be used.
        """
        with _translated():
            row = self._index.get(id_)
            if row is None or not row.readable or (owners is not None and row.owner not in owners):
                return None
            return next(self._current([row]), None)

    def read(self, picture: Picture) -> bytes | None:
        """Return the bytes of a picture's file; None when it is missing, or larger than 256 MiB."""
        try:
            with files.open_plain(self._folder / picture.name) as opened:
                content = opened.read(_MOST_BYTES + 1)
        except OSError:
            return None
        return content if len(content) <= _MOST_BYTES else None

    def thumbnail(self, picture: Picture) -> bytes | None:
        """Return a WebP of at most 320 pixels a side; None when the file is missing, damaged, or too large."""
        return self._thumbnails.get(self._folder / picture.name, picture.stamp)

    def delete(self, picture: Picture) -> None:
        """Delete a picture: its file, its thumbnail, its row.

        Raises:
            HistoryUnavailable: The file cannot be deleted; then nothing is deleted.
        """
        with _translated():
            (self._folder / picture.name).unlink(missing_ok=True)
            self._forget(picture)

    def every(self, before: datetime | None = None) -> Iterator[Picture]:
        """Yield all pictures, newest first; with *before*, only those made earlier.

        Raises:
            HistoryUnavailable: The index cannot be used.
        """
        wanted = [] if before is None else [Condition("made < ?", (int(before.timestamp()),))]
        with _translated():
            yield from self._every(wanted)

    def archive(self, picture: Picture, to: Path) -> Path:
        """Move a picture's file below another folder, under its own name or the next free one; return where it is.

        Raises:
            InvalidRequest: *to* is inside the folder of the history.
            HistoryUnavailable: The file cannot be moved; it is unchanged.
        """
        if to.resolve().is_relative_to(self._folder.resolve()):
            raise InvalidRequest("outside_of_history", field="to", folder=self._folder, got=to)
        with _translated():
            moved = files.move(self._folder / picture.name, to / picture.name)
            self._forget(picture)
        return moved

    def _forget(self, picture: Picture) -> None:
        self._index.delete([picture.id])
        self._thumbnails.delete(self._folder / picture.name, picture.stamp)

    def _every(
        self, wanted: Sequence[Condition], *, after: tuple[int, int] | None = None, owners: Owners = None
    ) -> Iterator[Picture]:
        rows = self._index.newest(wanted, limit=_BATCH, after=after, owners=owners)
        while rows:
            yield from self._current(rows)
            after = rows[-1].made, rows[-1].id
            rows = self._index.newest(wanted, limit=_BATCH, after=after, owners=owners)

    def _current(self, rows: Iterable[Picture]) -> Iterator[Picture]:
        """Yield the rows whose files exist; rows of changed files are read again."""
        for row in rows:
            stamp = files.stamp_in(self._folder, row.name)
            if stamp == row.stamp:
                yield row
            elif stamp is not None:
                changed = Picture.read(self._folder, row.name, stamp, row.owner)
                with suppress(sqlite3.OperationalError):  # cannot be written now; the file is read again next time
                    self._index.put([changed])
                if changed.readable:
                    yield replace(changed, id=row.id)

    def _read(self, fresh: Mapping[str, Stamp]) -> None:
        """Index files in batches, so that `close` does not wait long and a crash loses little."""
        # In the order in which they were made, because ids order the pictures of the same second.
        waiting = iter(sorted(fresh.items(), key=lambda each: each[1].changed))
        while batch := list(islice(waiting, _BATCH)):
            if self._closing.is_set():
                return
            self._index.put([Picture.read(self._folder, name, stamp) for name, stamp in batch])

    def _follow(self) -> threading.Thread | None:
        """Start a comparison in a thread, if a folder has changed since the last one and none is running; return it."""
        if not self._started or self._comparing.locked():
            return None
        if self._compared is not None and not files.changed_since(self._folder, self._compared):
            return None
        thread = threading.Thread(target=self._compare, name="history", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be started: the next call tries again
            return None
        self._thread = thread
        return thread

    def _complain(self, found: Survey) -> None:
        if found.unseen:
            some = ", ".join(sorted(found.unseen)[:3])
            _log.warning("history_folders_not_read folder=%s count=%d such=%s", self._folder, len(found.unseen), some)

    def _writable(self) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        return can_be_written(self._folder)

    def _compare(self) -> None:
        try:
            self.reconcile()
        except HistoryUnavailable as error:
            _log.warning("history_not_reconciled folder=%s error=%s", self._folder, error)
            self._faults.begin(_INDEX, Message(_INDEX), self._index.writable)

    def _use_temporary_index(self, reason: str) -> None:
        """Make the index anew, where SQLite works; only this process sees it."""
        _log.warning("history_index_temporary folder=%s error=%s", self._home, reason)
        self._temporary = TemporaryDirectory(prefix="zimage-history-", ignore_cleanup_errors=True)
        self._index = HistoryIndex(Path(self._temporary.name) / "index.sqlite3", self._folder)
        self._faults.begin(_TEMPORARY, Message("because", what=Message(_TEMPORARY), reason=reason))


def _inside(folder: Path, others: Iterable[Path]) -> Iterator[str]:
    """Yield the paths in *folder* of those of the *others* that are in it."""
    for other in others:
        with suppress(ValueError, OSError):
            yield other.resolve().relative_to(folder.resolve()).as_posix()


def _renamed(
    gone: Mapping[str, tuple[int, Stamp]], new: Collection[str], there: Mapping[str, Stamp]
) -> list[tuple[int, str]]:
    """Return id and new name of each vanished file for which exactly one new file has the same size and time."""
    homeless: dict[Stamp, list[int]] = {}
    for id_, stamp in gone.values():
        homeless.setdefault(stamp, []).append(id_)
    found: dict[Stamp, list[str]] = {}
    for name in new:
        found.setdefault(there[name], []).append(name)
    alone = (stamp for stamp in homeless if len(homeless[stamp]) == 1 == len(found.get(stamp, ())))
    return [(homeless[stamp][0], found[stamp][0]) for stamp in alone]


def _closeness(asked: frozenset[str], picture: Picture) -> tuple[float, float]:
    """Return the share of the requested trigrams that the prompt has, and the Jaccard similarity of both sets."""
    has = pieces(str((picture.parameters or {}).get("prompt") or ""))
    both = len(asked & has)
    return both / len(asked), both / len(asked | has)


def _position(cursor: str) -> tuple[int, int]:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InvalidRequest("previous_page", field="cursor", got=cursor[:80])
    return int(match[1]), int(match[2])


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise HistoryUnavailable("history_unavailable", error=error) from error
