"""Who may hold how much of something bounded: one asker never takes all of it. Knows nothing of pictures."""

import math
from collections import Counter
from typing import Final

# Of what the others leave, so much at most is one user's. Of 32 places the first gets 21, the second 8, which is the
# largest request, the third 2, the fourth 1: a user who takes all that is allowed leaves room for the next.
_MOST: Final = 0.65


class Shares:
    """The places of a bounded whole, and how many of them each user holds.

    Args:
        capacity: How many places there are; 0 = no limit.
        request: As many as one request may need: that many the first asker of all gets at once, also of few places,
            or such a request would never be admitted.

    A caller without a name (`""`) is this process itself, not one asker among several: it may take what is free.

    Threads: none; its owner has the lock.
    """

    def __init__(self, capacity: int, request: int = 1) -> None:
        self.capacity = capacity
        self._request = request
        self._held: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Places that are held."""
        return self._held.total()

    def room(self, user: str) -> int | None:
        """Return how many more places *user* may take now; None = without limit."""
        if not self.capacity:
            return None
        free = self.capacity - self.taken
        if not user:
            return max(0, free)
        held = self._held[user]
        share = math.ceil((free + held) * _MOST) - held
        return max(0, min(free, share if self.taken else max(share, self._request)))

    def take(self, user: str) -> None:
        """Count one place more; whether there is room was asked before."""
        self._held[user] += 1

    def give_back(self, user: str) -> None:
        """Count one place less."""
        self._held[user] -= 1
        if not self._held[user]:
            del self._held[user]
