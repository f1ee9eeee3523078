"""How far a long piece of work is, in bytes."""

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` bytes in one phase, such as "fetching"; `total` 0 = not known yet."""

    phase: str
    done: int = 0
    total: int = 0

    @property
    def share(self) -> float | None:
        """The part that is done, 0..1; None while the whole is not known."""
        return min(1.0, self.done / self.total) if self.total else None


Tell = Callable[[Progress], object]


def silent(_progress: Progress) -> None:
    """Tell nobody."""


class Meter:
    """Adds up bytes from several threads and tells of them.

    Args:
        phase: What is going on.
        total: Bytes in all.
        tell: Called from whichever thread adds, one at a time.
    """

    def __init__(self, phase: str, total: int, tell: Tell) -> None:
        self._phase = phase
        self._total = total
        self._tell = tell
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count further bytes."""
        with self._lock:
            self._done += count
            self._tell(Progress(self._phase, self._done, self._total))
