"""Which models are in memory: at most so many, one pipeline each, and none that nobody has asked for a long time."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.protocol import Drawing, GeneratorState, ImageGenerator, ModelProfile, Status, Step
from zimage_cache.request import Recipe

_log = logging.getLogger(__name__)
_LONGEST_NAP: Final = 60.0
# A model keeps its place for this long while another waits for it: taking turns picture by picture would load
# 20 GB for each of them.
PATIENCE_SECONDS: Final = 60.0


def _nothing() -> None:
    pass


class Residency:
    """The memory that all generators of this process share.

    A model that works holds a place; when all are taken, the one used longest ago leaves, once it is at rest. A model
    that draws is never taken from under its picture: whoever needs the place waits.

    Args:
        max_models: Places; 0 = no limit.
        idle_seconds: Rest after which a model leaves by itself; it wakes when asked. 0 = never.
        clock: Seconds that only ever go forward: the wall clock may be set back.
    """

    def __init__(
        self, max_models: int = 1, idle_seconds: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max = max_models
        self._idle = idle_seconds
        self._clock = clock
        self._changed = threading.Condition()  # guards all below; unloading happens under it, loading never
        self._used: OrderedDict[Resident, float] = OrderedDict()  # who holds a place, used longest ago first
        self._busy: set[Resident] = set()
        self._waiting: list[_Ticket] = []
        self._residents: list[Resident] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, name="residency", daemon=True)

    def add(self, generator: ImageGenerator, interrupt: Callable[[], None] = _nothing) -> "Resident":
        """Put *generator* under this rule; *interrupt* stops what its `load` waits for."""
        resident = Resident(self, generator, interrupt)
        self._residents.append(resident)
        return resident

    def start(self) -> None:
        """Watch for models at rest, if they are to leave by themselves."""
        if self._idle:
            self._thread.start()

    def stop(self) -> None:
        """Stop watching, and every download that a load waits for; models stay as they are."""
        for resident in self._residents:
            resident.interrupt()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def sweep(self) -> float:
        """Unload every model that has rested long enough; returns the seconds until the next one will have."""
        with self._changed:
            now, wait = self._clock(), _LONGEST_NAP
            for resident, used in list(self._used.items()):
                rest = self._idle - (now - used)
                if rest > 0:
                    wait = min(wait, rest)
                elif resident not in self._busy:
                    self._unload(resident)
                    _log.info("unloaded model=%s after %.0f s of rest", resident.profile.name, now - used)
            return wait

    @contextmanager
    def place(self, resident: "Resident") -> Iterator[None]:
        """Hold a place, and the model itself, for one piece of work; waits until both can be had."""
        with self._changed:
            ticket = _Ticket(resident, self._clock())
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._admits(ticket))
            finally:
                self._waiting.remove(ticket)
            self._busy.add(resident)
            self._used[resident] = self._clock()
        try:
            yield
        finally:
            with self._changed:
                self._rest(resident)

    def clear(self, resident: "Resident") -> None:
        """Wait until *resident* is at rest, and unload it."""
        with self._changed:
            self._changed.wait_for(lambda: resident not in self._busy)
            self._unload(resident)
            self._changed.notify_all()

    def _admits(self, ticket: "_Ticket") -> bool:
        """Decide on one who waits; makes room, if that is all it takes."""
        earlier = [other for other in self._waiting[: self._waiting.index(ticket)] if other.resident not in self._used]
        if ticket.resident in self._busy:
            return False
        if ticket.resident in self._used:
            return all(self._clock() - other.since < PATIENCE_SECONDS for other in earlier)
        if any(other.resident is not ticket.resident for other in earlier):
            return False
        if self._max and len(self._used) >= self._max:
            idle = next((resident for resident in self._used if resident not in self._busy), None)
            if idle is None:
                return False
            self._unload(idle)
        return True

    def _rest(self, resident: "Resident") -> None:
        """Bring the books up to date after a piece of work: a load that failed holds no place."""
        self._busy.discard(resident)
        if resident.state.status is Status.HEALTHY:
            self._used[resident] = self._clock()
            self._used.move_to_end(resident)
        else:
            self._used.pop(resident, None)
        self._changed.notify_all()

    def _unload(self, resident: "Resident") -> None:
        resident.generator.unload()
        self._used.pop(resident, None)

    def _watch(self) -> None:
        while True:
            wait = self.sweep()
            with self._changed:
                if not self._stopping:
                    self._changed.wait(wait)
                if self._stopping:
                    return


class Resident:
    """An `ImageGenerator` whose memory is lent to it; made by `Residency.add`. Safe from any thread.

    Concurrent asks share one load: they take turns, and whoever comes second finds the model there.
    """

    def __init__(self, residency: Residency, generator: ImageGenerator, interrupt: Callable[[], None]) -> None:
        self.generator = generator
        self.interrupt = interrupt
        self._residency = residency

    @property
    def profile(self) -> ModelProfile:
        return self.generator.profile

    @property
    def state(self) -> GeneratorState:
        return self.generator.state

    def identity(self) -> GeneratorIdentity:
        return self.generator.identity()

    def identities(self, recipe: Recipe) -> tuple[GeneratorIdentity, ...]:
        return self.generator.identities(recipe)

    def count_tokens(self, text: str) -> int | None:
        return self.generator.count_tokens(text)

    def load(self) -> None:
        with self._residency.place(self):
            self.generator.load()

    def generate(self, recipe: Recipe, on_step: Callable[[Step], None], cancelled: Callable[[], bool]) -> Drawing:
        with self._residency.place(self):
            return self.generator.generate(recipe, on_step, cancelled)

    def unload(self) -> None:
        """Stop a download that a load waits for, wait for the picture being drawn, and give the memory back."""
        self.interrupt()
        self._residency.clear(self)


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    """One who waits for a place, and since when."""

    resident: Resident
    since: float
