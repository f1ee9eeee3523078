"""What this process knows of the disk, kept true: whoever changes files here looks at them afterwards.

Joins `store`, which knows files, with `ledger`, which knows what they add up to; decides nothing itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from zimage_cache.cache.ledger import Ledger
from zimage_cache.cache.store import Presence, Store
from zimage_cache.entry import Record
from zimage_cache.errors import CacheError

# How many keys a scan takes over at once.
_AT_ONCE = 256


class Inventory:
    """Takes stock of a folder.

    Threads: any. Whoever changes files holds the stripe of their key and no other.
    """

    def __init__(self, store: Store, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._strangers: set[str] = set()
        self.learned = False  # whether all that is on disk was looked at once

    @contextmanager
    def changing(self, key: str) -> Iterator[None]:
        """Exclude everybody else from *key*, and know afterwards what it occupies, whatever happened."""
        with self._store.stripes.hold(key):
            try:
                yield
            finally:
                self._measure(key)

    @contextmanager
    def changing_if_free(self, key: str, *, evicting: bool = False) -> Iterator[bool]:
        """As `changing`, without waiting; gives whether *key* was free."""
        with self._store.stripes.try_hold(key) as free:
            try:
                yield free
            finally:
                if free:
                    self._measure(key, evicted=evicting)

    def doubt(self, key: str) -> None:
        """Note that *key* was found otherwise than it is known; instant."""
        self._strangers.add(key)

    def meet_strangers(self, most: int | None = None) -> None:
        """Look at what another process or a person has changed; where a key is locked, its holder looks.

        Args:
            most: How many keys to look at; None = all there are now.
        """
        for _ in range(len(self._strangers) if most is None else min(most, len(self._strangers))):
            with suppress(CacheError, KeyError), self.changing_if_free(self._strangers.pop()):
                pass

    def expect_nothing(self) -> None:
        """Note that there is no folder: while nothing is known either, all that comes is written here."""
        self.learned = self.learned or not self._ledger.bytes

    def learn(self, stopped: Callable[[], bool]) -> list[str]:
        """Take over everything that is on disk; return the keys that need mending."""
        with self._ledger.scanning():
            found = self._store.survey(stopped)
            if stopped() or self._store.folder_lost():  # lost meanwhile: what was not found is not gone
                return []
            strange = self._ledger.strange(found)
            for begin in range(0, len(strange), _AT_ONCE):
                if stopped():
                    return []
                keys = strange[begin : begin + _AT_ONCE]
                seen = [(key, found.get(key, Presence())) for key in keys]
                self._ledger.found([(key, presence, self._record(key, presence)) for key, presence in seen])
        now = self._clock()
        self._ledger.index.settle(now)
        self.learned = True
        return [key for key, presence in found.items() if presence.halved or presence.orphaned(now)]

    def _measure(self, key: str, *, evicted: bool = False) -> None:
        """Set what *key* occupies, locked, so that two measurements cannot overtake each other."""
        with suppress(CacheError):  # the disk does not say: what was known stays the best guess
            presence = self._store.look(key)
            self._ledger.write(key, presence, self._record(key, presence), evicted=evicted)

    def _record(self, key: str, presence: Presence) -> Record | None:
        with suppress(CacheError):  # who reads it whole judges it
            found = self._store.record(key) if presence.whole else None
            return found and found[0]
        return None
