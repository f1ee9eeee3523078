"""Tests of cache.memory; what it shares with the disk is in the contract suite."""

import pytest

from tests.factories import present
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.cache.tier import Stored
from zimage_cache.entry import Entry


@pytest.fixture
def stored(entry):
    return lambda *args, **kwargs: Stored(entry(*args, **kwargs), None)


def test_bound_is_kept_in_bytes(stored):
    """Never more PNG bytes than the bound: the least recently used go, the newest stays."""
    many = [stored(seed) for seed in range(10)]
    tier = MemoryTier(3 * len(many[0].entry.png) + 100)

    for one in many:
        tier.put(*one)

        assert tier.bytes == sum(len(kept.entry.png) for s in many if (kept := tier.peek(s.key))) <= tier.max_bytes
    assert [one.key for one in many if tier.peek(one.key)] == [one.key for one in many[-3:]]


def test_larger_than_the_bound_is_not_kept(stored):
    """An entry over the bound is refused, and an older copy of it is not served in its place."""
    small = stored(1)
    large = Stored(Entry(small.entry.record, small.entry.png * 2), None)
    tier = MemoryTier(len(small.entry.png))

    assert tier.put(*small)
    assert not tier.put(*large)
    assert tier.get(small.key) is None
    assert tier.bytes == 0


def test_peek_does_not_rescue(stored):
    """Looking without touching leaves the order of eviction alone, getting changes it."""
    first, second, third = stored(1), stored(2), stored(3)
    tier = MemoryTier(2 * len(first.entry.png) + 100)
    tier.put(*first)
    tier.put(*second)

    assert tier.peek(first.key) == first
    tier.put(*third)

    assert tier.peek(first.key) is None
    assert tier.get(second.key) == second


def test_drop_spares_what_replaced_it(stored):
    """Dropping a stale copy does not take the fresh one along that a racing put has just stored."""
    stale, fresh = stored(1), stored(1, look=1)
    tier = MemoryTier(0)
    kept = present(tier.put(*stale))
    tier.put(*fresh)

    tier.drop(kept)

    assert tier.get(fresh.key) == fresh
    tier.drop(present(tier.peek(fresh.key)))
    assert len(tier) == tier.bytes == 0


def test_tiny_pictures_count_what_their_records_take(stored):
    """A PNG of a few bytes does not make the tier hold more entries than its bound has room for."""
    tiny = [Stored(Entry(stored(seed).entry.record, b"png"), None) for seed in range(10)]
    tier = MemoryTier(4 * 8192)

    for one in tiny:
        tier.put(*one)

    assert len(tier) == 4
    assert tier.bytes == 4 * len(b"png")


def test_long_prompts_count(stored):
    """A record with prompts of 8,000 characters takes its share of the bound."""
    wordy = [stored(seed, prompt="红" * 8000) for seed in range(10)]
    tier = MemoryTier(10 * len(wordy[0].entry.png) + 100)

    for one in wordy:
        tier.put(*one)

    assert 0 < len(tier) < 5
