"""Trouble that lasts: what a part of the server cannot do now, since when, and in plain words. For `/health`.

A part notes a fault when something fails and ends it when the same thing works again. Where nothing may try it for
long, the fault brings a test along, which is made every few seconds for as long as the fault stands.
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

_log = logging.getLogger(__name__)
_RETEST_SECONDS: Final = 5.0
_PROBE_BYTES: Final = 2**20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them.

    Args:
        code: For programs.
        since: When it was first met.
        detail: For people: what does not work, why, and what works all the same. No path, no prompt.
    """

    code: str
    since: datetime
    detail: str


class Faults:
    """The faults of one server that stand now.

    Threads: any; `begin` and `end` are instant. One thread of its own makes the tests.
    """

    def __init__(self, seconds: float = _RETEST_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Condition()  # around the next two
        self._standing: dict[str, Fault] = {}
        self._tests: dict[str, Callable[[], bool]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._retest_often, name="faults", daemon=True)

    @property
    def standing(self) -> list[Fault]:
        """What is wrong now, the oldest first."""
        with self._lock:
            return list(self._standing.values())

    def begin(self, code: str, detail: str, over: Callable[[], bool] | None = None) -> None:
        """Note a fault, unless it stands already.

        Args:
            code: Which.
            detail: See `Fault`.
            over: Tells whether it is over; may block for the disk, and raise `OSError` for no.
        """
        with self._lock:
            if code in self._standing:
                return
            self._standing[code] = Fault(code, datetime.now(UTC), detail)
            if over is not None:
                self._tests[code] = over
            self._lock.notify_all()

    def end(self, *codes: str) -> None:
        """Note that these are over, as far as they stood."""
        if not self._standing:  # nearly always: not a lock for each write that works
            return
        with self._lock:
            ended = [fault for code in codes if (fault := self._standing.pop(code, None))]
            for fault in ended:
                self._tests.pop(fault.code, None)
        for fault in ended:
            seconds = (datetime.now(UTC) - fault.since).total_seconds()
            _log.info("trouble_over code=%s seconds=%.0f", fault.code, seconds)

    def retest(self) -> None:
        """Make the tests of what stands; end what is over."""
        with self._lock:
            tests = list(self._tests.items())
        for code, over in tests:
            with suppress(OSError):
                if over():
                    self.end(code)

    def start(self) -> None:
        """Begin to make the tests."""
        self._thread.start()

    def close(self) -> None:
        """Stop that."""
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
    """Name what keeps a file from being written: `disk_full`, `read_only`, or `unwritable` for everything else."""
    number = getattr(error, "errno", None)
    if number in _FULL:
        return "disk_full"
    return "read_only" if number in _FORBIDDEN else "unwritable"


def can_be_written(folder: Path) -> bool:
    """Write a file of the size of a picture into *folder*, and remove it.

    Raises:
        OSError: That does not work.
    """
    probe = folder / f".{secrets.token_hex(8)}.part"
    try:
        probe.write_bytes(bytes(_PROBE_BYTES))
    finally:
        probe.unlink(missing_ok=True)
    return True
