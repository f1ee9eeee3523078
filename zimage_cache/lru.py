"""The values used last, as many as fit into a bound of bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteLRU(Generic[K, V]):
    """Values by key; the one that was used the longest ago is the first to go.

    Args:
        max_bytes: Bound on the bytes of all values together; only one that is alone may exceed it. 0 = no limit.
        size: Returns the bytes of a value, always the same.
        max_values: Bound on their number; 0 = no limit.

    Threads: none; its owner has the lock.
    """

    def __init__(self, max_bytes: int, size: Callable[[V], int], max_values: int = 0) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._size = size
        self._max_values = max_values
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def values(self) -> Iterable[V]:
        """Return all values."""
        return self._values.values()

    def oldest(self) -> tuple[K, V] | None:
        """Return the key and the value that go first."""
        return next(iter(self._values.items()), None)

    def get(self, key: K) -> V | None:
        """Return the value of *key*, and make it the last to go."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def peek(self, key: K) -> V | None:
        """Return the value of *key*, and change nothing."""
        return self._values.get(key)

    def fits(self, value: V) -> bool:
        """Tell whether *value* alone is within the bound."""
        return not 0 < self.max_bytes < self._size(value)

    def put(self, key: K, value: V) -> None:
        """Keep *value* instead of an older one of *key*; others make room."""
        self.pop(key)
        self._values[key] = value
        self.bytes += self._size(value)
        while self._exceeded() and len(self._values) > 1:
            self.pop(next(iter(self._values)))

    def pop(self, key: K) -> V | None:
        """Forget *key*, and return the value that it had."""
        value = self._values.pop(key, None)
        if value is not None:
            self.bytes -= self._size(value)
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self.bytes = 0

    def _exceeded(self) -> bool:
        return 0 < self.max_bytes < self.bytes or 0 < self._max_values < len(self._values)
