"""What a request names: a model with its devices, its queue, its identity and its state. One thread a device.

A thread loads its device, then draws one run after the other; no error ends it.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import Final

from zimage_cache.errors import GeneratorError, GeneratorLoading, ModelCorrupt, ModelMissing, ZImageError
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.protocol import Drawing, GeneratorState, ImageGenerator, Status, Step
from zimage_cache.i18n.messages import Message
from zimage_cache.pool import Pool
from zimage_cache.request import ModelProfile, Recipe
from zimage_cache.service.flights import Flights, Run, Seat
from zimage_cache.service.queue import FairQueue

_log = logging.getLogger(__name__)
_UNFINISHED = 4
IDENTITY_SECONDS = 10.0
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 600.0
_DOUBLINGS: Final = 16
_BEST_FIRST: Final = (Status.HEALTHY, Status.LOADING, Status.SLEEPING, Status.ERROR)


class Devices:
    """Which of a model's devices draws next, and which is to be loaded again; by their numbers from 0.

    Each has a generator of its own. Knows no queue and no threads.

    The rule:

    - A healthy device draws.
    - While none is healthy, one device is loaded first: the first without an error; where all have one, the one whose
      failure is longest ago. A run wakes this device and no other: weights are read once before they are read side by
      side.
    - While another device is healthy, one that is not draws nothing. It is loaded without a run: at once, or, where it
      failed, after a pause of 5 s, twice as long after every further failure, up to ten minutes. Only a picture ends
      the count: a device that loads, and fails again, waits longer each time.
    - A device whose state is an error after a run caused it, and the run may go to another device, once. An error that
      leaves the device healthy (out of memory for this size, numbers that are not finite) is the run's own.

    The state of the model is that of its best device.

    Args:
        generators: The first is the model's usual one.
        clock: Monotonic seconds.
        pause: Seconds after the first failure.

    Threads: any; states are read from the generators each time, and each device's own thread notes its failures.
    """

    def __init__(
        self,
        generators: Sequence[ImageGenerator],
        clock: Callable[[], float] = time.monotonic,
        pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self.generators = tuple(generators)
        self._clock = clock
        self._pause = pause
        self._failures = [0] * len(self.generators)
        self._failed = [float("-inf")] * len(self.generators)

    @property
    def states(self) -> list[GeneratorState]:
        """The state of each device."""
        return [generator.state for generator in self.generators]

    @property
    def state(self) -> GeneratorState:
        """The state of the best device, the first of several."""
        return min(self.states, key=lambda state: _BEST_FIRST.index(state.status))

    @property
    def able(self) -> int:
        """How many devices are not in error, but at least one: so many pictures are drawn at once."""
        return max(1, sum(state.status is not Status.ERROR for state in self.states))

    def draws(self, device: int) -> bool:
        """Return whether *device* takes the next run."""
        if len(self.generators) == 1:
            return True
        statuses = [state.status for state in self.states]
        return statuses[device] is Status.HEALTHY or (
            Status.HEALTHY not in statuses and self._first_to_load(statuses) == device
        )

    def wants_loading(self, device: int) -> bool:
        """Return whether *device* is to be loaded now, without a run."""
        statuses = [state.status for state in self.states]
        if statuses[device] in {Status.HEALTHY, Status.LOADING} or Status.HEALTHY not in statuses:
            return False
        return self._clock() >= self._due(device)

    def pause(self, device: int) -> float | None:
        """Return the seconds until an answer of `wants_loading` may change by itself; None: it will not."""
        left = self._due(device) - self._clock()
        return left if left > 0 else None

    def failed(self, device: int) -> None:
        """Note that *device* could not be loaded, or broke while it drew."""
        self._failures[device] += 1
        self._failed[device] = self._clock()

    def drew(self, device: int) -> None:
        """Note that *device* drew a picture."""
        self._failures[device] = 0

    def broken(self, device: int) -> bool:
        """Return whether *device* caused what just went wrong on it."""
        return self.generators[device].state.status is Status.ERROR

    def others(self, device: int) -> bool:
        """Return whether there is another device that is not in error."""
        return any(state.status is not Status.ERROR for other, state in enumerate(self.states) if other != device)

    def model_unloaded(self, device: int) -> bool:
        """Return whether the model was unloaded while *device* was being loaded to draw beside the others."""
        others = [state.status for other, state in enumerate(self.states) if other != device]
        return Status.SLEEPING in others and not {Status.HEALTHY, Status.LOADING}.intersection(others)

    def _first_to_load(self, statuses: Sequence[Status]) -> int:
        return min(
            range(len(statuses)),
            key=lambda device: (
                statuses[device] is Status.ERROR,
                statuses[device] is Status.ERROR and self._failed[device],
            ),
        )

    def _due(self, device: int) -> float:
        doublings = min(max(self._failures[device] - 1, 0), _DOUBLINGS)
        return self._failed[device] + min(LONGEST_PAUSE_SECONDS, self._pause * 2.0**doublings)


class Model:
    """Draws the runs of one model, on every device there is for it.

    Args:
        generator: The first device's: its identity is the model's.
        flights: Where runs begin and end.
        encoders: Where *finish* is called, beside the next picture.
        finish: Called with the pixels of each run.
        preload: Load at `start`, before the first request.
        peers: The same model on further devices, each with a thread of its own. The queue is shared, so a slow device
            delays no run; `Devices` decides which device draws, and when one that failed is loaded again.
        pause: Seconds before a device that failed is loaded again, the first time.

    Threads: `identity` and `begin_load` on the event loop, all else on any.
    """

    def __init__(
        self,
        generator: ImageGenerator,
        flights: Flights,
        encoders: Executor,
        finish: Callable[[Run, Drawing], None],
        *,
        preload: bool,
        peers: Sequence[ImageGenerator] = (),
        pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self.queue: FairQueue[Run] = FairQueue()
        self.preloading = preload
        self.known_identity: GeneratorIdentity | None = None  # once it is known, it is fixed for the process
        self._generator = generator
        self._flights = flights
        self._encoders = encoders
        self._finish = finish
        self._devices = Devices((generator, *peers), pause=pause)
        self._current: list[Run | None] = [None] * (1 + len(peers))
        self._stopped = False
        # Pixels are 3 to 12 MB each: a disk slower than the GPU must slow the GPU down, not fill the memory.
        self._places = threading.Semaphore(_UNFINISHED * (1 + len(peers)))
        self._threads = [
            threading.Thread(target=self._work, args=(device,), name=f"worker-{self.name}-{device}", daemon=True)
            for device in range(1 + len(peers))
        ]
        self._loader: threading.Thread | None = None
        self._hashing = Pool(1, f"identity-{self.name}")
        self._unloading = Pool(1, f"unloader-{self.name}")

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.profile.name

    @property
    def profile(self) -> ModelProfile:
        """What it is asked for by default, and what it can do."""
        return self._generator.profile

    @property
    def state(self) -> GeneratorState:
        """The state of its best device. A model whose load was ordered, and has not begun, is loading."""
        state = self._devices.state
        if self._loader is not None and self._loader.is_alive() and state.status in {Status.SLEEPING, Status.ERROR}:
            return GeneratorState(Status.LOADING, phase=Message("waiting_turn"), device=state.device)
        return state

    @property
    def states(self) -> list[GeneratorState]:
        """The state of each device, the first one first."""
        return self._devices.states

    @property
    def accepts(self) -> bool:
        """Whether a miss would be accepted now: asleep and waking up count, for a request waits."""
        status = self._devices.state.status
        if status is Status.LOADING:
            return not self.preloading and self.known_identity is not None
        return status is not Status.ERROR

    @property
    def lanes(self) -> int:
        """How many pictures it draws at once."""
        return self._devices.able

    @property
    def drawing(self) -> list[Run]:
        """The runs on a device now; one whose end its waiters were told is not among them, unless it was cancelled."""
        return [run for run in self._current if run is not None]

    def count_tokens(self, text: str) -> int | None:
        """Count the tokens of *text*; see `ImageGenerator.count_tokens`."""
        return self._generator.count_tokens(text)

    async def identity(self, *, patient: bool) -> GeneratorIdentity:
        """Return the identity of the model. The first time may take a while (the files are hashed); then it is fixed.

        Raises:
            GeneratorLoading: It takes longer than the impatient wait, or the model is just being fetched.
            ModelMissing, ModelCorrupt: There is nothing to hash, and nothing on its way.
        """
        while self.known_identity is None:
            asking = asyncio.get_running_loop().run_in_executor(self._hashing, self._generator.identity)
            try:
                limit = None if patient else IDENTITY_SECONDS
                self.known_identity = await asyncio.wait_for(asyncio.shield(asking), limit)
            except TimeoutError:
                raise self.loading() from None
            except (ModelMissing, ModelCorrupt):  # half here, while it is being fetched
                # Before its state says "loading", a preload is due already.
                if self._devices.state.status is not Status.LOADING and not self.preloading:
                    raise
                if not patient:
                    raise self.loading() from None
                await asyncio.sleep(1)
        return self.known_identity

    def identities(self, recipe: Recipe) -> tuple[GeneratorIdentity, ...]:
        """Return the identities under which *recipe* may be stored, on any device; see `ImageGenerator.identities`."""
        # Only those awake: one that never loaded might have to read all weights first to know its identity.
        peers = [peer for peer in self._devices.generators[1:] if peer.state.status is Status.HEALTHY]
        return tuple(dict.fromkeys(own for each in (self._generator, *peers) for own in each.identities(recipe)))

    def line_up(self, run: Run) -> None:
        """Put a run into the queue, behind the others of its user."""
        self.queue.put(run, run.plan.user, batch=run.batch)
        self._after_queueing(run)

    def promote(self, run: Run) -> None:
        """Move a run that waits among the batch ones to the others, if an interactive request has joined it."""
        if run.plan.batch and not run.batch:
            self.queue.promote(run)

    def leave(self, seat: Seat) -> None:
        """Give a seat back; a run without waiters leaves the queue."""
        if self._flights.leave(seat):
            self.queue.discard(seat.run)

    def loading(self) -> GeneratorLoading:
        """Make the error that says what the model is busy with."""
        phase = self._devices.state.phase or Message("starting")
        return GeneratorLoading("model_loading", title=self.profile.title, phase=phase)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> None:
        """Take no further run and wait up to *seconds* for the present ones."""
        self._stopped = True
        self.queue.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(seconds)

    def close(self) -> None:
        """End what `stop` left: an unload is waited for; hashing is not, its generator is told to stop elsewhere."""
        self._hashing.shutdown(wait=False, cancel_futures=True)
        self._unloading.shutdown()

    def begin_load(self) -> None:
        """Begin to load it, fetching it if need be; `state` tells the progress. A load under way is not begun twice."""
        if self._loader is None or not self._loader.is_alive():
            # Not of a pool, whose threads a stopping server waits for: a download takes hours.
            load = partial(copy_context().run, self.load)  # log lines have the id of the request that ordered it
            self._loader = threading.Thread(target=load, name=f"loader-{self.name}", daemon=True)
            self._loader.start()

    async def unload(self) -> None:
        """Free its memory after the picture that is being drawn; the next request loads it again."""
        await asyncio.get_running_loop().run_in_executor(self._unloading, self._generator.unload)

    def _work(self, device: int) -> None:
        if device == 0 and self.preloading:
            self.load()
            self.preloading = False
        devices = self._devices
        ready, lacking = partial(devices.draws, device), partial(devices.wants_loading, device)
        while not self._stopped:
            if lacking():
                self._follow(device)
            elif (run := self.queue.take(ready, lacking, devices.pause(device))) is not None:
                self._start(run, device)

    def load(self) -> None:
        """Load the first device that can be, from any thread, and have the others follow; blocks until it is done.

        Trouble is logged, and shown as the device's state.
        """
        for device in range(len(self._devices.generators)):
            if self._stopped or self._load(device):
                return

    def _load(self, device: int) -> bool:
        """Load one device; trouble is logged, counted, and shown as its state."""
        generator = self._devices.generators[device]
        loaded = False
        try:
            generator.load()
            loaded = True
        except ZImageError as error:
            _log.warning("load_failed model=%s device=%d error=%s", generator.profile.name, device, error)
        except Exception:  # noqa: BLE001 - the outermost edge of this thread: the next ask finds a living worker
            _log.exception("load_failed model=%s device=%d", generator.profile.name, device)
        if not loaded:
            self._devices.failed(device)
        self.queue.wake()
        return loaded

    def _follow(self, device: int) -> None:
        """Load a device beside one that is awake; undone where the model was sent to sleep meanwhile."""
        if self._load(device) and self._devices.model_unloaded(device):
            self._devices.generators[device].unload()

    def _start(self, run: Run, device: int) -> None:
        if not self._flights.start(run, time.monotonic()):
            return
        with self._flights.failing(run):
            self._draw(run, device)
        self.queue.wake()

    def _draw(self, run: Run, device: int) -> None:
        try:
            drawing = self._generate(run, device)
        except GeneratorError as error:
            if not self._devices.broken(device):
                raise
            self._devices.failed(device)
            if not self._devices.others(device) or not self._flights.restart(run):
                raise
            _log.warning("run_moved key=%s device=%d error=%s", run.plan.key[:12], device, error)
            self.queue.put_back(run, run.plan.user, batch=run.batch)
            self._after_queueing(run)
            return
        self._devices.drew(device)
        self._flights.drawn(run)
        self._places.acquire()
        self._encoders.submit(self._finish_one, run, drawing)

    def _generate(self, run: Run, device: int) -> Drawing:
        self._current[device] = run
        try:
            return self._devices.generators[device].generate(
                run.plan.recipe, partial(self._on_step, run), run.cancelled.is_set
            )
        finally:
            self._current[device] = None  # before its waiters are told how it ended

    def _after_queueing(self, run: Run) -> None:
        """Catch up with what happened to a run just before it was queued: a request joined, or the last one left."""
        self.promote(run)
        if run.cancelled.is_set():
            self.queue.discard(run)

    def _on_step(self, run: Run, step: Step) -> None:
        _tell(run, step)
        if step.evaluation == 0:  # the model is awake: the other devices may follow
            self.queue.wake()

    def _finish_one(self, run: Run, drawing: Drawing) -> None:
        try:
            with self._flights.failing(run):
                self._finish(run, drawing)
        finally:
            self._places.release()


def _tell(run: Run, step: Step) -> None:
    """Note how far *run* is for the jobs that wait, and make a preview if one of them shows previews."""
    if step.evaluation == 0:  # also where a picture is tried again
        run.began, run.preview = time.monotonic(), None
    if run.watchers and step.preview is not None:
        run.preview = step.preview()
    # Without its preview, which would keep the picture's latents.
    run.step = Step(step.evaluation, step.evaluations)
