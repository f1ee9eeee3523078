"""`Devices`: which device draws, which one waits, and when one that failed is tried again."""

import pytest

from tests.factories import present
from tests.waiting import Clock
from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.generator.protocol import GeneratorState, Status
from zimage_cache.i18n.messages import Message
from zimage_cache.service.model import Devices

ASLEEP, LOADING, HEALTHY, BROKEN = Status.SLEEPING, Status.LOADING, Status.HEALTHY, Status.ERROR


def devices(*statuses: Status, clock=None) -> Devices:
    return Devices([FakeGenerator(state=GeneratorState(status)) for status in statuses], clock or Clock())


@pytest.mark.parametrize(
    ("statuses", "drawing"),
    [
        ([HEALTHY, HEALTHY, HEALTHY], [0, 1, 2]),
        ([HEALTHY, BROKEN, ASLEEP], [0]),
        ([BROKEN, LOADING, HEALTHY], [2]),
        ([ASLEEP, ASLEEP, ASLEEP], [0]),
        ([LOADING, ASLEEP, ASLEEP], [0]),
        ([BROKEN, ASLEEP, ASLEEP], [1]),
        ([BROKEN, BROKEN, LOADING], [2]),
        ([BROKEN, BROKEN, BROKEN], [0]),
        ([ASLEEP], [0]),
        ([BROKEN], [0]),
    ],
)
def test_who_draws(statuses, drawing):
    """Healthy devices draw; without one exactly one device does, so that every run has a device."""
    made = devices(*statuses)
    assert [device for device in range(len(statuses)) if made.draws(device)] == drawing


def test_of_broken_cards_the_one_that_rested_longest_is_tried():
    """With nothing but broken devices the runs go round: one that works again is found."""
    clock = Clock()
    made = devices(BROKEN, BROKEN, BROKEN, clock=clock)
    tried = []
    for _ in range(6):
        (first,) = (device for device in range(3) if made.draws(device))
        tried.append(first)
        clock.now += 1
        made.failed(first)
    assert tried == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("statuses", "lacking"),
    [
        ([HEALTHY, ASLEEP, BROKEN], [1, 2]),
        ([ASLEEP, HEALTHY], [0]),
        ([HEALTHY, LOADING], []),
        ([ASLEEP, ASLEEP], []),
        ([BROKEN, BROKEN], []),
        ([LOADING, ASLEEP], []),
        ([BROKEN], []),
    ],
)
def test_who_is_loaded_without_a_run(statuses, lacking):
    """Sleeping devices are loaded beside a healthy one; where none is awake, none is loaded."""
    made = devices(*statuses)
    assert [device for device in range(len(statuses)) if made.wants_loading(device)] == lacking


def test_pauses_double_until_a_picture_is_drawn():
    """A device that fails again and again is tried ever more rarely; loading alone proves nothing, a picture does."""
    clock = Clock()
    made = devices(HEALTHY, BROKEN, clock=clock)
    pauses = []
    for _ in range(10):
        made.failed(1)
        pauses.append(made.pause(1))
        clock.now += present(pauses[-1]) - 0.5
        assert not made.wants_loading(1)
        clock.now += 0.5
        assert made.wants_loading(1)
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert made.pause(1) is None
    made.drew(1)
    made.failed(1)
    assert made.pause(1) == 5


def test_the_pause_is_only_before_loading():
    """A device that failed and sleeps now waits too: it may be the one that breaks while it loads."""
    clock = Clock()
    made = devices(HEALTHY, ASLEEP, clock=clock)
    made.failed(1)
    assert not made.wants_loading(1)
    clock.now += 5
    assert made.wants_loading(1)


@pytest.mark.parametrize(
    ("statuses", "best", "able"),
    [
        ([BROKEN, HEALTHY], HEALTHY, 1),
        ([BROKEN, ASLEEP, LOADING], LOADING, 2),
        ([BROKEN, ASLEEP], ASLEEP, 1),
        ([BROKEN, BROKEN], BROKEN, 1),
        ([HEALTHY, HEALTHY], HEALTHY, 2),
    ],
)
def test_the_model_is_as_well_as_its_best_card(statuses, best, able):
    """One that draws is enough for healthy; so many pictures at once as there are devices without error."""
    made = devices(*statuses)
    assert (made.state.status, made.able) == (best, able)
    assert [state.status for state in made.states] == statuses


def test_the_first_of_equals_speaks():
    """Where all are in error, people read the first device's reason."""
    said = [Message("as_said", text=text) for text in ("first", "second")]
    generators = [FakeGenerator(state=GeneratorState(BROKEN, detail=each)) for each in said]
    assert Devices(generators).state.detail == said[0]


@pytest.mark.parametrize(
    ("statuses", "alone"), [([ASLEEP, HEALTHY], True), ([BROKEN, HEALTHY], False), ([LOADING, HEALTHY], False)]
)
def test_a_device_that_loaded_for_an_unloaded_model_is_found(statuses, alone):
    """Sent to sleep meanwhile is no reason to be awake; the others broken, or waking, is one."""
    assert devices(*statuses).model_unloaded(1) is alone
