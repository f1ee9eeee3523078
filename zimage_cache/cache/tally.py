"""What happened so far: counters that anybody may raise, and warnings that do not flood the log."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

_LOG = logging.getLogger("zimage_cache.cache")
_QUIET_SECONDS = 60.0


class Tally:
    """Counts events by name. Threads: any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, event: str) -> None:
        """Count one *event*."""
        with self._lock:
            self._counts[event] += 1

    def __getitem__(self, event: str) -> int:
        return self._counts[event]


class Complaints:
    """Logs one WARNING per kind of trouble and minute; what was left out is said with the next one.

    Args:
        clock: Seconds on a clock that nobody sets. Threads: any.
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
        _LOG.warning("cache trouble [%s]: %s%s", kind, message, again)
