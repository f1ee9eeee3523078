"""The users of a running server: those of its settings, and those of a file, read again when it changes."""

import asyncio
import logging
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
        OSError, ValueError: The file cannot be read, or a line is invalid. Later, the former users stay.
    """

    def __init__(
        self, path: Path | None, lines: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._lines = list(lines)
        self._clock = clock
        self._looked = clock()
        self._stamp = self._stamped()
        self.current = self._read()

    async def refresh(self) -> None:
        """Read the file again if it has changed; looks at it once a second at most."""
        now = self._clock()
        if self._path is None or now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        await asyncio.to_thread(self._look)

    def _look(self) -> None:
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.current = self._read()
        except (OSError, ValueError) as error:
            _log.warning("users_not_read file=%s error=%s", self._path, error)

    def _read(self) -> Users:
        written = [] if self._path is None else read_text(self._path).splitlines()
        # The file comes first: without a named administrator, its first user is the administrator.
        return users_of([*written, *self._lines])

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None
        return found and (found.st_ino, found.st_size, found.st_mtime_ns)
