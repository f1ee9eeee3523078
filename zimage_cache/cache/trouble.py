"""What goes wrong with the disk: counted, logged, and, where writing fails again and again, paused for.

Nothing here decides what a failure means for the caller, except that one of reading never reaches the caller.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zimage_cache.cache import files
from zimage_cache.cache.backoff import Backoff
from zimage_cache.cache.tally import Complaints, Tally
from zimage_cache.errors import CacheError, CacheWriteFailed


class Trouble:
    """Meets the errors of one folder. Threads: any.

    Args:
        root: The folder, for messages.
        tally: Where they are counted.
        complaints: Where they are logged.
        steady: Seconds on a clock that nobody sets.
    """

    def __init__(self, root: Path, tally: Tally, complaints: Complaints, steady: Callable[[], float]) -> None:
        self._root = root
        self._tally = tally
        self._complaints = complaints
        self._backoff = Backoff(steady)

    def note(self, event: str, kind: str, message: str) -> None:
        """Count one *event*, and log it as trouble of a *kind*."""
        self._tally.add(event)
        self._complaints.warn(kind, message)

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
            if isinstance(error, CacheWriteFailed):
                raise
            raise CacheWriteFailed(str(error)) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """As `changing`, but leave a disk alone that fails again and again; what would be written is no error then."""
        with self.changing(), self._trying():
            yield

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
