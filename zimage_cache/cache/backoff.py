"""When to leave a failing disk alone, and when to try again."""

import threading
import time
from collections.abc import Callable

# The first failures may be one picture's bad luck; from here on the disk is meant.
_TOLERATED = 3
_SHORTEST = 1.0
_LONGEST = 60.0


class Backoff:
    """Pauses after repeated failure: 1 s after the third in a row, twice as long after each further one, up to 60 s.

    Args:
        clock: Seconds on a clock that nobody sets.

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
