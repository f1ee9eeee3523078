"""Persistent faults: which operation of the server fails now, since when, and why. Shown by `/health`.

A component begins a fault when an operation fails and ends it when the same operation succeeds. For an operation that
may not be tried again for long, the fault has a test, which runs every few seconds while the fault lasts.
"""

import errno
import logging
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from zimage_cache.i18n.messages import Message

_log = logging.getLogger(__name__)
_RETEST_SECONDS: Final = 5.0
_PROBE_BYTES: Final = 2**20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Fault:
    """One persistent fault.

    Args:
        code: Identifier for programs.
        since: When it began.
        detail: Text for people: what fails, why, and what still works. Contains no path and no prompt.
    """

    code: str
    since: datetime
    detail: Message


class Faults:
    """The present faults of one server.

    Threads: any; `begin` and `end` do not block. A separate thread runs the tests.
    """

    def __init__(self, seconds: float = _RETEST_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Condition()  # guards the next two attributes
        self._standing: dict[str, Fault] = {}
        self._tests: dict[str, Callable[[], bool]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._retest_often, name="faults", daemon=True)

    @property
    def standing(self) -> list[Fault]:
        """The present faults, the oldest first."""
        with self._lock:
            return list(self._standing.values())

    def begin(self, code: str, detail: Message, over: Callable[[], bool] | None = None) -> None:
        """Record a fault, unless it is recorded already.

        Args:
            code: See `Fault`.
            detail: See `Fault`.
            over: Test: returns true when the fault is over; may block for the disk; `OSError` means it lasts.
        """
        with self._lock:
            if code in self._standing:
                return
            self._standing[code] = Fault(code, datetime.now(UTC), detail)
            if over is not None:
                self._tests[code] = over
            self._lock.notify_all()

    def end(self, *codes: str) -> None:
        """Remove these faults, if they are recorded."""
        if not self._standing:  # the usual case, without the lock, because every successful write calls this
            return
        with self._lock:
            ended = [fault for code in codes if (fault := self._standing.pop(code, None))]
            for fault in ended:
                self._tests.pop(fault.code, None)
        for fault in ended:
            seconds = (datetime.now(UTC) - fault.since).total_seconds()
            _log.info("trouble_over code=%s seconds=%.0f", fault.code, seconds)

    def retest(self) -> None:
        """Run the tests of the present faults; end those that are over."""
        with self._lock:
            tests = list(self._tests.items())
        for code, over in tests:
            with suppress(OSError):
                if over():
                    self.end(code)

    def start(self) -> None:
        """Start the thread that runs the tests."""
        self._thread.start()

    def close(self) -> None:
        """Stop that thread."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _retest_often(self) -> None:
        while not self._closed:
            with self._lock:
                self._lock.wait_for(lambda: self._closed or self._tests)
                self._lock.wait_for(lambda: self._closed, self._seconds)
            if not self._closed:
                self.retest()


def cause_of(error: BaseException | None) -> str:
    """Return why a file cannot be written: `disk_full`, `read_only`, or `unwritable` for every other cause."""
    number = getattr(error, "errno", None)
    if number in _FULL:
        return "disk_full"
    return "read_only" if number in _FORBIDDEN else "unwritable"


def can_be_written(folder: Path) -> bool:
    """Write a file of the size of a picture into *folder*, and remove it.

    Raises:
        OSError: The file cannot be written or removed.
    """
    probe = folder / f".{secrets.token_hex(8)}.part"
    try:
        probe.write_bytes(bytes(_PROBE_BYTES))
    finally:
        probe.unlink(missing_ok=True)
    return True
