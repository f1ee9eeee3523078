"""The locks for changing the files of a key, 256 for threads and processes, and the right to generate one.

Among processes they are those of `process_lock`, which also tells where they exclude nothing. Then no wrong picture is
served either: two that store one key at once may leave a picture that is not its record's, which the digest gives away
and which becomes a miss; one whose unfinished file the other sweeps keeps its picture in memory; a picture may be drawn
twice.

Lock order in this package: the lock for making a thumbnail, then one stripe, then the ledger's and the index's, then
the short lock around an order or a tally. No thread holds two stripes. None waits for a generation lock.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from zimage_cache import process_lock
from zimage_cache.cache import files
from zimage_cache.errors import CacheError, CacheWriteFailed
from zimage_cache.process_lock import ProcessLock

_STRIPES = 256
_GENERATION = ".generation"


class Stripes:
    """Locks over keys, by their first two digits.

    Args:
        folder: Where the lock files lie; made when missing.
        patience: Seconds to wait before giving up on a holder that hangs.
    """

    def __init__(self, folder: Path, *, patience: float = 20.0) -> None:
        self._folder = folder
        self._patience = patience
        # A lock of processes does not exclude the threads that share it, hence a lock for those in front of each.
        self._threads = [threading.Lock() for _ in range(_STRIPES)]
        self._processes: list[ProcessLock | None] = [None] * _STRIPES

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Hold the lock of *key*; blocks while another holder has it.

        Raises:
            CacheWriteFailed: Not within the patience, or the lock file cannot be opened.
        """
        with self._held(key, self._patience) as held:
            if not held:
                raise CacheWriteFailed(f"lock of {key[:12]}: still held by another after {self._patience:g} s")
            yield

    @contextmanager
    def try_hold(self, key: str) -> Iterator[bool]:
        """Hold the lock of *key* if it is free now; yields whether that worked.

        Raises:
            CacheWriteFailed: The lock file cannot be opened.
        """
        with self._held(key, 0) as held:
            yield held

    @contextmanager
    def _held(self, key: str, patience: float) -> Iterator[bool]:
        stripe = int(key[:2], 16)
        deadline = time.monotonic() + patience
        if not self._threads[stripe].acquire(timeout=patience):
            yield False
            return
        try:
            lock = self._lock_of(stripe)
            with files.writing(self._folder):
                held = lock.acquire(max(0.0, deadline - time.monotonic()))
            try:
                yield held
            finally:
                if held:
                    lock.release()
        finally:
            self._threads[stripe].release()

    def _lock_of(self, stripe: int) -> ProcessLock:
        """Make the lock of a stripe when it is first needed; its lock for threads is held."""
        lock = self._processes[stripe]
        if lock is None:
            lock = self._processes[stripe] = ProcessLock(self._folder / f"{stripe:02x}.lock")
        return lock


class Generation:
    """The right to generate one key, among all processes on one folder. Its holder releases it, once.

    Args:
        path: Of the lock's file.
        lock: The lock, held; None where there is none to be had.
    """

    def __init__(self, path: Path | None = None, lock: ProcessLock | None = None) -> None:
        self._path = path
        self._lock = lock

    @classmethod
    def take(cls, folder: Path, key: str) -> Self | None:
        """Take the right to generate *key*; None while another holder has it. Never waits.

        Raises:
            CacheWriteFailed: The lock file cannot be opened.
        """
        path = folder / f"{key}{_GENERATION}"
        lock = ProcessLock(path)
        with files.writing(path):
            return cls(path, lock) if lock.acquire() else None

    @classmethod
    def sweep(cls, folder: Path) -> None:
        """Remove what killed holders left: their locks are free, but their files stay."""
        for entry in files.listing(folder):
            name = entry.name.removesuffix(process_lock.HELD)
            if name.endswith(_GENERATION):
                generation = cls.take(folder, name.removesuffix(_GENERATION))
                if generation is not None:
                    generation.release()
        with files.reading(folder):
            process_lock.sweep(folder)

    def release(self) -> None:
        """Let others generate it; any thread may do that."""
        if self._lock is None or self._path is None:
            return
        # Removed while it is held, so that files do not pile up. Who opened it before that and gets the lock after
        # it notices that its file has no name any more, and opens the new one: `filelock` looks.
        with suppress(CacheError):
            files.remove(self._path)
        self._lock.release()
