"""Tests of service.claims: several `Claims` on one folder stand for several processes."""

import threading
from functools import partial

import pytest

from tests.factories import recipe
from zimage_cache.cache.locks import Generation
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.service.claims import Claims
from zimage_cache.service.flights import Flights, Plan

KEY = "ab" * 32
RECIPE = recipe()


def _plan(*, fresh: bool = False, keep: bool = True) -> Plan:
    identity = GeneratorIdentity("fake", "1", "uint8", "numpy")
    return Plan(KEY, "fake", RECIPE, identity, request={}, user="ann", fresh=fresh, keep=keep)


class Side:
    """One process: its flights, its claims, and a run of the key."""

    def __init__(self, folder, **plan) -> None:
        self.claims = Claims(partial(Generation.take, folder))
        self.flights = Flights(over=self.claims.over)
        self.seat = self.flights.join([_plan(**plan)])[0]
        self.resumed = threading.Event()
        self.claims.start()

    def claim(self) -> bool:
        return self.claims.claim(self.seat.run, self.resumed.set)


@pytest.fixture
def side(tmp_path):
    """Give a maker of processes; all are closed in the end, and leave no lock file."""
    made = []

    def make(**plan):
        made.append(Side(tmp_path, **plan))
        return made[-1]

    yield make
    for each in made:
        each.claims.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["land", "fail", "leave", "close"])
def test_others_wait_until_the_run_is_over(side, end):
    """Nobody goes on before the run has left the map; then somebody does, however it ended."""
    mine, theirs = side(), side()
    assert mine.claim()
    assert not theirs.claim()
    assert not theirs.resumed.wait(0.15)

    match end:
        case "land":
            mine.flights.land(mine.seat.run)
        case "fail":
            mine.flights.fail(mine.seat.run, ValueError())
        case "leave":
            mine.flights.leave(mine.seat)
        case _:
            mine.claims.close()

    assert theirs.resumed.wait(30)


def test_a_picture_handed_out_is_not_yet_stored(side):
    """Between the answer to those who wait here and the put nobody elsewhere goes on: they would draw it again."""
    mine, theirs = side(), side()
    mine.claim()
    theirs.claim()
    mine.flights.start(mine.seat.run, 0.0)
    mine.flights.drawn(mine.seat.run)
    mine.flights.resolve(mine.seat.run, None)

    assert not theirs.resumed.wait(0.15)
    mine.flights.land(mine.seat.run)
    assert theirs.resumed.wait(30)


@pytest.mark.parametrize("plan", [{"fresh": True}, {"keep": False}], ids=["refresh", "bypass"])
def test_some_never_wait(side, plan):
    """Who wants a fresh picture, or none stored, is not helped by what another process draws."""
    assert side().claim()

    assert side(**plan).claim()


def test_joined_by_one_who_insists(side):
    """A run that waits goes on at once when somebody joins it who wants a fresh picture in any case."""
    mine, theirs = side(), side()
    mine.claim()
    theirs.claim()

    theirs.flights.join([_plan(fresh=True)])

    assert theirs.resumed.wait(30)


def test_left_while_waiting(side):
    """A run that everybody has left while it waited is not resumed, and keeps nothing from others."""
    mine, theirs, third = side(), side(), side()
    mine.claim()
    theirs.claim()
    theirs.flights.leave(theirs.seat)
    mine.flights.land(mine.seat.run)
    third.claim()

    assert third.claims._held or third.resumed.wait(30)
    assert not theirs.resumed.is_set()


def test_left_before_it_was_claimed(side):
    """A run that ended before its claim gives the right back all the same."""
    mine, theirs = side(), side()
    mine.flights.leave(mine.seat)
    mine.claim()

    assert theirs.claim() or theirs.resumed.wait(30)
