"""Progress of long operations, in bytes."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from zimage_cache.i18n.messages import Message


@dataclass(frozen=True, slots=True)
class ByteProgress:
    """`done` of `total` bytes in one phase, such as fetching; `total` 0 = not known yet."""

    phase: Message
    done: int = 0
    total: int = 0

    @property
    def share(self) -> float | None:
        """The part that is done, 0..1; None while the total is not known."""
        return min(1.0, self.done / self.total) if self.total else None


OnProgress = Callable[[ByteProgress], object]


def ignore_progress(_progress: ByteProgress) -> None:
    """Discard progress reports."""


class Meter:
    """Adds up bytes from several threads and reports the sum.

    Args:
        phase: Name of the operation.
        total: Bytes in all.
        on_progress: Called in the thread that adds, by one thread at a time.
    """

    def __init__(self, phase: Message, total: int, on_progress: OnProgress) -> None:
        self._phase = phase
        self._total = total
        self._on_progress = on_progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count further bytes."""
        with self._lock:
            self._done += count
            self._on_progress(ByteProgress(self._phase, self._done, self._total))
