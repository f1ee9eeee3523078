"""One thread a pipeline: load it, then draw one run after the other, and never die. One queue a model."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

from zimage_cache.errors import ZImageError
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.protocol import Drawing, ImageGenerator, Status, Step
from zimage_cache.request import Recipe
from zimage_cache.service.flights import Flights, Run
from zimage_cache.service.queue import FairQueue

_log = logging.getLogger(__name__)
_UNFINISHED = 4


class Worker:
    """Draws the runs of one model, on every device there is for it.

    Args:
        generator: Only one thread of this worker loads it and draws with it.
        finish: What becomes of the pixels; called in *encoders*, beside the next picture.
        preload: Load at `start`, before anybody asks.
        mates: The same model on further devices, each with a thread of its own. They load after *generator* did, and
            one that cannot load is left out; the queue is shared, so a slow device delays nobody.
    """

    def __init__(
        self,
        generator: ImageGenerator,
        flights: Flights,
        encoders: Executor,
        finish: Callable[[Run, Drawing], None],
        *,
        preload: bool,
        mates: Sequence[ImageGenerator] = (),
    ) -> None:
        self.generator = generator
        self.queue: FairQueue[Run] = FairQueue()
        self.preloading = preload
        self._flights = flights
        self._encoders = encoders
        self._finish = finish
        self._lanes = (generator, *mates)
        self._current: list[Run | None] = [None] * len(self._lanes)
        self._awake = threading.Event()
        self._stopped = False
        # Pixels are 3 to 12 MB each: a disk slower than the GPU must slow the GPU down, not fill the memory.
        self._places = threading.Semaphore(_UNFINISHED * len(self._lanes))
        name = f"worker-{generator.profile.name}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._mates = [
            threading.Thread(target=self._assist, args=(lane,), name=f"{name}-{lane}", daemon=True)
            for lane in range(1, len(self._lanes))
        ]

    @property
    def lanes(self) -> int:
        """How many pictures it draws at once."""
        return len(self._lanes)

    @property
    def drawing(self) -> list[Run]:
        """The runs being drawn now."""
        return [run for run in self._current if run is not None]

    def identities(self, recipe: Recipe) -> tuple[GeneratorIdentity, ...]:
        """Tell as whose picture *recipe* may be stored, on any of the devices; see `ImageGenerator.identities`."""
        # Only those awake: one that never loaded might have to read all weights first to know who it is.
        mates = [mate for mate in self._lanes[1:] if mate.state.status is Status.HEALTHY]
        return tuple(dict.fromkeys(who for each in (self.generator, *mates) for who in each.identities(recipe)))

    def start(self) -> None:
        """Start the threads."""
        for thread in (self._thread, *self._mates):
            thread.start()

    def stop(self, seconds: float) -> None:
        """Take no further run and wait up to *seconds* for the present ones."""
        self._stopped = True
        self.queue.close()
        self._awake.set()
        for thread in (self._thread, *self._mates):
            if thread.ident is not None:
                thread.join(seconds)

    def _work(self) -> None:
        if self.preloading:
            self.load()
            self.preloading = False
            self._awake.set()
        self._draw_all(0)

    def _assist(self, lane: int) -> None:
        """Wait until the first device is awake, so that weights are read one after the other, then draw too."""
        self._awake.wait()
        if not self._stopped and self._load(self._lanes[lane]):
            self._draw_all(lane)

    def _draw_all(self, lane: int) -> None:
        while (run := self.queue.take()) is not None:
            if self._flights.start(run, time.monotonic()):
                self._current[lane] = run
                self._draw(run, self._lanes[lane])
                self._current[lane] = None
                self._awake.set()

    def load(self) -> None:
        """Load now, from any thread; trouble is logged, and shown as the generator's state. Blocks until it is done."""
        self._load(self.generator)

    def _load(self, generator: ImageGenerator) -> bool:
        try:
            generator.load()
        except ZImageError as error:
            _log.warning("load_failed model=%s error=%s", generator.profile.name, error)
            return False
        except Exception:  # noqa: BLE001 - the outermost edge of this thread: the next ask finds a living worker
            _log.exception("load_failed model=%s", generator.profile.name)
            return False
        return True

    def _draw(self, run: Run, generator: ImageGenerator) -> None:
        with self._flights.failing(run):
            drawing = generator.generate(run.plan.recipe, partial(_tell, run), run.cancelled.is_set)
            self._flights.drawn(run)
            self._places.acquire()
            self._encoders.submit(self._finish_one, run, drawing)

    def _finish_one(self, run: Run, drawing: Drawing) -> None:
        try:
            with self._flights.failing(run):
                self._finish(run, drawing)
        finally:
            self._places.release()


def _tell(run: Run, step: Step) -> None:
    """Let those who wait see how far *run* is, and, if any of them watches, what it looks like."""
    if step.evaluation == 0:  # also where a picture is tried again
        run.began, run.preview = time.monotonic(), None
    if run.watchers and step.preview is not None:
        run.preview = step.preview()
    # Without its preview, which would keep the picture's latents.
    run.step = Step(step.evaluation, step.evaluations)
