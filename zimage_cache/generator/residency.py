"""Limits which models are in memory: a maximum number, and none that has been idle for longer than a set time."""

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
# A loaded model keeps its place for this long while another one waits: alternating after every picture would load
# 20 GB each time.
PATIENCE_SECONDS: Final = 60.0


class Residency:
    """The memory shared by all generators of this process, as a number of places for models.

    A model that loads or draws holds a place; when all are taken, the least recently used idle model is unloaded. A
    model that draws is never unloaded: work that needs its place waits.

    A model on several devices holds one place, because the limit applies to each device. It is idle when none of its
    devices works, it counts as used when any device was used, and it is unloaded from all its devices at once. Each
    device draws or loads one thing at a time, independently of the others. Attempts to load on a device that has failed
    do not count as use.

    Args:
        max_models: Places; 0 = no limit.
        idle_seconds: Idle time after which a model is unloaded; the next request loads it again. 0 = never.
        clock: Monotonic seconds.
    """

    def __init__(
        self, max_models: int = 1, idle_seconds: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max = max_models
        self._idle = idle_seconds
        self._clock = clock
        self._changed = threading.Condition()  # guards all below; models are unloaded while it is held, never loaded
        self._used: OrderedDict[_ModelOnDevices, float] = OrderedDict()  # models with a place, least recent first
        self._busy: set[Resident] = set()
        self._waiting: list[_PlaceRequest] = []
        self._leaving: list[_ModelOnDevices] = []
        self._residents: list[Resident] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, name="residency", daemon=True)

    def add(
        self,
        generator: ImageGenerator,
        *,
        beside: "Resident | None" = None,
    ) -> "Resident":
        """Return *generator* with its memory governed by this object.

        Args:
            generator: The generator of one device.
            beside: The same model on another device; None = another model.
        """
        model = _ModelOnDevices() if beside is None else beside.model
        resident = Resident(self, generator, model)
        model.residents.append(resident)
        self._residents.append(resident)
        return resident

    def start(self) -> None:
        """Start the thread that unloads idle models, if there is a limit to idle time."""
        if self._idle:
            self._thread.start()

    def stop(self) -> None:
        """Stop that thread, and every download that a load waits for; models stay loaded."""
        for resident in self._residents:
            resident.interrupt()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def sweep(self) -> float:
        """Unload every model that has been idle for long enough; returns the seconds until the next check."""
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
        """How many calls wait now: for a place, or for a model to become idle so that it can be unloaded."""
        with self._changed:
            return len(self._waiting) + len(self._leaving)

    @contextmanager
    def place(self, resident: "Resident") -> Iterator[None]:
        """Hold a place for the model, and its device, while one load or picture runs; waits until both are free."""
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
        """Wait until *model* is idle, and unload it."""
        with self._changed:
            # Its devices start no new work meanwhile: with several of them the model might otherwise never be idle.
            self._leaving.append(model)
            try:
                self._changed.wait_for(lambda: not self._works(model))
                self._unload(model)
            finally:
                self._leaving.remove(model)
                self._changed.notify_all()

    def _works(self, model: "_ModelOnDevices") -> bool:
        return not self._busy.isdisjoint(model.residents)

    def _admits(self, request: "_PlaceRequest") -> bool:
        """Return whether a waiting request may start; unloads an idle model where only a place is missing."""
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
        """Record the end of a load or picture: a model whose load failed holds no place."""
        self._busy.discard(resident)
        model = resident.model
        if resident.state.status is Status.HEALTHY:
            self._used[model] = self._clock()
            self._used.move_to_end(model)
        elif not self._works(model) and not model.awake:
            self._used.pop(model, None)
        self._changed.notify_all()

    def _unload(self, model: "_ModelOnDevices") -> None:
        for resident in model.residents:
            try:
                resident.generator.unload()
            except Exception:  # noqa: BLE001 - a broken device must not keep the memory of the others
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
    """An `ImageGenerator` that holds a place while it loads or draws; made by `Residency.add`. Safe from any thread.

    Concurrent calls share one load: they run one after the other, and the second one finds the model loaded.
    """

    def __init__(self, residency: Residency, generator: ImageGenerator, model: "_ModelOnDevices") -> None:
        self.generator = generator
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

    def interrupt(self) -> None:
        self.generator.interrupt()

    def close(self) -> None:
        self.generator.close()

    def unload(self) -> None:
        """Stop a download that a load waits for, wait for running pictures, and free the memory on every device."""
        for resident in self.model.residents:
            resident.interrupt()
        self._residency.clear(self.model)


@dataclass(frozen=True, slots=True, eq=False)
class _ModelOnDevices:
    """One model on all its devices."""

    residents: list[Resident] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.residents[0].profile.name

    @property
    def awake(self) -> bool:
        return any(resident.state.status is Status.HEALTHY for resident in self.residents)


@dataclass(frozen=True, slots=True, eq=False)
class _PlaceRequest:
    """A load or picture that waits for a place, and since when."""

    resident: Resident
    since: float

    @property
    def model(self) -> _ModelOnDevices:
        return self.resident.model
