"""Tests of cache.caretaker; the disk is a fake that notes what it is asked for."""

import threading
from typing import cast

import pytest

from tests.waiting import no_thread_left
from zimage_cache.cache.caretaker import Caretaker
from zimage_cache.cache.disk import DiskTier

HOUR = 3600.0


class NotedDisk:
    """Stands in for `DiskTier`: notes every call; a scrub finds nothing left after so many calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.budgets: list[int] = []
        self.behind = self.attended = False
        self.scrubs = 3
        self.surplus = 0
        self.scanning = threading.Event()

    def try_out(self) -> None:
        self.calls.append("try out")

    def scan(self, stopped) -> None:
        self.calls.append("scan")
        self.scanning.set()
        self.stopped = stopped

    def keep_up(self) -> None:
        self.calls.append("keep up")

    def relieve(self) -> bool:
        if self.surplus:
            self.calls.append("relieve")
            self.surplus -= 1
        return self.surplus > 0

    def scrub(self, budget, _stopped) -> bool:
        self.calls.append("scrub")
        self.budgets.append(budget)
        self.scrubs -= 1
        return self.scrubs <= 0


@pytest.fixture
def looked_after():
    """Give a disk, its caretaker, and the clock of both."""
    disk, now = NotedDisk(), [0.0]
    return disk, Caretaker(cast(DiskTier, disk), tick=5.0, clock=lambda: now[0]), now


def _rounds(caretaker, now, count):
    for _ in range(count):
        now[0] += 5.0
        caretaker.round()


def test_scans_hourly_or_when_needed(looked_after):
    """Once an hour, and soon where the index says so, but not at every round; news are traded at every round."""
    disk, caretaker, now = looked_after
    disk.scrubs = 1  # all have their turn in the first round; the next is a day away
    _rounds(caretaker, now, 719)
    assert disk.calls == ["keep up", "scrub", *["keep up"] * 718]
    _rounds(caretaker, now, 1)
    assert disk.calls[-1] == "scan"
    disk.calls.clear()

    disk.behind = True
    _rounds(caretaker, now, 24)

    assert disk.calls.count("scan") == 4


def test_scrubs_at_a_bounded_rate_once_a_day(looked_after):
    """At most 20 MiB in five seconds; after all had their turn, nothing for a day."""
    disk, caretaker, now = looked_after
    _rounds(caretaker, now, 100)

    assert disk.budgets == [20 * 2**20] * 3
    disk.scrubs = 1
    now[0] += 24 * HOUR
    _rounds(caretaker, now, 10)
    assert len(disk.budgets) == 4


def test_thread_stops_at_once(looked_after):
    """Stopping interrupts the wait and a running scan; starting begins with a try of the disk and a scan."""
    disk, caretaker, _ = looked_after
    with no_thread_left("cache-caretaker"):
        caretaker.start()
        assert disk.scanning.wait(30)
        assert caretaker.learned.wait(30)
        assert not disk.stopped()

        caretaker.stop()

    assert disk.stopped()
    assert disk.calls == ["try out", "scan"]


def test_stopping_what_never_ran(looked_after):
    """That is no error."""
    looked_after[1].stop()


def test_removes_the_surplus_in_batches(looked_after):
    """What is over the bounds goes batch by batch, within one round, until there is no more of it."""
    disk, caretaker, now = looked_after
    disk.surplus = 7
    _rounds(caretaker, now, 2)
    assert [call for call in disk.calls if call != "scrub"] == ["keep up", *["relieve"] * 7, "keep up"]


def test_writes_leave_the_bounds_to_it_while_it_works(looked_after):
    """From its start to its stop."""
    disk, caretaker, _ = looked_after
    assert not disk.attended
    caretaker.start()
    assert disk.attended
    caretaker.stop()
    assert not disk.attended
