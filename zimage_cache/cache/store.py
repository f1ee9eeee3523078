"""The files of one cache folder: read and verify, commit, remove, quarantine. Knows no counters, and not what may stay.

Reading takes no lock. Everything that changes files says "locked": its caller holds the lock of the key.
What a kill or a power cut can leave behind, by the order of `commit` and `remove`: files in `tmp/`, and a picture,
thumbnail or pin without a record. Never a record that promises what is not there, unless a picture was removed by hand.
"""

import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from zimage_cache.cache import files, thumbs
from zimage_cache.cache.layout import Layout, is_key, key_in, writer_of
from zimage_cache.cache.locks import Stripes
from zimage_cache.cache.tier import Signature, Stored
from zimage_cache.database import storable
from zimage_cache.entry import Entry, Record
from zimage_cache.errors import CacheError, CacheWriteFailed, CorruptEntry

MAX_RECORD = 2 * 2**20
MAX_IMAGE = 256 * 2**20
ORPHAN_SECONDS = 3600.0
MOST_INCIDENTS = 32
QUARANTINE_BYTES = 64 * 2**20
_REASON = "reason.txt"
_NO_KEY = "0" * 64


class ImageMissing(CorruptEntry):
    """There is a record, but no picture: it was removed, or another process is committing it."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What is on disk of one key: sizes in bytes, `None` for what is not there; times in seconds since 1970.

    Args:
        used: When it was last used: the modification time of the picture.
        changed: When one of its files was last changed, moved or renamed.
        stamp: Modification time of the record in nanoseconds: which version of it this is.
        pinned: Whether there is a marker that pins it.
    """

    record: int | None = None
    image: int | None = None
    thumb: int | None = None
    used: float = 0.0
    changed: float = 0.0
    stamp: int = 0
    pinned: bool = False

    @classmethod
    def of(
        cls,
        record: os.stat_result | None,
        image: os.stat_result | None,
        thumb: os.stat_result | None,
        pin: os.stat_result | None,
    ) -> Self:
        """Put together what `stat` says of the three files and the marker."""
        there = [status for status in (record, image, thumb, pin) if status is not None]
        dated = image or record or thumb
        return cls(
            record=record and record.st_size,
            image=image and image.st_size,
            thumb=thumb and thumb.st_size,
            used=dated.st_mtime if dated else 0.0,
            changed=max((max(status.st_mtime, status.st_ctime) for status in there), default=0.0),
            stamp=storable(record.st_mtime_ns) if record else 0,
            pinned=pin is not None,
        )

    @property
    def bytes(self) -> int:
        """Size of everything that is there."""
        return (self.record or 0) + (self.image or 0) + (self.thumb or 0)

    @property
    def whole(self) -> bool:
        """Whether there are both a record and its picture."""
        return self.record is not None and self.image is not None

    @property
    def halved(self) -> bool:
        """Whether there is a record without its picture."""
        return self.record is not None and self.image is None

    def orphaned(self, now: float) -> bool:
        """Whether there are files, but no record any more, and that for over an hour."""
        return self.record is None and self.changed > 0 and now - self.changed > ORPHAN_SECONDS


class Quarantine:
    """Where corrupt entries go: a folder an incident, with a reason, bounded in number and bytes, never served again.

    Args:
        folder: Where it keeps them; made when missing. Its bytes are beside the bound of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, paths: Iterable[Path], reason: str) -> None:
        """Move *paths*, whatever they are, out of the way, in this order; the caller holds their key's lock.

        Raises:
            CacheWriteFailed: They are still there.
        """
        incident = self._folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}"
        try:
            files.make_folders((incident,))
        except CacheWriteFailed:
            # A full disk has no room for evidence: what must not be served is worth less than what may.
            self._discard(paths)
            return
        for path in paths:
            if files.status(path) is not None:
                files.replace(path, incident / path.name)
        self._explain(incident, reason)
        self._trim()

    def _discard(self, paths: Iterable[Path]) -> None:
        for path in paths:
            files.remove(path)

    def _explain(self, incident: Path, reason: str) -> None:
        with suppress(CacheWriteFailed):  # the files are safely away; a full disk costs the explanation only
            files.write(incident / _REASON, f"{reason}\n".encode())

    def _trim(self) -> None:
        """Let the oldest incidents go; other processes may be doing the same."""
        left = QUARANTINE_BYTES
        with suppress(CacheError):  # the next incident trims again
            incidents = sorted((Path(entry.path) for entry in files.listing(self._folder)), reverse=True)
            for number, incident in enumerate(incidents):
                left -= _weight(incident)
                if number >= MOST_INCIDENTS or left < 0:
                    files.remove_all(incident)


class Store:
    """One cache folder.

    Args:
        root: The folder; made on the first write.

    Raises:
        CacheError: Reading failed, for reasons that are not the file's.
        CacheWriteFailed: Changing something failed.
    """

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.stripes = Stripes(self.layout.locks)
        self._quarantine = Quarantine(self.layout.quarantine)

    def record(self, key: str) -> tuple[Record, Signature] | None:
        """Read a record, and check that it is the one of *key*.

        Raises:
            CorruptEntry: It is not.
        """
        if (found := files.read(self.layout.record(key), MAX_RECORD)) is None:
            return None
        record = Record.from_json(found[0])
        if record.key != key:
            raise CorruptEntry(f"record: is the one of {record.key[:12]}, found under {key[:12]}")
        return record, found[1]

    def whole_record(self, key: str) -> Record | None:
        """Read a record whose picture is there, too, unread; `None` when one of them is missing."""
        found = self.record(key)
        return None if found is None or files.status(self.layout.image(key)) is None else found[0]

    def read(self, key: str) -> Stored | None:
        """Read an entry and verify it; `None` when there is no record.

        Raises:
            ImageMissing: There is a record, but no picture.
            CorruptEntry: The files do not fit together: damaged, or just being replaced. `judge` knows which.
        """
        if (found := self.record(key)) is None:
            return None
        record, signature = found
        if (image := files.read(self.layout.image(key), min(record.bytes, MAX_IMAGE))) is None:
            if self.folder_lost():
                raise CacheError(f"{self.layout.images}: the folder is missing")
            raise ImageMissing(f"image: missing under {key[:12]}")
        entry = Entry(record, image[0])
        entry.verify()
        return Stored(entry, signature)

    def judge(self, key: str) -> Stored | None:
        """Read again what did not fit together, locked, and put it right: quarantine it, or drop its record.

        Raises:
            CorruptEntry: It was corrupt, and is in quarantine now.
        """
        try:
            return self.read(key)
        except ImageMissing:
            self.remove(key)
            return None
        except CorruptEntry as error:
            self.quarantine(key, str(error))
            raise

    def quarantine(self, key: str, reason: str) -> None:
        """Move all files of *key* out of the way, locked."""
        self._quarantine.take(self.layout.files(key), reason)

    def still(self, stored: Stored) -> bool:
        """Tell whether *stored* is what the disk has; missing folders are trouble, not a deletion.

        Raises:
            CacheError: The disk does not say.
        """
        status = files.status(self.layout.record(stored.key))
        if status is None:
            return files.status(self.layout.keys) is None
        if Signature.of(status) != stored.signature:
            return False
        return files.status(self.layout.image(stored.key)) is not None or files.status(self.layout.images) is None

    def commit(self, entry: Entry) -> Stored:
        """Write an entry, locked; it is there, whole, as soon as its record is.

        The old record of a replaced entry goes first: no record ever names a picture that is not its own.
        """
        key = entry.record.key
        record, image, thumb = self.layout.files(key)
        files.make_folders(self.layout.folders)
        self._clear_way(key)
        with self._temporary(key) as new_image, self._temporary(key) as new_record:
            files.write(new_image, entry.png)
            signature = files.write(new_record, entry.record.to_json().encode())
            # No sync here: a power cut that undoes this, but not the rest, leaves what the digest gives away; a
            # sync would be milliseconds in which a kill costs the old entry.
            files.remove(record)
            files.remove(thumb)
            files.replace(new_image, image)
            files.replace(new_record, record)
        files.sync_folder(self.layout.images)
        files.sync_folder(self.layout.keys)
        return Stored(entry, signature)

    def try_out(self) -> None:
        """Do what storing does with an empty file of no entry: take a lock, write, move to each folder, remove."""
        files.make_folders(self.layout.folders)
        with self.stripes.try_hold(_NO_KEY):  # also where another has it: that it can be asked for is enough
            for folder, _ in self.layout.places:
                probe = self.layout.tmp / f".{secrets.token_hex(8)}.part"
                try:
                    files.write(probe, b"")
                    files.replace(probe, folder / probe.name)
                finally:
                    files.remove(probe)
                    files.remove(folder / probe.name)
                files.sync_folder(folder)

    def try_out_beside(self) -> None:
        """Do that in a folder of its own, which is removed: nothing is stored here yet."""
        scratch = self.layout.root / f".{secrets.token_hex(8)}.part"
        try:
            Store(scratch).try_out()
        finally:
            files.remove_all(scratch)

    def remove(self, key: str) -> bool:
        """Remove all files of *key*, locked, the record first; return whether there was a record."""
        try:
            had_record, *_ = [files.remove(path) for path in self.layout.files(key)]
        except CorruptEntry as error:
            self.quarantine(key, str(error))
            return True
        return had_record

    def thumb(self, key: str) -> bytes | None:
        """Read what lies in the place of the thumbnail, still sealed.

        Raises:
            CorruptEntry: It is no regular file, or far too large.
        """
        found = files.read(self.layout.thumb(key), thumbs.MAX_BYTES)
        return None if found is None else found[0]

    def remove_thumb(self, key: str) -> None:
        """Remove the thumbnail, locked."""
        try:
            files.remove(self.layout.thumb(key))
        except CorruptEntry as error:
            self._quarantine.take([self.layout.thumb(key)], str(error))

    def commit_thumb(self, record: Record, content: bytes) -> None:
        """Write a thumbnail, locked, if *record* is still that of the stored picture."""
        current = self.whole_record(record.key)
        if current is None or current.digest != record.digest:
            return
        files.make_folders(self.layout.folders)
        with self._temporary(record.key) as new_thumb:
            files.write(new_thumb, content)
            self.remove_thumb(record.key)
            files.replace(new_thumb, self.layout.thumb(record.key))

    def look(self, key: str) -> Presence:
        """Look at which files of *key* are there. Exact when locked."""
        return Presence.of(*map(files.status, (*self.layout.files(key), self.layout.pin(key))))

    def there(self, key: str) -> bool:
        """Tell whether anything is on disk of *key*."""
        return self.look(key).changed > 0

    def survey(self, stopped: Callable[[], bool] = lambda: False) -> dict[str, Presence]:
        """Look at everything, unlocked; keys that change meanwhile may be seen half. Nothing when *stopped*."""
        found: dict[str, list[os.stat_result | None]] = {}
        for place, (folder, suffix) in enumerate(self.layout.places):
            for entry in files.listing(folder):
                if stopped():
                    return {}
                if key := key_in(entry.name, suffix):
                    found.setdefault(key, [None] * len(self.layout.places))[place] = files.status_of(entry)
        return {key: Presence.of(*statuses) for key, statuses in found.items()}

    def mend(self, key: str, now: float) -> None:
        """Remove what is left of a broken entry, locked: a record without picture, files without record for long.

        While the lock is held, no commit is under way; the hour is for people who copy a cache by hand.
        """
        presence = self.look(key)
        if (presence.halved or presence.orphaned(now)) and not self.folder_lost():
            self.remove(key)
            if not presence.halved:
                self.unpin(key)

    def pin(self, key: str) -> bool:
        """Mark an entry as one that stays, locked; return whether there is one."""
        if self.whole_record(key) is None:
            return False
        if not self.pinned(key):
            files.make_folders(self.layout.folders)
            files.write(self.layout.pin(key), b"")
            files.sync_folder(self.layout.pins)
        return True

    def unpin(self, key: str) -> bool:
        """Take the mark away, locked; return whether there was one."""
        return files.remove(self.layout.pin(key))

    def pinned(self, key: str) -> bool:
        """Tell whether *key* is marked."""
        return files.status(self.layout.pin(key)) is not None

    def pinned_keys(self) -> set[str]:
        """Return the marked keys that have a record: what was removed by hand may leave its mark for a while."""
        marked = (key_in(entry.name, "") for entry in files.listing(self.layout.pins))
        return {key for key in marked if key and _is_there(self.layout.keys, f"{key}.json")}

    def marks(self, keys: Iterable[str]) -> dict[str, bool]:
        """Return for each of *keys* that has a record whether it is marked; nothing is read."""
        recorded = (key for key in keys if is_key(key) and _is_there(self.layout.keys, f"{key}.json"))
        return {key: _is_there(self.layout.pins, key) for key in recorded}

    def folder_lost(self) -> bool:
        """Tell whether a whole folder is missing: a lost mount, say, after which nothing is to be tidied away."""
        return files.status(self.layout.keys) is None or files.status(self.layout.images) is None

    def leftovers(self, now: float) -> Iterator[Path]:
        """Find the files of `tmp/` whose writers are dead, and keep others from their keys while one is looked at."""
        for entry in files.listing(self.layout.tmp):
            path, key, status = Path(entry.path), writer_of(entry.name), files.status_of(entry)
            if status is None or stat.S_ISDIR(status.st_mode):
                continue
            if key is None:
                if now - status.st_mtime > ORPHAN_SECONDS:
                    yield path
                continue
            with self.stripes.try_hold(key) as held:
                # Written under the lock that is ours now: its writer is gone, unless the file is.
                if held and files.status(path) is not None:
                    yield path

    def _clear_way(self, key: str) -> None:
        """Quarantine folders that lie where files of *key* belong: nothing can be moved over them."""
        statuses = (files.status(path) for path in self.layout.files(key))
        if any(status is not None and stat.S_ISDIR(status.st_mode) for status in statuses):
            self.quarantine(key, "a folder is in the place of a file")

    @contextmanager
    def _temporary(self, key: str) -> Iterator[Path]:
        """Give a place to write in, locked, and leave nothing there."""
        path = self.layout.temporary(key, secrets.token_hex(8))
        try:
            yield path
        finally:
            with suppress(CacheWriteFailed):  # a later sweep finds it
                files.remove(path)


def _is_there(folder: Path, name: str) -> bool:
    """Tell whether there is such a file, as far as the disk says: for thousands of them, a path is too slow."""
    return os.path.lexists(f"{folder}/{name}")


def _weight(incident: Path) -> int:
    """Sum up the bytes below *incident*; what vanishes meanwhile weighs nothing."""
    paths = (Path(folder, name) for folder, _, names in os.walk(incident) for name in names)
    return sum(status.st_size for status in map(files.status, paths) if status is not None)
