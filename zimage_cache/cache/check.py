"""Compares everything in a cache folder with everything else; reports what does not agree, or repairs it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from zimage_cache.cache import files, thumbs
from zimage_cache.cache.store import ORPHAN_SECONDS, ImageMissing, Store
from zimage_cache.cache.tier import OnProgress, ignore_progress
from zimage_cache.errors import CacheError, CorruptEntry


class FindingKind(StrEnum):
    """What can be wrong with a cache folder."""

    CORRUPT = "corrupt"
    IMAGE_MISSING = "image_missing"
    ORPHAN = "orphan"
    THUMB_CORRUPT = "thumb_corrupt"
    LEFTOVER = "leftover"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Args:
        kind: What.
        path: Where to look.
        detail: In words, for a person.
        key: Of which entry, where it is one's.
    """

    kind: FindingKind
    path: Path
    detail: str
    key: str | None = None


def check(
    root: Path,
    *,
    repair: bool = False,
    clock: Callable[[], float] = time.time,
    on_progress: OnProgress = ignore_progress,
) -> list[Finding]:
    """Read and verify every entry below *root*, which others may be using meanwhile; blocks for long.

    What a running writer has not finished is no finding, nor is what dead ones left within the last hour, in `tmp/` or
    as files without a record: a server removes that, at its start and every hour.

    Args:
        root: The cache folder.
        repair: Quarantine what is corrupt, remove what belongs to nothing.
        clock: Seconds since 1970.
        on_progress: Called with the number of keys done and of all keys.

    Returns:
        What is wrong, or was before the repair; nothing when all is well.
    """
    inspector = _Inspector(Store(root), repair, clock(), on_progress)
    return list(inspector.findings())


@dataclass(frozen=True, slots=True)
class _Inspector:
    """One walk over *store*, at *now* seconds since 1970."""

    store: Store
    repair: bool
    now: float
    on_progress: OnProgress

    def findings(self) -> Iterator[Finding]:
        keys = sorted(self.store.survey())
        for done, key in enumerate(keys):
            self.on_progress(done, len(keys))
            seen = self._examined(key)
            confirmed = seen and self._confirmed(key, seen)
            if confirmed:
                yield confirmed
        yield from self._leftovers()

    def _confirmed(self, key: str, seen: Finding) -> Finding | None:
        """Look again under the lock of the key: what was seen may have been a replacement in progress."""
        try:
            with self.store.stripes.hold(key):
                finding = self._examined(key)
                if finding is not None and self.repair:
                    self._put_right(key, finding)
                return finding
        except CacheError as error:
            return replace(seen, detail=f"{seen.detail}; could not be confirmed or repaired: {error}")

    def _examined(self, key: str) -> Finding | None:
        layout = self.store.layout
        try:
            stored = self.store.read(key)
        except ImageMissing as error:
            return Finding(FindingKind.IMAGE_MISSING, layout.image(key), str(error), key)
        except CorruptEntry as error:
            return Finding(FindingKind.CORRUPT, layout.record(key), str(error), key)
        except CacheError as error:
            return Finding(FindingKind.UNREADABLE, layout.record(key), str(error), key)
        if stored is None:
            return self._orphan(key)
        return self._thumb(key, stored.entry.record.digest)

    def _orphan(self, key: str) -> Finding | None:
        if self.store.folder_lost() or not self.store.look(key).orphaned(self.now):
            return None
        return Finding(FindingKind.ORPHAN, self.store.layout.image(key), "files without a record for an hour", key)

    def _thumb(self, key: str, digest: str) -> Finding | None:
        path = self.store.layout.thumb(key)
        try:
            sealed = self.store.thumb(key)
            if sealed is None or thumbs.unseal(sealed, digest) is not None:
                return None
        except CorruptEntry as error:
            return Finding(FindingKind.THUMB_CORRUPT, path, str(error), key)
        except CacheError as error:
            return Finding(FindingKind.UNREADABLE, path, str(error), key)
        return Finding(FindingKind.THUMB_CORRUPT, path, "thumb: damaged, or made from another picture", key)

    def _put_right(self, key: str, finding: Finding) -> None:
        match finding.kind:
            case FindingKind.CORRUPT:
                self.store.quarantine(key, finding.detail)
            case FindingKind.IMAGE_MISSING | FindingKind.ORPHAN:
                self.store.remove(key)
            case FindingKind.THUMB_CORRUPT:
                self.store.remove_thumb(key)
            case FindingKind.LEFTOVER | FindingKind.UNREADABLE:
                return

    def _leftovers(self) -> Iterator[Finding]:
        for path in self.store.leftovers(self.now):
            status = files.status(path)
            if status is None or self.now - status.st_mtime <= ORPHAN_SECONDS:
                continue
            finding = Finding(FindingKind.LEFTOVER, path, "a writer died before it was through")
            try:
                if self.repair:
                    files.remove(path)
            except CacheError as error:
                finding = replace(finding, detail=f"{finding.detail}; could not be repaired: {error}")
            yield finding
