"""`Shelf`: pictures that are stored nowhere, for ten minutes and within a bound."""

from dataclasses import replace

import pytest

from tests.waiting import Clock
from zimage_cache.entry import Entry
from zimage_cache.service.lookup import SHELF_SECONDS, Shelf


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_picture_is_within_reach_for_ten_minutes(entry, clock):
    """Up to the last moment of the ten minutes it is there, then it is gone."""
    shelf, mine = Shelf(10**9, clock), entry(1)
    shelf.put("token", mine)
    clock.now += SHELF_SECONDS - 0.001
    assert SHELF_SECONDS == 600
    assert shelf.get("token") is mine
    clock.now += 0.001
    assert shelf.get("token") is None


def test_looking_does_not_extend_the_ten_minutes(entry, clock):
    """The time runs from the moment it was laid down, not from the last look."""
    shelf = Shelf(10**9, clock)
    shelf.put("token", entry(1))
    for _ in range(4):
        clock.now += SHELF_SECONDS / 4
        last = shelf.get("token")
    assert last is None


def test_laying_it_down_again_starts_anew(entry, clock):
    """The same name again: the new picture, for another ten minutes."""
    shelf, second = Shelf(10**9, clock), entry(2)
    shelf.put("token", entry(1))
    clock.now += SHELF_SECONDS - 1
    shelf.put("token", second)
    clock.now += SHELF_SECONDS - 1
    assert shelf.get("token") is second


def test_the_oldest_make_room(entry, clock):
    """The bound holds by bytes: the oldest go first, and only as many as needed."""
    mine = [entry(seed) for seed in range(3)]
    shelf = Shelf(len(mine[1].png) + len(mine[2].png), clock)
    for number, picture in enumerate(mine):
        shelf.put(str(number), picture)
    assert [shelf.get(str(number)) for number in range(3)] == [None, *mine[1:]]


def test_one_picture_always_fits(entry, clock):
    """A picture larger than the bound is kept all the same, because a client will fetch it."""
    shelf, mine = Shelf(1, clock), entry(1)
    shelf.put("first", entry(2))
    shelf.put("token", mine)
    assert shelf.get("token") is mine
    assert shelf.get("first") is None


def test_replaced_and_dropped_pictures_give_their_bytes_back(entry, clock):
    """However often a name is laid down and taken off, the bound means what lies there now."""
    first, second = entry(1), entry(2)
    shelf = Shelf(len(first.png) + len(second.png), clock)
    shelf.put("first", first)
    for _ in range(5):
        shelf.put("second", second)
        shelf.drop("second", second)
        shelf.drop("second", second)
        shelf.put("second", second)
        shelf.put("second", second)
    assert shelf.get("first") is first
    assert shelf.get("second") is second


def test_only_the_very_entry_is_dropped(entry, clock):
    """A writer that is through takes away its own picture, not the newer one of the same name."""
    shelf = Shelf(10**9, clock)
    newer: Entry = entry(1)
    older = replace(newer)
    assert older == newer
    shelf.put("key", older)
    shelf.put("key", newer)
    shelf.drop("key", older)
    assert shelf.get("key") is newer
    shelf.drop("key", newer)
    shelf.drop("key", newer)
    assert shelf.get("key") is None
