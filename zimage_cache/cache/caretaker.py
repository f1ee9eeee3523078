"""Maintains a disk tier in the background: one thread that blocks no request and stops at once."""

import threading
import time
from collections.abc import Callable

from zimage_cache.cache.disk import DiskTier

_TICK_SECONDS = 5.0
_SCAN_SECONDS = 3600.0
_RESCAN_SECONDS = 30.0
# A full 10 GiB takes three quarters of an hour, once a day, at about one per cent of a core.
_SCRUB_BYTES_PER_SECOND = 4 * 2**20
_SCRUB_DELAY_SECONDS = 60.0
_SCRUB_REST_SECONDS = 86400.0
# Between two batches of what is over the bounds: writers and readers come in between.
_BREATH_SECONDS = 0.005


class Caretaker:
    """Scans *disk* at the start, hourly, and when its index needs it; trades news; verifies entries by and by.

    While it works, writes leave to it what is over the bounds: it removes that in small batches.

    Args:
        disk: What to look after.
        tick: Seconds between two rounds.
        clock: Monotonic seconds.
    """

    def __init__(
        self, disk: DiskTier, *, tick: float = _TICK_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.learned = threading.Event()  # set once the first scan is through
        self._disk = disk
        self._tick = tick
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="cache-caretaker", daemon=True)
        self._scanned = self._scrub_again = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._disk.attended = True
        self._thread.start()

    def stop(self) -> None:
        """Stop it, in the middle of whatever it does."""
        self._stopping.set()
        self._disk.attended = False
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        self._disk.try_out()
        self._scan()
        self._relieve()
        self.learned.set()
        self._scrub_again = self._clock() + _SCRUB_DELAY_SECONDS
        while not self._stopping.wait(self._tick):
            self.round()

    def round(self) -> None:
        """Do what is due."""
        self._disk.keep_up()
        if self._clock() - self._scanned >= (_RESCAN_SECONDS if self._disk.behind else _SCAN_SECONDS):
            self._scan()
        self._relieve()
        if self._clock() >= self._scrub_again:
            self._scrub()

    def _scan(self) -> None:
        self._scanned = self._clock()
        self._disk.scan(self._stopping.is_set)

    def _relieve(self) -> None:
        while self._disk.relieve() and not self._stopping.wait(_BREATH_SECONDS):
            pass

    def _scrub(self) -> None:
        if self._disk.scrub(int(_SCRUB_BYTES_PER_SECOND * self._tick), self._stopping.is_set):
            self._scrub_again = self._clock() + _SCRUB_REST_SECONDS
