"""Tests of `DrawingRights` in service.launch: several `DrawingRights` on one folder act as several processes."""

import threading

import pytest

from tests.factories import plan
from tests.waiting import wait_until
from zimage_cache.cache.locks import Generation
from zimage_cache.process_lock import KIND
from zimage_cache.service.flights import Flights
from zimage_cache.service.launch import DrawingRights

KEY = "ab" * 32


class Side:
    """One process: its flights, its rights, and a run of the key."""

    def __init__(self, folder, **wanted) -> None:
        self.folder = folder
        self.tries = 0
        self.rights = DrawingRights(self._take)
        self.flights = Flights(over=self.rights.over)
        self.seat = self.flights.join([plan(KEY, **wanted)])[0]
        self.resumed = threading.Event()
        self.rights.start()

    def acquire(self) -> bool:
        return self.rights.acquire(self.seat.run, self.resumed.set)

    def waits(self) -> bool:
        """Tell whether it is still waiting after three more tries."""
        more = self.tries + 3
        wait_until(lambda: self.tries >= more or self.resumed.is_set())
        return not self.resumed.is_set()

    def _take(self, key: str) -> Generation | None:
        self.tries += 1
        return Generation.take(self.folder, key)


@pytest.fixture
def side(tmp_path):
    """Give a maker of processes; all are closed in the end, and leave no lock file."""
    made = []

    def make(**wanted):
        made.append(Side(tmp_path, **wanted))
        return made[-1]

    yield make
    for each in made:
        each.rights.close()
    assert [path.name for path in tmp_path.iterdir()] == [KIND]


@pytest.mark.parametrize("end", ["land", "fail", "leave", "close"])
def test_others_wait_until_the_run_is_over(side, end):
    """Waiting processes continue only after the run has left the map, and then one does, however the run ended."""
    mine, theirs = side(), side()
    assert mine.acquire()
    assert not theirs.acquire()
    assert theirs.waits()

    match end:
        case "land":
            mine.flights.stored(mine.seat.run)
        case "fail":
            mine.flights.fail(mine.seat.run, ValueError())
        case "leave":
            mine.flights.leave(mine.seat)
        case _:
            mine.rights.close()

    assert theirs.resumed.wait(30)


def test_a_picture_handed_out_is_not_yet_stored(side):
    """Between the answer to local requests and the put, no other process continues: it would draw the picture again."""
    mine, theirs = side(), side()
    mine.acquire()
    theirs.acquire()
    mine.flights.start(mine.seat.run, 0.0)
    mine.flights.drawn(mine.seat.run)
    mine.flights.resolve(mine.seat.run, None)

    assert theirs.waits()
    mine.flights.stored(mine.seat.run)
    assert theirs.resumed.wait(30)


@pytest.mark.parametrize("plan", [{"fresh": True}, {"keep": False}], ids=["refresh", "bypass"])
def test_some_never_wait(side, plan):
    """Who wants a fresh picture, or none stored, is not helped by what another process draws."""
    assert side().acquire()

    assert side(**plan).acquire()


def test_joined_by_a_request_for_a_new_picture(side):
    """A waiting run continues at once when a request joins it that needs a new picture in any case."""
    mine, theirs = side(), side()
    mine.acquire()
    theirs.acquire()

    theirs.flights.join([plan(KEY, fresh=True)])

    assert theirs.resumed.wait(30)


def test_left_while_waiting(side):
    """A waiting run that all requests have left is not resumed, and holds no lock."""
    mine, theirs, third = side(), side(), side()
    mine.acquire()
    theirs.acquire()
    theirs.flights.leave(theirs.seat)
    mine.flights.stored(mine.seat.run)

    assert third.acquire() or third.resumed.wait(30)
    assert not theirs.resumed.is_set()


def test_left_before_its_right_was_acquired(side):
    """A run that ended before its right was acquired gives the right back all the same."""
    mine, theirs = side(), side()
    mine.flights.leave(mine.seat)
    mine.acquire()

    assert theirs.acquire() or theirs.resumed.wait(30)
