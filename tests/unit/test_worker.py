"""`Worker`: one thread that loads, draws one run after the other, and never dies."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from zimage_cache.errors import Cancelled, GenerationFailed, ModelCorrupt, OutOfMemory
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import Step
from zimage_cache.request import Recipe
from zimage_cache.service.flights import Flights, Plan, Run
from zimage_cache.service.worker import Worker, _tell

RECIPE = Recipe(
    prompt="x",
    negative_prompt="",
    width=64,
    height=64,
    steps=3,
    guidance_scale=0.0,
    seed=1,
    sampler="euler",
    shift=3.0,
    max_sequence_length=512,
)


class Line:
    """A worker with its flights and encoders, and a way to put runs in."""

    def __init__(self, generator: FakeGenerator, finish=None, *, preload: bool = False, mates=()):
        self.generator = generator
        self.flights = Flights()
        self.encoders = ThreadPoolExecutor(2)
        finish = finish or self._finish
        self.worker = Worker(generator, self.flights, self.encoders, finish, preload=preload, mates=mates)
        self.finished: list[int] = []

    def add(self, seed: int) -> Run:
        plan = Plan(
            key=str(seed),
            model="fake",
            recipe=replace(RECIPE, seed=seed),
            identity=self.generator.identity(),
            request={},
            user="ann",
            fresh=False,
            keep=True,
        )
        run = self.flights.join([plan])[0].run
        self.worker.queue.put(run, "ann")
        return run

    def _finish(self, run: Run, _drawing) -> None:
        self.finished.append(run.plan.recipe.seed)
        self.flights.resolve(run, None)
        self.flights.land(run)


@pytest.fixture
def line():
    """Give a maker of started lines; at the end their threads are gone."""
    made: list[Line] = []

    def make(generator=None, finish=None, *, preload=False, mates=()) -> Line:
        made.append(Line(generator or FakeGenerator(), finish, preload=preload, mates=mates))
        made[-1].worker.start()
        return made[-1]

    yield make
    for each in made:
        each.worker.stop(60)
        each.encoders.shutdown()
        assert not any(thread.is_alive() for thread in (each.worker._thread, *each.worker._mates))


def test_draws_in_the_order_of_the_queue_and_tells_each_step(line):
    """Runs are drawn one after the other, and each shows its finished evaluations."""
    made = line()
    runs = [made.add(seed) for seed in (3, 1, 2)]
    for run in runs:
        run.future.result(60)
    assert [recipe.seed for recipe in made.generator.recipes] == [3, 1, 2]
    assert [(run.step.evaluation, run.step.evaluations) for run in runs] == [(3, 3)] * 3


@pytest.mark.parametrize(
    ("raised", "told"), [(OutOfMemory("full"), OutOfMemory), (ValueError("shape"), GenerationFailed)]
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


def test_what_nobody_waits_for_is_not_drawn(line):
    """A run that ended while it was queued is passed over."""
    held, entered = threading.Event(), threading.Event()

    def before_step(_recipe, _evaluation):
        entered.set()
        assert held.wait(60)

    made = line(FakeGenerator(before_step=before_step))
    first = made.add(1)
    assert entered.wait(60)
    deserted, last = made.add(2), made.add(3)
    made.flights.fail(deserted, Cancelled("gone"))
    held.set()
    first.future.result(60)
    last.future.result(60)
    assert [recipe.seed for recipe in made.generator.recipes] == [1, 3]


def test_unfinished_pictures_are_bounded(line):
    """A disk slower than the GPU slows the GPU down: at most four pictures wait to be finished, one is drawn."""
    released, finished, seen = threading.Event(), [], []

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
        made.flights.resolve(run, None)
        made.flights.land(run)

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
    """With preload the model is loaded before anybody asks."""
    generator = FakeGenerator()
    made = line(generator, preload=True)
    made.add(1).future.result(60)
    assert generator.loads == 1
    assert not made.worker.preloading


@pytest.mark.parametrize("error", [ModelCorrupt("truncated"), RuntimeError("driver gone")])
def test_a_failed_load_spares_the_thread(line, caplog, error):
    """Whatever the load raises is logged, and the worker goes on to take runs."""

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
    made = Line(FakeGenerator())
    made.worker.stop(60)
    made.encoders.shutdown()
    assert made.worker._thread.ident is None


class Meeting:
    """A `before_step` that lets a picture go on only when so many are being drawn at the same moment."""

    def __init__(self, size: int):
        self._barrier = threading.Barrier(size)

    def __call__(self, _recipe, evaluation: int) -> None:
        if evaluation == 1:
            self._barrier.wait(60)


def test_every_device_draws_from_the_one_queue(line):
    """Three devices draw three pictures at the same moment, each generator one at a time, none twice."""
    generators = [FakeGenerator(before_step=Meeting(1)) for _ in range(3)]
    made = line(generators[0], preload=True, mates=generators[1:])
    assert made.worker.lanes == 3
    together = Meeting(3)
    for generator in generators:
        generator.before_step = together
    runs = [made.add(seed) for seed in range(1, 10)]
    for run in runs:
        run.future.result(60)
    assert sorted(recipe.seed for generator in generators for recipe in generator.recipes) == list(range(1, 10))
    assert [(generator.most_at_once, len(generator.recipes)) for generator in generators] == [(1, 3)] * 3
    assert made.worker.drawing == []


def test_the_runs_being_drawn_are_known(line):
    """Whoever estimates a wait sees each of them."""
    held, both = threading.Event(), threading.Barrier(3)

    def before_step(_recipe, evaluation):
        if evaluation == 2:
            both.wait(60)
            assert held.wait(60)

    made = line(FakeGenerator(before_step=before_step), preload=True, mates=[FakeGenerator(before_step=before_step)])
    runs = [made.add(1), made.add(2)]
    both.wait(60)
    assert set(made.worker.drawing) == set(runs)
    assert {run.step.evaluation for run in runs} == {1}
    held.set()
    for run in runs:
        run.future.result(60)


class Broken(FakeGenerator):
    def load(self):
        self.loads += 1
        raise ModelCorrupt("this card is gone")


@pytest.mark.parametrize("preload", [True, False])
def test_a_further_device_that_cannot_load_is_left_out(line, caplog, preload):
    """It costs a warning and no picture: the first device draws them all."""
    broken = Broken()
    made = line(preload=preload, mates=[broken])
    with caplog.at_level(logging.WARNING):
        for seed in range(1, 6):
            made.add(seed).future.result(60)
        made.worker._mates[0].join(60)
    assert len(made.generator.recipes) == 5
    assert (broken.loads, broken.recipes) == (1, [])
    assert "this card is gone" in caplog.text


def test_further_devices_sleep_until_the_first_wakes(line):
    """Without preload nothing is loaded before somebody asks, on no device."""
    mate = FakeGenerator()
    made = line(mates=[mate])
    assert (made.generator.loads, mate.loads) == (0, 0)
    made.worker.stop(60)
    assert mate.loads == 0


def test_identities_are_those_of_all_devices(line):
    """What a further device drew another way is looked up too, the first device's usual one stays first."""
    other = replace(FakeGenerator().identity(), precision="uint8+tiling")
    mate = FakeGenerator(draws_as=other)
    made = line(mates=[mate])
    assert made.worker.identities(RECIPE) == (made.generator.identity(),)
    mate.recipes.append(RECIPE)
    assert made.worker.identities(RECIPE) == (made.generator.identity(),)  # asleep: not asked
    mate.load()
    assert made.worker.identities(RECIPE) == (made.generator.identity(), other)


def test_previews_are_made_for_who_watches(line, gate):
    """Nobody watches: none is made. Somebody does: one a step, kept with the run, and the step lets go of it."""
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
    assert run.began > before
    made.encoders.shutdown()
