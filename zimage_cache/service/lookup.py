"""What is there already, wherever it lies: on the shelf, in memory, on disk. Starts nothing, and counts no answer."""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from zimage_cache.cache import thumbs
from zimage_cache.cache.cache import AnyCache
from zimage_cache.entry import Entry, Hit, Source
from zimage_cache.lru import ByteLRU
from zimage_cache.pool import Pool
from zimage_cache.service.resolve import Plan

T = TypeVar("T")

SHELF_BYTES = 256 * 2**20
SHELF_SECONDS = 600.0
_READERS = 4


class _Laid(NamedTuple):
    entry: Entry
    until: float
    account: str | None  # that it is for; None = all


class Shelf:
    """Pictures within reach for ten minutes that no tier has: on their way to the disk, or to be stored nowhere.

    The first have their keys for names, the others random tokens. In main memory alone.

    Args:
        max_bytes: PNG bytes it holds at most; the oldest go first.
        clock: Seconds, never going back.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._laid: ByteLRU[str, _Laid] = ByteLRU(max_bytes, lambda laid: len(laid.entry.png))

    def lay(self, entry: Entry, *, account: str = "") -> str:
        """Lay an entry on the shelf for *account* alone, under a name that cannot be guessed, and return that."""
        token = secrets.token_hex(16)
        self.put(token, entry, account=account)
        return token

    def put(self, name: str, entry: Entry, *, account: str | None = None) -> None:
        """Lay an entry on the shelf, for *account* alone or for all; older ones make room."""
        with self._lock:
            self._laid.put(name, _Laid(entry, self._clock() + SHELF_SECONDS, account))
            self._sweep()

    def get(self, name: str, account: str | None = None) -> Entry | None:
        """Return what lies under *name*, if it still does, and is for *account* or for all."""
        with self._lock:
            self._sweep()
            laid = self._laid.peek(name)
            return None if laid is None or laid.account not in {None, account} else laid.entry

    def drop(self, name: str, entry: Entry) -> None:
        """Take this very entry off the shelf; one that has taken its place since stays."""
        with self._lock:
            laid = self._laid.peek(name)
            if laid is not None and laid.entry is entry:
                self._laid.pop(name)

    def _sweep(self) -> None:
        # All wait equally long, so the oldest is always the first to leave.
        while (oldest := self._laid.oldest()) is not None and oldest[1].until <= self._clock():
            self._laid.pop(oldest[0])


@dataclass(frozen=True, slots=True)
class Known:
    """What a look-up says of one picture: its key (None for a random seed), its entry if stored."""

    key: str | None
    entry: Entry | None


class Finder:
    """Finds entries by their keys.

    Args:
        cache: Where stored pictures are.

    `shelf` is public: what is drawn is laid there before it is stored.

    Threads: coroutines run on one event loop, whose reads of the disk go to threads of our own. `look` and
    `peek` block for the disk, in any thread.
    """

    def __init__(self, cache: AnyCache) -> None:
        self.shelf = Shelf(SHELF_BYTES)
        self._cache = cache
        self._readers = Pool(_READERS, "reader")

    def close(self) -> None:
        """Wait for the reads under way; none may begin after that."""
        self._readers.shutdown()

    async def get(self, plans: Sequence[Plan]) -> dict[str, Hit]:
        """Find what answers *plans*, by their keys; what is found counts as used."""
        if not self._cache.enabled or not plans:
            return {}
        # What memory has is answered right here: going through a thread costs ten times the look-up itself.
        recalled = {plan.key: self._recall(plan.key) for plan in plans}
        found = {key: hit for key, hit in recalled.items() if hit is not None}
        if missing := [plan for plan in plans if plan.key not in found]:
            looked = await self._read(lambda: {plan.key: self.look(plan) for plan in missing})
            found |= {key: hit for key, hit in looked.items() if hit is not None}
        return found

    def look(self, plan: Plan) -> Hit | None:
        """Find what answers *plan*, under its own key or one of its others."""
        hits = map(self._look, (plan.key, *plan.others))
        return next((hit for hit in hits if hit is not None), None)

    def peek(self, key: str) -> Entry | None:
        """Find what is stored under *key*, or lies on the shelf; nothing counts as used."""
        return self.shelf.get(key) or self._cache.peek(key)

    async def known(self, pictures: Sequence[Sequence[str]]) -> list[Known]:
        """Tell of each picture what the first of its keys that is stored has; nothing counts as used."""
        if not self._cache.enabled or not pictures:
            return [Known(keys[0], None) for keys in pictures]
        return await self._read(lambda: list(map(self._known, pictures)))

    async def entry(self, name: str, account: str) -> Entry | None:
        """Return the entry called *name*: a key, or the token of an unstored picture of *account*."""
        # As with `get`: going through a thread costs more than all the rest.
        near = self.shelf.get(name, account) or self._cache.peek(name, instantly=True)
        return near or await self._read(partial(self.peek, name))

    async def thumbnail(self, name: str, account: str) -> bytes | None:
        """Return a small WebP of the picture called *name* (see `entry`); drawn anew where it is not stored yet."""
        # The shelf first: a picture leaves it only after the cache has it.
        if (entry := self.shelf.get(name, account)) is not None:
            return await self._read(partial(thumbs.draw, entry.png))
        return await self._read(partial(self._cache.thumbnail, name))

    def _recall(self, key: str) -> Hit | None:
        # The shelf first: a picture leaves it only after the cache has it.
        if (entry := self.shelf.get(key)) is not None:
            return Hit(entry, Source.MEMORY)
        return self._cache.recall(key)

    def _look(self, key: str) -> Hit | None:
        return self._recall(key) or self._cache.get(key)

    def _known(self, keys: Sequence[str]) -> Known:
        found = ((key, self.peek(key)) for key in keys)
        return next((Known(key, entry) for key, entry in found if entry is not None), Known(keys[0], None))

    async def _read(self, read: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, read)
