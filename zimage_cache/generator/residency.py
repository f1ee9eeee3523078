"""Which models are in memory: at most so many, one pipeline a card, and none that nobody has asked for a long time."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.protocol import Drawing, GeneratorState, ImageGenerator, Status, Step
from zimage_cache.request import ModelProfile, Recipe

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

    A model on several cards holds one place, because each card has room for so many models, and is one thing: it is at
    rest when no card of it works, it was used when any card was, and it leaves all its cards at once. Each card draws
    or loads one thing at a time, beside the others. A card that failed keeps no model awake: its tries to load again
    are no use.

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
        self._used: OrderedDict[_ModelOnDevices, float] = OrderedDict()  # who holds a place, used longest ago first
        self._busy: set[Resident] = set()
        self._waiting: list[_PlaceRequest] = []
        self._leaving: list[_ModelOnDevices] = []
        self._residents: list[Resident] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, name="residency", daemon=True)

    def add(
        self,
        generator: ImageGenerator,
        interrupt: Callable[[], None] = _nothing,
        *,
        beside: "Resident | None" = None,
    ) -> "Resident":
        """Put *generator* under this rule.

        Args:
            generator: One card's.
            interrupt: Stops what its `load` waits for.
            beside: The same model on another card; None = a model of its own.
        """
        model = _ModelOnDevices() if beside is None else beside.model
        resident = Resident(self, generator, interrupt, model)
        model.cards.append(resident)
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
            for model, used in list(self._used.items()):
                rest = self._idle - (now - used)
                if rest > 0:
                    wait = min(wait, rest)
                elif not self._works(model):
                    self._unload(model)
                    _log.info("unloaded model=%s after %.0f s of rest", model.name, now - used)
            return wait

    @property
    def waiting(self) -> int:
        """How many wait now: for a place, or for a model to come to rest so that it can be unloaded."""
        with self._changed:
            return len(self._waiting) + len(self._leaving)

    @contextmanager
    def place(self, resident: "Resident") -> Iterator[None]:
        """Hold a place for the model, and the card itself, for one piece of work; waits until both can be had."""
        with self._changed:
            request = _PlaceRequest(resident, self._clock())
            self._waiting.append(request)
            try:
                self._changed.wait_for(lambda: self._admits(request))
            finally:
                self._waiting.remove(request)
            self._busy.add(resident)
            self._used.setdefault(resident.model, self._clock())
        try:
            yield
        finally:
            with self._changed:
                self._rest(resident)

    def clear(self, model: "_ModelOnDevices") -> None:
        """Wait until *model* is at rest, and unload it."""
        with self._changed:
            # Its cards take up nothing new meanwhile: with several of them there may never be a moment without work.
            self._leaving.append(model)
            try:
                self._changed.wait_for(lambda: not self._works(model))
                self._unload(model)
            finally:
                self._leaving.remove(model)
                self._changed.notify_all()

    def _works(self, model: "_ModelOnDevices") -> bool:
        return not self._busy.isdisjoint(model.cards)

    def _admits(self, request: "_PlaceRequest") -> bool:
        """Decide on one who waits; makes room, if that is all it takes."""
        model = request.resident.model
        earlier = [other for other in self._waiting[: self._waiting.index(request)] if other.model not in self._used]
        if request.resident in self._busy or model in self._leaving:
            return False
        if model in self._used:
            return all(self._clock() - other.since < PATIENCE_SECONDS for other in earlier)
        if any(other.model is not model for other in earlier):
            return False
        if self._max and len(self._used) >= self._max:
            idle = next((each for each in self._used if not self._works(each)), None)
            if idle is None:
                return False
            self._unload(idle)
        return True

    def _rest(self, resident: "Resident") -> None:
        """Bring the books up to date after a piece of work: a load that failed holds no place."""
        self._busy.discard(resident)
        model = resident.model
        if resident.state.status is Status.HEALTHY:
            self._used[model] = self._clock()
            self._used.move_to_end(model)
        elif not self._works(model) and not model.awake:
            self._used.pop(model, None)
        self._changed.notify_all()

    def _unload(self, model: "_ModelOnDevices") -> None:
        for resident in model.cards:
            try:
                resident.generator.unload()
            except Exception:  # noqa: BLE001 - a broken card must not keep the others' memory
                _log.exception("unload_failed model=%s device=%s", model.name, resident.state.device)
        self._used.pop(model, None)

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

    def __init__(
        self, residency: Residency, generator: ImageGenerator, interrupt: Callable[[], None], model: "_ModelOnDevices"
    ) -> None:
        self.generator = generator
        self.interrupt = interrupt
        self.model = model
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
        """Stop a download that a load waits for, wait for what is drawn, and give the memory back, on every card."""
        for card in self.model.cards:
            card.interrupt()
        self._residency.clear(self.model)


@dataclass(frozen=True, slots=True, eq=False)
class _ModelOnDevices:
    """One model, on each card it may lie on."""

    cards: list[Resident] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.cards[0].profile.name

    @property
    def awake(self) -> bool:
        return any(card.state.status is Status.HEALTHY for card in self.cards)


@dataclass(frozen=True, slots=True, eq=False)
class _PlaceRequest:
    """One who waits for a place, and since when."""

    resident: Resident
    since: float

    @property
    def model(self) -> _ModelOnDevices:
        return self.resident.model
