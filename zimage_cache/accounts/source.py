"""The users of a running server: those of its settings, and those of a file, read again when it changes."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from zimage_cache.accounts.users import Users, users_of
from zimage_cache.text_files import read_text

_log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 1.0


class UserSource:
    """Users that may change while a server runs.

    Args:
        path: The file of users; None = there is none.
        lines: Further lines in the form of that file, from settings.
        clock: Monotonic seconds.

    Raises:
        OSError, ValueError: The file cannot be read, a line is invalid, or there are no users. Later, in these cases,
            the former users stay, and the log says why.
    """

    def __init__(
        self, path: Path | None, lines: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._lines = list(lines)
        self._clock = clock
        self._looked = clock()
        self._looking = threading.Lock()
        self._stamp = self._stamped()
        self.current = self._read()

    async def refresh(self, *, at_once: bool = False) -> None:
        """Read the file again if it has changed; looks at it once a second at most, unless *at_once*."""
        now = self._clock()
        if self._path is None or (now - self._looked < _LOOK_SECONDS and not at_once):
            return
        self._looked = now
        await asyncio.to_thread(self._look)

    def _look(self) -> None:
        with self._looking:  # of two reads that overlap, the older one must not come last
            stamp = self._stamped()
            if stamp == self._stamp:
                return
            try:
                self.current = self._read()
            except (OSError, ValueError) as error:
                _log.warning("users_not_read file=%s error=%s", self._path, error)
            else:
                self._stamp = stamp

    def _read(self) -> Users:
        written = [] if self._path is None else read_text(self._path).splitlines()
        users = users_of([*written, *self._lines])
        if not users:
            raise ValueError("should have a user; add one with `zimage user add NAME`")
        return users

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None
        return found and (found.st_ino, found.st_size, found.st_mtime_ns)
