"""Places in memory: at most as many as allowed, not taken from a model that draws, not kept by idle models."""

import threading

import pytest

from tests.factories import recipe
from tests.waiting import Clock, no_thread_left, wait_until
from zimage_cache.errors import ModelMissing
from zimage_cache.generator.fake import FAKE_PROFILE, FakeGenerator
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.generator.residency import PATIENCE_SECONDS, Residency
from zimage_cache.i18n.messages import Message

RECIPE = recipe()


def fake(**options) -> FakeGenerator:
    return FakeGenerator(profile=FAKE_PROFILE, **options)


def draw(resident) -> None:
    resident.generate(RECIPE, lambda _step: None, lambda: False)


def loaded(*generators: FakeGenerator) -> list[bool]:
    return [generator.state.status is Status.HEALTHY for generator in generators]


@pytest.fixture
def clock():
    return Clock()


def test_the_one_used_longest_ago_leaves():
    """With two places, the third model takes the place of the least recently used one."""
    generators = [fake() for _ in range(3)]
    residency = Residency(2)
    first, second, third = (residency.add(generator) for generator in generators)
    draw(first)
    draw(second)
    draw(first)
    draw(third)
    assert loaded(*generators) == [True, False, True]
    draw(second)
    assert loaded(*generators) == [False, True, True]


def test_no_limit_is_no_limit():
    """0 places means as many as are asked for."""
    generators = [fake() for _ in range(5)]
    residency = Residency(0)
    for generator in generators:
        draw(residency.add(generator))
    assert loaded(*generators) == [True] * 5


def test_concurrent_asks_share_one_load():
    """Eight threads at once: one load, one picture at a time, eight pictures."""
    generator = fake(seconds=0.02)
    resident = Residency(1).add(generator)
    threads = [threading.Thread(target=draw if n % 2 else type(resident).load, args=(resident,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (generator.loads, generator.most_at_once, len(generator.recipes)) == (1, 1, 4)


def test_a_model_is_not_taken_from_under_its_picture(gate):
    """A model that needs the place of one that draws waits for the end of that picture."""
    at = gate()
    drawing, other = fake(before_step=at), fake()
    residency = Residency(1)
    busy, waiting = residency.add(drawing), residency.add(other)
    threads = [threading.Thread(target=draw, args=(resident,)) for resident in (busy, waiting)]
    threads[0].start()
    at.wait()
    threads[1].start()
    unloading = threading.Thread(target=busy.unload)
    unloading.start()
    assert loaded(drawing, other) == [True, False]
    at.open()
    for thread in (*threads, unloading):
        thread.join()
    assert loaded(drawing, other) == [False, True]
    assert (len(drawing.recipes), len(other.recipes)) == (1, 1)


def test_a_busy_model_gives_its_place_up_in_the_end(gate, clock):
    """Two models, one place: a model with work keeps its place for a while, then the waiting one gets it."""
    at = gate()
    drawing, other = fake(before_step=at), fake()
    residency = Residency(1, clock=clock)
    busy, waiting = residency.add(drawing), residency.add(other)
    first = threading.Thread(target=draw, args=(busy,))
    first.start()
    at.wait()
    second = threading.Thread(target=draw, args=(waiting,))
    second.start()
    wait_until(lambda: residency.waiting == 1)
    third = threading.Thread(target=draw, args=(busy,))
    third.start()
    wait_until(lambda: residency.waiting == 2)
    clock.now += PATIENCE_SECONDS
    at.open()
    for thread in (first, second, third):
        thread.join()
    # The third ask found the place given away, and woke its model again.
    assert (drawing.loads, other.loads) == (2, 1)


def test_a_model_at_rest_leaves_by_itself(clock):
    """After its time of rest, not before, and counted from its last picture."""
    generator = fake()
    residency = Residency(1, idle_seconds=100, clock=clock)
    resident = residency.add(generator)
    draw(resident)
    clock.now += 99
    assert residency.sweep() == 1
    assert resident.state.status is Status.HEALTHY
    draw(resident)
    clock.now += 99
    residency.sweep()
    assert resident.state.status is Status.HEALTHY
    clock.now += 1
    residency.sweep()
    assert resident.state.status is Status.SLEEPING
    draw(resident)
    assert (generator.loads, resident.state.status) == (2, Status.HEALTHY)


def test_a_model_that_draws_is_not_at_rest(clock, gate):
    """A picture that takes longer than the time of rest is finished."""
    at = gate()
    generator = fake(before_step=at)
    residency = Residency(1, idle_seconds=10, clock=clock)
    resident = residency.add(generator)
    thread = threading.Thread(target=draw, args=(resident,))
    thread.start()
    at.wait()
    clock.now += 1000
    residency.sweep()
    assert resident.state.status is Status.HEALTHY
    at.open()
    thread.join()


def test_the_watch_sends_models_to_sleep():
    """Started, it does so without being asked; stopped, it ends."""
    generator = fake()
    residency = Residency(1, idle_seconds=0.01)
    resident = residency.add(generator)
    draw(resident)
    with no_thread_left("residency"):
        residency.start()
        wait_until(lambda: resident.state.status is Status.SLEEPING)
        residency.stop()


class Broken(FakeGenerator):
    """Cannot be loaded; counts the calls of `unload`."""

    unloads = 0

    def load(self) -> None:
        self.state = GeneratorState(Status.ERROR, detail=Message("as_said", text="no such folder"))
        raise ModelMissing("as_said", text="no such folder")

    def unload(self) -> None:
        self.unloads += 1


def test_a_load_that_failed_holds_no_place():
    """The next model needs no place of the broken one, and the broken one can be loaded again."""
    healthy, generator = fake(), Broken()
    residency = Residency(1)
    broken, other = residency.add(generator), residency.add(healthy)
    draw(other)
    with pytest.raises(ModelMissing):
        broken.load()
    with pytest.raises(ModelMissing):
        broken.load()
    draw(other)
    assert (healthy.loads, generator.unloads) == (2, 0)


def test_unloading_stops_what_a_load_waits_for():
    """A load that downloads for hours is interrupted by the order to unload."""
    started = threading.Event()

    class Downloading(FakeGenerator):
        def load(self) -> None:
            started.set()
            assert self.interrupted.wait(60)

    resident = Residency(1).add(Downloading())
    thread = threading.Thread(target=resident.load)
    thread.start()
    assert started.wait(60)
    resident.unload()
    thread.join()
    assert resident.state.status is Status.SLEEPING


# Several devices


def devices(residency, *generators):
    """Put one model on several devices."""
    first = residency.add(generators[0])
    return [first, *(residency.add(each, beside=first) for each in generators[1:])]


def test_a_model_on_several_cards_holds_one_place():
    """With one place, three devices of one model are awake together; the next model sends all of them away."""
    generators, other = [fake() for _ in range(3)], fake()
    residency = Residency(1)
    for resident in devices(residency, *generators):
        draw(resident)
    assert loaded(*generators) == [True] * 3
    draw(residency.add(other))
    assert loaded(*generators, other) == [False, False, False, True]


def test_cards_of_one_model_draw_at_the_same_moment():
    """Beside each other, and each of them one picture at a time."""
    together = threading.Barrier(2)
    generators = [fake(before_step=lambda _recipe, n: n == 1 and together.wait(60)) for _ in range(2)]
    residents = devices(Residency(1), *generators)
    threads = [threading.Thread(target=draw, args=(resident,)) for resident in residents * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [(each.most_at_once, len(each.recipes)) for each in generators] == [(1, 2)] * 2


def test_a_place_is_not_taken_while_any_card_draws(gate):
    """The model that waits gets the place when the last device of the other one is at rest."""
    at = gate()
    drawing, resting, other = fake(before_step=at), fake(), fake()
    residency = Residency(1)
    busy, idle = devices(residency, drawing, resting)
    draw(idle)
    waiting = residency.add(other)
    threads = [threading.Thread(target=draw, args=(resident,)) for resident in (busy, waiting)]
    threads[0].start()
    at.wait()
    threads[1].start()
    wait_until(lambda: residency.waiting == 1)
    assert loaded(drawing, resting, other) == [True, True, False]
    at.open()
    for thread in threads:
        thread.join(60)
    assert loaded(drawing, resting, other) == [False, False, True]


def test_all_cards_rest_and_leave_together(clock):
    """One device's picture keeps the whole model; without any, all devices are unloaded."""
    generators = [fake(), fake()]
    residency = Residency(1, idle_seconds=100, clock=clock)
    first, second = devices(residency, *generators)
    draw(first)
    draw(second)
    clock.now += 99
    draw(second)
    clock.now += 99
    residency.sweep()
    assert loaded(*generators) == [True, True]
    clock.now += 1
    residency.sweep()
    assert loaded(*generators) == [False, False]


class Dead(FakeGenerator):
    """A device that fails at everything, also at giving its memory back."""

    def load(self) -> None:
        self.state = GeneratorState(Status.ERROR, detail=Message("as_said", text="gone"))
        raise ModelMissing("as_said", text="gone")

    def unload(self) -> None:
        raise RuntimeError("CUDA error")


def test_a_broken_card_keeps_no_model_awake(clock):
    """Its tries to load are no use: the model beside it goes to sleep as if they had not been."""
    healthy = fake()
    residency = Residency(1, idle_seconds=100, clock=clock)
    first, dead = devices(residency, healthy, Dead())
    draw(first)
    for _ in range(10):
        clock.now += 10
        with pytest.raises(ModelMissing):
            dead.load()
    residency.sweep()
    assert loaded(healthy) == [False]


def test_a_broken_card_takes_no_place_from_the_healthy_one():
    """Its failed load ends without the place of the device that is awake being given away."""
    healthy, other = fake(), fake()
    residency = Residency(1)
    first, dead = devices(residency, healthy, Dead())
    draw(first)
    with pytest.raises(ModelMissing):
        dead.load()
    draw(residency.add(other))
    assert loaded(healthy, other) == [False, True]


@pytest.mark.parametrize("number", [0, 1])
def test_a_card_that_cannot_be_unloaded_does_not_stop_the_others(number, caplog):
    """Every other device's memory is given back, and the trouble is logged."""
    healthy = fake()
    generators = [healthy, healthy]
    generators[number] = Dead()
    residents = devices(Residency(1), *generators)
    draw(residents[1 - number])
    residents[number].unload()
    assert loaded(healthy) == [False]
    assert "unload_failed" in caplog.text


def test_unloading_finds_a_moment_although_the_cards_are_never_all_at_rest(gate):
    """While an unload waits, the devices start no new work; afterwards they continue."""
    doors = [gate(), gate()]
    generators = [fake(before_step=door) for door in doors]
    first, second = devices(residency := Residency(1), *generators)
    drawing = [threading.Thread(target=draw, args=(resident,)) for resident in (first, second)]
    for thread in drawing:
        thread.start()
    for door in doors:
        door.wait()
    unloading = threading.Thread(target=second.unload)
    unloading.start()
    wait_until(lambda: residency.waiting == 1)
    more = threading.Thread(target=draw, args=(first,))
    more.start()
    wait_until(lambda: residency.waiting == 2)
    doors[0].open()
    drawing[0].join(60)
    assert len(generators[0].recipes) == 1
    doors[1].open()
    for thread in (*drawing, unloading, more):
        thread.join(60)
    assert [(each.loads, len(each.recipes)) for each in generators] == [(2, 2), (1, 1)]
    assert loaded(*generators) == [True, False]


def test_unloading_one_card_stops_what_any_of_them_waits_for():
    """A load of the first device that downloads is interrupted by an order to the second."""
    started = threading.Event()

    class Downloading(FakeGenerator):
        def load(self) -> None:
            started.set()
            assert self.interrupted.wait(60)

    residency = Residency(1)
    first = residency.add(Downloading())
    second = residency.add(fake(), beside=first)
    thread = threading.Thread(target=first.load)
    thread.start()
    assert started.wait(60)
    second.unload()
    thread.join(60)
    assert not thread.is_alive()
