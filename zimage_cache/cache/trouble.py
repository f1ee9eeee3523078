"""What goes wrong with the disk: counted, logged, and, where writing fails again and again, paused for.

Nothing here decides what a failure means for the caller, except that one of reading never reaches the caller.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from zimage_cache.cache import files
from zimage_cache.errors import CacheError, CacheWriteFailed
from zimage_cache.faults import Faults, cause_of
from zimage_cache.i18n.messages import Message

_log = logging.getLogger("zimage_cache.cache")
_QUIET_SECONDS: Final = 60.0
# The first failures may concern one picture; from here on the disk itself is at fault.
_TOLERATED: Final = 3
_SHORTEST: Final = 1.0
_LONGEST: Final = 60.0
# What lasting trouble means, by its cause.
FAULTS: Final = {
    "disk_full": Message("cache_disk_full"),
    "read_only": Message("cache_read_only"),
    "unwritable": Message("cache_unwritable"),
}
BELOW_MIN_FREE: Final = Message("below_min_free")


class Tally:
    """Counts events by name. Threads: any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, event: str) -> None:
        """Count one *event*."""
        with self._lock:
            self._counts[event] += 1

    def counts(self) -> Counter[str]:
        """Return a copy of all counts; an event that never happened counts 0."""
        with self._lock:
            return self._counts.copy()

    def __getitem__(self, event: str) -> int:
        return self._counts[event]


class LimitedWarnings:
    """Logs one WARNING per kind of trouble and minute; what was left out is said with the next one.

    Args:
        clock: Monotonic seconds.

    Threads: any.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._swallowed: Counter[str] = Counter()

    def warn(self, kind: str, message: str) -> None:
        """Log *message*, unless the same *kind* was logged within the last minute."""
        with self._lock:
            now = self._clock()
            if now - self._last.get(kind, -_QUIET_SECONDS) < _QUIET_SECONDS:
                self._swallowed[kind] += 1
                return
            self._last[kind] = now
            swallowed = self._swallowed.pop(kind, 0)
        again = f" ({swallowed} more like it since the last warning)" if swallowed else ""
        _log.warning("cache trouble [%s]: %s%s", kind, message, again)


class Backoff:
    """Pauses after repeated failure: 1 s after the third in a row, twice as long after each further one, up to 60 s.

    Args:
        clock: Monotonic seconds.

    Threads: any.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0

    @property
    def pausing(self) -> bool:
        """Whether it is too early to try again."""
        return self._failures >= _TOLERATED and self._clock() < self._until

    def failed(self) -> None:
        """Say that it went wrong."""
        with self._lock:
            self._failures += 1
            doublings = min(self._failures - _TOLERATED, 16)
            self._until = self._clock() + min(_LONGEST, _SHORTEST * 2.0**doublings)

    def succeeded(self) -> None:
        """Say that it works."""
        with self._lock:
            self._failures = 0


class DiskFull(CacheWriteFailed):
    """Less is free on the disk than should be left to others."""


class DiskTrouble:
    """Meets the errors of one folder. Threads: any.

    Args:
        root: The folder, for messages.
        tally: Where they are counted.
        warnings: Where they are logged.
        steady: Monotonic seconds.
        faults: Where they stand while they last.
        works: Tells whether the folder can be written again; may raise `OSError` for no.
    """

    def __init__(
        self,
        root: Path,
        tally: Tally,
        warnings: LimitedWarnings,
        steady: Callable[[], float],
        *,
        faults: Faults,
        works: Callable[[], bool],
    ) -> None:
        self._root = root
        self._tally = tally
        self._warnings = warnings
        self._backoff = Backoff(steady)
        self._faults = faults
        self._works = works

    def note(self, event: str, kind: str, message: str) -> None:
        """Count one *event*, and log it as trouble of a *kind*."""
        self._tally.add(event)
        self._warnings.warn(kind, message)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count, log and swallow: the caller goes on as if nothing had been there."""
        try:
            yield
        except CacheError as error:
            self.note("read_errors", f"read {files.kind(error)}", str(error))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Count and log what goes wrong, and pass it on as `CacheWriteFailed`."""
        try:
            yield
        except _Pausing:
            raise
        except CacheError as error:
            self.note("write_errors", f"write {files.kind(error)}", str(error))
            self._stand(error)
            if isinstance(error, CacheWriteFailed):
                raise
            raise CacheWriteFailed(str(error)) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """As `changing`, but leave a disk alone that fails again and again; what would be written is no error then."""
        with self.changing(), self._trying():
            yield
        self._faults.end(*(f"cache_{cause}" for cause in FAULTS))

    def lasts(self, cause: str, reason: Message | str) -> None:
        """Note, by its cause in `FAULTS`, trouble that stands until the folder can be written again."""
        self._faults.begin(f"cache_{cause}", Message("because", what=FAULTS[cause], reason=reason), self._over)

    def _stand(self, error: CacheError) -> None:
        """Note what will last: not that an entry is busy, or that all others are pinned."""
        cause = error.__cause__
        if isinstance(error, DiskFull):
            self.lasts("disk_full", BELOW_MIN_FREE)
        elif isinstance(cause, OSError) and cause.errno is not None:
            self.lasts(cause_of(cause), os.strerror(cause.errno))

    def _over(self) -> bool:
        try:
            works = self._works()
        except CacheError:
            return False
        if works:
            self._backoff.succeeded()
        return works

    @contextmanager
    def _trying(self) -> Iterator[None]:
        if self._backoff.pausing:
            self._tally.add("write_backoffs")
            raise _Pausing(f"{self._root}: writing failed too often, and pauses")
        try:
            yield
        except CacheError as error:
            if isinstance(error.__cause__, OSError):
                self._backoff.failed()
            raise
        self._backoff.succeeded()


class _Pausing(CacheWriteFailed):
    """Nothing was tried."""
