"""Pictures that are stored nowhere, within reach for ten minutes: bounded by bytes, RAM only."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from zimage_cache.entry import Entry

SECONDS = 600.0


class Shelf:
    """Entries under a name: a random token for a bypass, the key while a picture is on its way to the disk.

    Args:
        max_bytes: PNG bytes it holds at most; the oldest go first.
        clock: Seconds, never going back.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[float, Entry]] = OrderedDict()
        self._bytes = 0

    def lay(self, entry: Entry) -> str:
        """Lay an entry on the shelf under a name that cannot be guessed, and return that."""
        token = secrets.token_hex(16)
        self.put(token, entry)
        return token

    def put(self, name: str, entry: Entry) -> None:
        """Lay an entry on the shelf; older ones make room."""
        with self._lock:
            self._drop(name)
            self._entries[name] = (self._clock() + SECONDS, entry)
            self._bytes += len(entry.png)
            self._sweep()

    def get(self, name: str) -> Entry | None:
        """Return what lies under *name*, if it still does."""
        with self._lock:
            self._sweep()
            _, entry = self._entries.get(name, (0.0, None))
            return entry

    def drop(self, name: str, entry: Entry) -> None:
        """Take this very entry off the shelf; one that has taken its place since stays."""
        with self._lock:
            if self._entries.get(name, (0.0, None))[1] is entry:
                self._drop(name)

    def _drop(self, name: str) -> None:
        if name in self._entries:
            self._bytes -= len(self._entries.pop(name)[1].png)

    def _sweep(self) -> None:
        # All wait equally long, so the oldest is always the first to leave; one alone may exceed the bound.
        now = self._clock()
        while self._entries:
            name, (expires, _) = next(iter(self._entries.items()))
            if expires > now and (self._bytes <= self._max_bytes or len(self._entries) == 1):
                return
            self._drop(name)
