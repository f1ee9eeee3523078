"""`Model`: a thread a device that loads and draws one run after the other, and that no error ends."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.factories import picture_entry, plan, present, recipe
from tests.waiting import no_thread_left, wait_until
from zimage_cache.errors import Cancelled, DeviceFailed, GenerationFailed, ModelCorrupt, OutOfMemory
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import GeneratorState, Status, Step
from zimage_cache.i18n.messages import Message
from zimage_cache.service.flights import Flights, Run
from zimage_cache.service.model import Model, _tell

RECIPE = recipe(steps=3)
ENTRY = picture_entry()


class Line:
    """A worker with its flights and encoders, and a way to put runs in."""

    def __init__(self, generator: FakeGenerator, finish=None, *, preload: bool = False, peers=(), pause=3600.0):
        self.generator = generator
        self.flights = Flights()
        self.encoders = ThreadPoolExecutor(2)
        finish = finish or self._finish
        self.model = Model(generator, self.flights, self.encoders, finish, preload=preload, peers=peers, pause=pause)
        self.finished: list[int] = []

    def add(self, seed: int) -> Run:
        drawn = plan(str(seed), recipe=recipe(steps=3, seed=seed), identity=self.generator.identity())
        run = self.flights.join([drawn])[0].run
        self.model.queue.put(run, "ann")
        return run

    def _finish(self, run: Run, _drawing) -> None:
        self.finished.append(run.plan.recipe.seed)
        self.flights.resolve(run, ENTRY)
        self.flights.stored(run)


@pytest.fixture
def line():
    """Give a maker of started lines; at the end their threads are gone."""
    made: list[Line] = []

    def make(generator=None, finish=None, **options) -> Line:
        made.append(Line(generator or FakeGenerator(), finish, **options))
        made[-1].model.start()
        return made[-1]

    with no_thread_left("worker-"):
        yield make
        for each in made:
            each.model.stop(60)
            each.encoders.shutdown()


def test_draws_in_the_order_of_the_queue_and_tells_each_step(line):
    """Runs are drawn one after the other, and each shows its finished evaluations."""
    made = line()
    runs = [made.add(seed) for seed in (3, 1, 2)]
    for run in runs:
        run.future.result(60)
    assert [recipe.seed for recipe in made.generator.recipes] == [3, 1, 2]
    assert [(run.step.evaluation, run.step.evaluations) for run in runs] == [(3, 3)] * 3


@pytest.mark.parametrize(
    ("raised", "told"), [(OutOfMemory("as_said", text="full"), OutOfMemory), (ValueError("shape"), GenerationFailed)]
)
def test_an_error_is_one_runs(line, caplog, raised, told):
    """Our errors pass, foreign ones are translated; the next run is drawn by the same thread."""

    def before_step(recipe, _evaluation):
        if recipe.seed == 1:
            raise raised

    made = line(FakeGenerator(before_step=before_step))
    with caplog.at_level(logging.ERROR):
        failing, fine = made.add(1), made.add(2)
        assert isinstance(failing.future.exception(60), told)
    assert fine.future.exception(60) is None


def test_an_error_while_finishing_is_one_runs(line, caplog):
    """The same for the encoders: the run fails, and its place among the unfinished is free again."""
    finished = []

    def finish(run, _drawing):
        finished.append(run)
        raise OSError("encoder gone")

    made = line(finish=finish)
    with caplog.at_level(logging.ERROR):
        runs = [made.add(seed) for seed in range(12)]
        assert {type(run.future.exception(60)) for run in runs} == {GenerationFailed}
    assert set(finished) == set(runs)


def test_a_run_without_waiters_is_not_drawn(line):
    """A run that ended while it was queued is passed over."""
    held, entered = threading.Event(), threading.Event()

    def before_step(_recipe, _evaluation):
        entered.set()
        assert held.wait(60)

    made = line(FakeGenerator(before_step=before_step))
    first = made.add(1)
    assert entered.wait(60)
    deserted, last = made.add(2), made.add(3)
    made.flights.fail(deserted, Cancelled("as_said", text="gone"))
    held.set()
    first.future.result(60)
    last.future.result(60)
    assert [recipe.seed for recipe in made.generator.recipes] == [1, 3]


def test_unfinished_pictures_are_bounded(line):
    """A disk slower than the GPU slows the GPU down: at most four pictures wait to be finished, one is drawn."""
    released = threading.Event()
    finished: list[int] = []
    seen: list[int] = []

    def before_step(recipe, evaluation):
        if evaluation == 1:
            seen.append(len(made.generator.recipes) - len(finished))
            if recipe.seed == 5:
                fifth.set()

    fifth = threading.Event()
    generator = FakeGenerator(before_step=before_step)

    def finish(run, _drawing):
        assert released.wait(60)
        finished.append(run)
        made.flights.resolve(run, ENTRY)
        made.flights.stored(run)

    made = line(generator, finish)
    runs = [made.add(seed) for seed in range(1, 13)]
    assert fifth.wait(60)
    # Were there no bound, all twelve would be drawn by now, or at the latest by the end of this short wait.
    released.wait(0.2)
    most = max(seen)
    released.set()
    assert most == 5
    for run in runs:
        run.future.result(60)


def test_loads_first(line):
    """With preload the model is loaded before the first request."""
    generator = FakeGenerator()
    made = line(generator, preload=True)
    made.add(1).future.result(60)
    assert generator.loads == 1
    assert not made.model.preloading


@pytest.mark.parametrize("error", [ModelCorrupt("as_said", text="truncated"), RuntimeError("driver gone")])
def test_a_failed_load_spares_the_thread(line, caplog, error):
    """Every exception of a load is logged, and the worker continues with runs."""

    class Broken(FakeGenerator):
        def load(self):
            if self.loads == 0:
                self.loads = 1
                raise error
            super().load()

    with caplog.at_level(logging.WARNING):
        made = line(Broken(), preload=True)
        made.add(1).future.result(60)
    assert str(error) in caplog.text


def test_stopping_before_the_start_is_nothing():
    """A service closed before it was started waits for no thread."""
    with no_thread_left("worker-"):
        made = Line(FakeGenerator())
        made.model.stop(60)
        made.encoders.shutdown()


class Meeting:
    """A `before_step` that blocks a picture until so many are being drawn at the same time."""

    def __init__(self, size: int):
        self._barrier = threading.Barrier(size)

    def __call__(self, _recipe, evaluation: int) -> None:
        if evaluation == 1:
            self._barrier.wait(60)


def test_every_device_draws_from_the_one_queue(line):
    """Three devices draw three pictures at the same moment, each generator one at a time, none twice."""
    generators = [FakeGenerator(before_step=Meeting(1)) for _ in range(3)]
    made = line(generators[0], preload=True, peers=generators[1:])
    assert made.model.lanes == 3
    together = Meeting(3)
    for generator in generators:
        generator.before_step = together
    runs = [made.add(seed) for seed in range(1, 10)]
    for run in runs:
        run.future.result(60)
    assert sorted(recipe.seed for generator in generators for recipe in generator.recipes) == list(range(1, 10))
    assert [(generator.most_at_once, len(generator.recipes)) for generator in generators] == [(1, 3)] * 3
    assert made.model.drawing == []


def test_the_runs_being_drawn_are_known(line):
    """Every running picture is visible for estimates of waiting times."""
    held, both = threading.Event(), threading.Barrier(3)

    def before_step(_recipe, evaluation):
        if evaluation == 2:
            both.wait(60)
            assert held.wait(60)

    made = line(FakeGenerator(before_step=before_step), preload=True, peers=[FakeGenerator(before_step=before_step)])
    runs = [made.add(1), made.add(2)]
    both.wait(60)
    assert set(made.model.drawing) == set(runs)
    assert {run.step.evaluation for run in runs} == {1}
    held.set()
    for run in runs:
        run.future.result(60)


class FullDevice(FakeGenerator):
    """Fails when configured, as a lost GPU does: while it draws, and whenever it is loaded."""

    def __init__(self, *, broken: bool = False, **options):
        super().__init__(**options)
        self.broken = broken
        self.tried = threading.Semaphore(0)
        self.asked = 0

    def load(self):
        if self.broken:
            self._fail()
        super().load()

    def generate(self, recipe, on_step, cancelled):
        self.asked += 1

        def step(told):
            if self.broken:
                self._fail()
            on_step(told)

        return super().generate(recipe, step, cancelled)

    def _fail(self):
        self.state = GeneratorState(Status.ERROR, detail=Message("as_said", text="this device is gone"))
        self.tried.release()
        raise DeviceFailed("as_said", text="this device is gone")


@pytest.mark.parametrize("preload", [True, False])
def test_a_further_device_that_cannot_load_is_left_out(line, caplog, preload):
    """It costs a warning and no picture: the first device draws them all."""
    broken = FullDevice(broken=True)
    made = line(preload=preload, peers=[broken])
    with caplog.at_level(logging.WARNING):
        for seed in range(1, 6):
            made.add(seed).future.result(60)
        assert broken.tried.acquire(timeout=60)
    assert len(made.generator.recipes) == 5
    assert broken.asked == 0
    wait_until(lambda: "this device is gone" in caplog.text)


@pytest.mark.parametrize("preload", [True, False])
def test_a_first_device_that_cannot_load_is_left_out_too(line, preload):
    """The next device opens the model; no picture is lost."""
    broken, peers = FullDevice(broken=True), [FullDevice(), FullDevice()]
    made = line(broken, preload=preload, peers=peers)
    runs = [made.add(seed) for seed in range(1, 8)]
    for run in runs:
        run.future.result(60)
    drawn = sorted(recipe.seed for peer in peers for recipe in peer.recipes)
    assert drawn == list(range(1, 8))
    assert (made.model.state.status, made.model.states[0].status) == (Status.HEALTHY, Status.ERROR)


def both_awake(line, **options) -> tuple[Line, FullDevice, FullDevice]:
    first, second = FullDevice(), FullDevice()
    made = line(first, preload=True, peers=[second], **options)
    wait_until(lambda: [state.status for state in made.model.states] == [Status.HEALTHY] * 2)
    return made, first, second


@pytest.mark.parametrize("trouble", [None, OutOfMemory("as_said", text="full")])
def test_a_run_that_is_over_is_not_being_drawn(line, trouble):
    """What its waiters are told comes after the device is free: an estimate made then does not count the run."""

    def before_step(_recipe, _evaluation):
        if trouble:
            raise trouble

    made = line(FakeGenerator(before_step=before_step))
    seen, told = [], threading.Event()

    def tell(_future):
        seen.extend(made.model.drawing)
        told.set()

    made.encoders.submit = lambda function, *given: function(*given)  # the picture is finished before `submit` returns
    run = made.add(1)
    run.future.add_done_callback(tell)
    assert told.wait(60)
    assert seen == []


@pytest.mark.parametrize("number", [0, 1])
def test_a_device_that_fails_takes_no_further_run(line, number):
    """The run it broke under is drawn by the other device, and so are all that follow."""
    made, *devices = both_awake(line)
    dying, other = devices[number], devices[1 - number]
    dying.broken = True
    runs = [made.add(seed) for seed in range(1, 9)]
    for run in runs:
        run.future.result(60)
    assert sorted({recipe.seed for recipe in other.recipes}) == list(range(1, 9))
    # It may have taken one run before it was known to be broken, and not one after.
    assert dying.asked <= 1
    assert made.model.drawing == []


def test_the_run_a_device_died_under_is_the_next_one_drawn(line, gate):
    """The run is not queued again, and its progress starts from 0."""
    made, first, second = both_awake(line)
    hold = gate(only={1, 2})
    first.before_step = second.before_step = hold
    one, two = made.add(1), made.add(2)
    hold.wait()
    hold.wait()
    later = [made.add(seed) for seed in (3, 4)]
    dying = first if first.recipes[-1].seed == 1 else second
    other = second if dying is first else first
    dying.broken = True
    hold.open()
    for run in (one, two, *later):
        run.future.result(60)
    assert [recipe.seed for recipe in other.recipes] == [2, 1, 3, 4]
    assert one.retried
    assert not two.retried


def test_a_run_is_moved_once(line):
    """Where every device has failed the request gets an error, and the next run is tried nevertheless."""
    made, first, second = both_awake(line)
    first.broken = second.broken = True
    assert isinstance(made.add(1).future.exception(60), DeviceFailed)
    assert first.asked + second.asked == 2
    wait_until(lambda: made.model.state.status is Status.ERROR)
    first.broken = second.broken = False
    assert made.add(2).future.exception(60) is None


def test_a_run_without_waiters_is_not_moved(line, gate):
    """A run whose request left while its device failed is not drawn by the other device."""
    made, first, second = both_awake(line)
    hold = gate()
    first.before_step = second.before_step = hold
    run = made.add(1)
    hold.wait()
    made.flights.fail(run, Cancelled("as_said", text="gone"))
    first.broken = second.broken = True
    hold.open()
    wait_until(lambda: made.model.drawing == [])
    assert first.asked + second.asked == 1


def test_running_out_of_memory_is_not_the_devices_fault(line):
    """A picture that is too large is an error without a try on the other device; both devices continue."""

    def full(recipe, _evaluation):
        if recipe.seed == 1:
            raise OutOfMemory("as_said", text="too little memory for 2048x2048")

    made, first, second = both_awake(line)
    first.before_step = second.before_step = full
    assert isinstance(made.add(1).future.exception(60), OutOfMemory)
    assert first.asked + second.asked == 1
    assert [state.status for state in made.model.states] == [Status.HEALTHY] * 2


def test_a_device_that_failed_is_loaded_again(line, gate):
    """After its pause, without a run; once it is healthy it draws again."""
    made, first, second = both_awake(line, pause=0.001)
    first.before_step = hold = gate()
    second.broken = True
    runs = [made.add(1), made.add(2)]
    hold.wait()
    for _ in range(3):
        assert second.tried.acquire(timeout=60)
    hold.open()
    for run in runs:
        run.future.result(60)
    assert (second.asked, len(first.recipes)) == (1, 2)
    loads = second.loads
    second.broken = False
    wait_until(lambda: second.state.status is Status.HEALTHY)
    assert second.loads == loads + 1
    first.before_step = second.before_step = Meeting(2)
    for run in [made.add(3), made.add(4)]:
        run.future.result(60)
    assert (len(first.recipes), len(second.recipes)) == (3, 1)


def test_a_device_loaded_for_a_model_that_sleeps_is_unloaded_again(line):
    """Unloaded while a further device was loading: that device does not start drawing."""
    entered, may_load, unloaded = threading.Event(), threading.Event(), threading.Event()

    class Slow(FakeGenerator):
        def load(self):
            entered.set()
            assert may_load.wait(60)
            super().load()

        def unload(self):
            super().unload()
            unloaded.set()

    peer = Slow()
    made = line(preload=True, peers=[peer])
    assert entered.wait(60)
    made.generator.unload()
    may_load.set()
    assert unloaded.wait(60)
    assert [state.status for state in made.model.states] == [Status.SLEEPING] * 2


def test_further_devices_sleep_until_the_first_wakes(line):
    """Without preload nothing is loaded before the first request, on no device."""
    peer = FakeGenerator()
    made = line(peers=[peer])
    assert (made.generator.loads, peer.loads) == (0, 0)
    made.model.stop(60)
    assert peer.loads == 0


def test_identities_are_those_of_all_devices(line):
    """What a further device drew another way is looked up too, the first device's usual one stays first."""
    other = replace(FakeGenerator().identity(), precision="uint8+tiling")
    peer = FakeGenerator(draws_as=other)
    made = line(peers=[peer])
    assert made.model.identities(RECIPE) == (made.generator.identity(),)
    peer.recipes.append(RECIPE)
    assert made.model.identities(RECIPE) == (made.generator.identity(),)  # asleep: not asked
    peer.load()
    assert made.model.identities(RECIPE) == (made.generator.identity(), other)


def test_previews_are_made_for_watchers(line, gate):
    """Without a watcher no preview is made; with one, one per step, kept with the run, and released by the step."""
    generator = FakeGenerator(preview=b"small")
    made = line(generator)
    unseen = made.add(1)
    unseen.future.result(60)
    assert (generator.previews, unseen.preview) == (0, None)
    generator.before_step = door = gate(evaluation=3)
    seen = made.add(2)
    seen.watchers = 1
    door.wait()
    assert (seen.preview, generator.previews) == (b"small", 2)
    assert seen.step.preview is None
    door.open()
    seen.future.result(60)
    assert generator.previews == RECIPE.evaluations


def test_a_second_try_begins_anew():
    """Where memory ran out half-way, step and preview start again, and so does the clock of the estimate."""
    made = Line(FakeGenerator())
    run = made.add(1)
    run.watchers = 1
    for step in (Step(0, 3), Step(2, 3, lambda: b"half")):
        _tell(run, step)
    before = run.began
    assert (run.step, run.preview) == (Step(2, 3), b"half")
    _tell(run, Step(0, 3))
    assert (run.step, run.preview) == (Step(0, 3), None)
    assert present(run.began) > present(before)
    made.encoders.shutdown()
