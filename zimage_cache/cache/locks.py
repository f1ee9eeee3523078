"""The locks for changing the files of a key, 256 for threads and processes, and the right to generate one.

The kernel drops the locks of a killed process, so it blocks no other. Lock order in this package: the lock for
making a thumbnail, then one stripe, then the ledger's and the index's, then the short lock around an order or
a tally. No thread holds two stripes. None waits for a generation lock.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from zimage_cache.cache import files
from zimage_cache.errors import CacheError, CacheWriteFailed

_STRIPES = 256
_POLL_SECONDS = 0.005
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
        # A file lock excludes processes, not the threads that share it, hence a lock for those in front of each.
        # Whichever thread has that one uses the `FileLock`: `thread_local=False`.
        self._threads = [threading.Lock() for _ in range(_STRIPES)]
        self._files: list[FileLock | None] = [None] * _STRIPES

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
            lock = self._file(stripe)
            held = self._acquire(lock, max(0.0, deadline - time.monotonic()))
            try:
                yield held
            finally:
                if held:
                    lock.release()
        finally:
            self._threads[stripe].release()

    def _acquire(self, lock: FileLock, patience: float) -> bool:
        with files.writing(self._folder):
            try:
                lock.acquire(timeout=patience, poll_interval=_POLL_SECONDS)
            except Timeout:
                return False
            return True

    def _file(self, stripe: int) -> FileLock:
        """Make the file lock of a stripe when it is first needed; its lock for threads is held."""
        lock = self._files[stripe]
        if lock is None:
            path = self._folder / f"{stripe:02x}.lock"
            lock = self._files[stripe] = FileLock(path, thread_local=False)
        return lock


class Generation:
    """The right to generate one key, among all processes of this machine. Its holder releases it, once.

    Args:
        lock: The lock, held; None where there is none to be had.
    """

    def __init__(self, lock: FileLock | None) -> None:
        self._lock = lock

    @classmethod
    def take(cls, folder: Path, key: str) -> Self | None:
        """Take the right to generate *key*; None while another holder has it. Never waits.

        Raises:
            CacheWriteFailed: The lock file cannot be opened.
        """
        path = folder / f"{key}{_GENERATION}"
        # A soft lock, where the file system has no real ones, would outlive its killed holder: rather none.
        lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
        with files.writing(path):
            try:
                lock.acquire()
            except Timeout:
                return None
        return cls(lock)

    @classmethod
    def sweep(cls, folder: Path) -> None:
        """Remove what killed holders left: the kernel freed their locks, but their files stay."""
        for entry in files.listing(folder):
            if entry.name.endswith(_GENERATION):
                generation = cls.take(folder, entry.name.removesuffix(_GENERATION))
                if generation is not None:
                    generation.release()

    def release(self) -> None:
        """Let others generate it; any thread may do that."""
        if self._lock is None:
            return
        # Removed while it is held, so that files do not pile up. Who opened it before that and gets the lock after
        # it notices that its file has no name any more, and opens the new one: `filelock` looks.
        with suppress(CacheError):
            files.remove(Path(self._lock.lock_file))
        self._lock.release()
