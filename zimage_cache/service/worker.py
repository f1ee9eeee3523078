"""One thread a card: load it, then draw one run after the other, and never die. One queue a model."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

from zimage_cache.errors import GeneratorError, ZImageError
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.generator.protocol import Drawing, GeneratorState, ImageGenerator, Status, Step
from zimage_cache.request import Recipe
from zimage_cache.service.cards import FIRST_PAUSE_SECONDS, Cards
from zimage_cache.service.flights import Flights, Run
from zimage_cache.service.queue import FairQueue

_log = logging.getLogger(__name__)
_UNFINISHED = 4


class Worker:
    """Draws the runs of one model, on every card there is for it.

    Args:
        generator: The first card's: the one asked who the model is.
        finish: What becomes of the pixels; called in *encoders*, beside the next picture.
        preload: Load at `start`, before anybody asks.
        mates: The same model on further cards, each with a thread of its own. The queue is shared, so a slow card
            delays nobody; `Cards` tells which card draws, and when one that failed is loaded again.
        pause: Seconds before a card that failed is loaded again, the first time.
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
        pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self.generator = generator
        self.queue: FairQueue[Run] = FairQueue()
        self.preloading = preload
        self._flights = flights
        self._encoders = encoders
        self._finish = finish
        self._cards = Cards((generator, *mates), pause=pause)
        self._current: list[Run | None] = [None] * (1 + len(mates))
        self._stopped = False
        # Pixels are 3 to 12 MB each: a disk slower than the GPU must slow the GPU down, not fill the memory.
        self._places = threading.Semaphore(_UNFINISHED * (1 + len(mates)))
        name = f"worker-{generator.profile.name}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._mates = [
            threading.Thread(target=self._draw_all, args=(card,), name=f"{name}-{card}", daemon=True)
            for card in range(1, 1 + len(mates))
        ]

    @property
    def state(self) -> GeneratorState:
        """How the model is: as the best of its cards."""
        return self._cards.state

    @property
    def states(self) -> list[GeneratorState]:
        """How each card is, the first one first."""
        return self._cards.states

    @property
    def lanes(self) -> int:
        """How many pictures it draws at once."""
        return self._cards.able

    @property
    def drawing(self) -> list[Run]:
        """The runs being drawn now."""
        return [run for run in self._current if run is not None]

    def identities(self, recipe: Recipe) -> tuple[GeneratorIdentity, ...]:
        """Tell as whose picture *recipe* may be stored, on any of the devices; see `ImageGenerator.identities`."""
        # Only those awake: one that never loaded might have to read all weights first to know who it is.
        mates = [mate for mate in self._cards.generators[1:] if mate.state.status is Status.HEALTHY]
        return tuple(dict.fromkeys(who for each in (self.generator, *mates) for who in each.identities(recipe)))

    def start(self) -> None:
        """Start the threads."""
        for thread in (self._thread, *self._mates):
            thread.start()

    def stop(self, seconds: float) -> None:
        """Take no further run and wait up to *seconds* for the present ones."""
        self._stopped = True
        self.queue.close()
        for thread in (self._thread, *self._mates):
            if thread.ident is not None:
                thread.join(seconds)

    def _work(self) -> None:
        if self.preloading:
            self.load()
            self.preloading = False
        self._draw_all(0)

    def _draw_all(self, card: int) -> None:
        cards = self._cards
        ready, lacking = partial(cards.draws, card), partial(cards.wants_loading, card)
        while not self._stopped:
            if lacking():
                self._follow(card)
            elif (run := self.queue.take(ready, lacking, cards.pause(card))) is not None:
                self._start(run, card)

    def load(self) -> None:
        """Load the first card that can be, from any thread, and have the others follow; blocks until it is done.

        Trouble is logged, and shown as the card's state.
        """
        for card in range(len(self._cards.generators)):
            if self._stopped or self._load(card):
                return

    def _load(self, card: int) -> bool:
        """Load one card; trouble is logged, counted, and shown as its state."""
        generator = self._cards.generators[card]
        loaded = False
        try:
            generator.load()
            loaded = True
        except ZImageError as error:
            _log.warning("load_failed model=%s card=%d error=%s", generator.profile.name, card, error)
        except Exception:  # noqa: BLE001 - the outermost edge of this thread: the next ask finds a living worker
            _log.exception("load_failed model=%s card=%d", generator.profile.name, card)
        if not loaded:
            self._cards.failed(card)
        self.queue.wake()
        return loaded

    def _follow(self, card: int) -> None:
        """Load a card beside one that is awake; undone where the model was sent to sleep meanwhile."""
        if self._load(card) and self._cards.lonely(card):
            self._cards.generators[card].unload()

    def _start(self, run: Run, card: int) -> None:
        if not self._flights.start(run, time.monotonic()):
            return
        self._current[card] = run
        with self._flights.failing(run):
            self._draw(run, card)
        self._current[card] = None
        self.queue.wake()

    def _draw(self, run: Run, card: int) -> None:
        try:
            generator = self._cards.generators[card]
            drawing = generator.generate(run.plan.recipe, partial(self._hear, run), run.cancelled.is_set)
        except GeneratorError as error:
            if not self._cards.broken(card):
                raise
            self._cards.failed(card)
            if not self._cards.others(card) or not self._flights.restart(run):
                raise
            _log.warning("run_moved key=%s card=%d error=%s", run.plan.key[:12], card, error)
            self._put_back(run)
            return
        self._cards.drew(card)
        self._flights.drawn(run)
        self._places.acquire()
        self._encoders.submit(self._finish_one, run, drawing)

    def _put_back(self, run: Run) -> None:
        self.queue.put_back(run, run.plan.user)
        if run.cancelled.is_set():  # its last waiter left between the restart and this
            self.queue.discard(run)

    def _hear(self, run: Run, step: Step) -> None:
        _tell(run, step)
        if step.evaluation == 0:  # the model is awake: the other cards may follow
            self.queue.wake()

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
