"""Fairness between users: whose turn is next, and how much of what is bounded one may hold. Knows no pictures."""

import math
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# Of what the others leave, so much at most is one user's. Of 32 places the first gets 21, the second 8, which is the
# largest request, the third 2, the fourth 1: a user who takes all that is allowed leaves room for the next.
_MOST: Final = 0.65


class Lanes(Generic[T]):
    """Items in one lane for each user; lanes take turns. Threads: none; its owner has the lock."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def put(self, item: T, user: str) -> None:
        """Append to the lane of *user*."""
        self._lanes.setdefault(user, deque()).append(item)

    def put_back(self, item: T, user: str) -> None:
        """Let an item that was taken be the next one of *user*, whose turn it is again."""
        self._lanes.setdefault(user, deque()).appendleft(item)
        self._lanes.move_to_end(user, last=False)

    def take(self) -> T:
        """Remove the next item; there must be one."""
        user, lane = next(iter(self._lanes.items()))
        item = lane.popleft()
        if lane:
            self._lanes.move_to_end(user)
        else:
            del self._lanes[user]
        return item

    def discard(self, item: T) -> str | None:
        """Remove an item and return its user; None when it is not here."""
        for user, lane in self._lanes.items():
            if item in lane:
                lane.remove(item)
                if not lane:
                    del self._lanes[user]
                return user
        return None

    def ahead(self, item: T) -> int | None:
        """Count the items that will be taken before this one; None when it is not here."""
        lanes = list(self._lanes.values())
        for turn, lane in enumerate(lanes):
            if item in lane:
                place = lane.index(item)
                earlier = sum(min(len(other), place + 1) for other in lanes[:turn])
                later = sum(min(len(other), place) for other in lanes[turn + 1 :])
                return place + earlier + later
        return None

    def clear(self) -> None:
        """Remove everything."""
        self._lanes.clear()


class FairQueue(Generic[T]):
    """A blocking queue of two levels, each with one lane per user; lanes take turns.

    One user's request for eight pictures delays another user's single one by one turn, not by eight. The second level,
    for pictures that no one is waiting for at a screen, has its turn while the first one is empty.
    """

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._interactive, self._batch = self._levels = (Lanes[T](), Lanes[T]())
        self._closed = False

    def __len__(self) -> int:
        with self._ready:
            return sum(map(len, self._levels))

    def put(self, item: T, user: str, *, batch: bool = False) -> None:
        """Append to the lane of *user*."""
        with self._ready:
            self._level(batch=batch).put(item, user)
            # All of them: the one that a single call woke might not be ready.
            self._ready.notify_all()

    def put_back(self, item: T, user: str, *, batch: bool = False) -> None:
        """Let an item that was taken be the next one of *user*, whose turn it is again."""
        with self._ready:
            self._level(batch=batch).put_back(item, user)
            self._ready.notify_all()

    def promote(self, item: T) -> None:
        """Move an item of the batch level to the end of its user's lane in the other one, if it waits there."""
        with self._ready:
            if (user := self._batch.discard(item)) is not None:
                self._interactive.put(item, user)

    def take(
        self,
        ready: Callable[[], bool] = lambda: True,
        unless: Callable[[], bool] = lambda: False,
        seconds: float | None = None,
    ) -> T | None:
        """Wait for the next item; None when the queue is closed.

        Args:
            ready: Take nothing before this says yes.
            unless: Give up, with None, when this says yes.
            seconds: Give up, with None, after so long; None = never.

        Both are asked under the queue's lock, again after every `put` and `wake`: they must be instant.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._closed or unless() or (self._waiting() and ready()), seconds)
            level = self._waiting()
            return None if self._closed or level is None or unless() or not ready() else level.take()

    def _level(self, *, batch: bool) -> Lanes[T]:
        return self._batch if batch else self._interactive

    def _waiting(self) -> Lanes[T] | None:
        """Return the level from which the next item is taken; None when nothing waits."""
        return next((level for level in self._levels if level), None)

    def wake(self) -> None:
        """Have every caller that waits in `take` check again whether it is ready."""
        with self._ready:
            self._ready.notify_all()

    def discard(self, item: T) -> None:
        """Remove an item; nothing happens if it was taken already."""
        with self._ready:
            for level in self._levels:
                level.discard(item)

    def ahead(self, item: T) -> int | None:
        """Count the items that will be taken before this one; None when it does not wait here."""
        with self._ready:
            before = self._interactive.ahead(item)
            if before is None and (later := self._batch.ahead(item)) is not None:
                return len(self._interactive) + later
            return before

    def close(self) -> None:
        """Wake every caller that waits in `take`; what is still queued is dropped."""
        with self._ready:
            self._closed = True
            for level in self._levels:
                level.clear()
            self._ready.notify_all()


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

    def take(self, user: str, places: int = 1) -> None:
        """Count so many places more; whether there is room was asked before."""
        self._held[user] += places

    def give_back(self, user: str, places: int = 1) -> None:
        """Count so many places less."""
        self._held[user] -= places
        if not self._held[user]:
            del self._held[user]
