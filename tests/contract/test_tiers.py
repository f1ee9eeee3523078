"""One suite for every tier: what `ResultCache` relies on, whichever it talks to."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from zimage_cache.cache.check import check
from zimage_cache.cache.disk import DiskTier
from zimage_cache.cache.memory import MemoryTier
from zimage_cache.cache.tier import Tier
from zimage_cache.entry import Source

MAKERS: dict[str, Callable[[Path, int], Tier]] = {
    "memory": lambda _folder, max_bytes: MemoryTier(max_bytes),
    "disk": lambda folder, max_bytes: DiskTier(folder, max_bytes=max_bytes),
}


@pytest.fixture(params=MAKERS)
def make(request, tmp_path):
    """Give a maker of tiers with a bound of so many bytes; a disk is checked at the end."""

    def maker(max_bytes: int = 0) -> Tier:
        return MAKERS[request.param](tmp_path, max_bytes)

    yield maker
    assert check(tmp_path) == []


def test_gives_back_what_was_put(make, entry):
    """An entry comes back whole, byte for byte and field for field, as often as asked."""
    tier = make()
    mine = entry(1)

    tier.put(mine)

    assert tier.get(mine.record.key).entry == mine
    assert tier.get(mine.record.key).entry == mine
    assert tier.peek(mine.record.key).entry == mine


def test_unknown_key_is_a_miss(make, entry):
    """What was never put, and what is no key, is `None`, not an error."""
    tier = make()
    tier.put(entry(1))

    for key in (entry(2).record.key, "../../etc/passwd", "", "A" * 64):
        assert tier.get(key) is None
        assert tier.peek(key) is None
        assert tier.delete(key) is False


def test_put_replaces(make, entry):
    """The second entry under a key is the one that stays, and the first one's bytes are not counted any more."""
    tier = make()
    tier.put(entry(1, look=1))
    alone = tier.bytes
    tier.put(entry(1, look=2))

    assert tier.get(entry(1).record.key).entry == entry(1, look=2)
    assert len(tier) == 1
    assert abs(tier.bytes - alone) < 100


def test_delete_is_exact(make, entry):
    """Deleting takes one entry, says whether it was there, and gives back its bytes."""
    tier = make()
    tier.put(entry(1))
    before = tier.bytes
    tier.put(entry(2))

    assert tier.delete(entry(2).record.key) is True
    assert tier.delete(entry(2).record.key) is False

    assert (len(tier), tier.bytes) == (1, before)
    assert tier.get(entry(2).record.key) is None
    assert tier.get(entry(1).record.key) is not None


def test_clear_says_how_many(make, entry):
    """Clearing takes everything and counts it."""
    tier = make()
    for seed in range(3):
        tier.put(entry(seed))

    assert tier.clear() == 3
    assert tier.clear() == 0
    assert (len(tier), tier.bytes) == (0, 0)


def test_bound_evicts_the_least_recently_used(make, entry):
    """Within the bound at any time; a `get` saves from eviction, a `peek` does not."""
    size = make()
    size.put(entry(100))
    one = size.bytes
    size.clear()
    tier = make(5 * one + one // 2)
    for seed in range(5):
        tier.put(entry(seed))
    tier.get(entry(0).record.key)
    tier.peek(entry(1).record.key)

    tier.put(entry(5))
    tier.put(entry(6))

    kept = [seed for seed in range(7) if tier.peek(entry(seed).record.key)]
    assert kept == [0, 3, 4, 5, 6]
    assert tier.bytes <= 5 * one + one // 2


def test_threads_do_not_disturb_each_other(make, entry, rounds):
    """Started at one barrier, putting, getting and deleting the same keys: every answer is whole, counts are exact."""
    tier = make()
    entries = [entry(seed) for seed in range(4)]
    barrier = threading.Barrier(4)
    wrong = []

    def work(number: int) -> None:
        barrier.wait()
        for turn in range(rounds(200)):
            mine = entries[(number + turn) % 4]
            match (number * turn) % 3:
                case 0:
                    tier.put(mine)
                case 1:
                    tier.delete(mine.record.key)
                case _:
                    found = tier.get(mine.record.key)
                    wrong.extend([found] if found is not None and found.entry != mine else [])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    left = [mine for mine in entries if tier.peek(mine.record.key)]
    assert wrong == []
    assert len(tier) == len(left)
    assert tier.clear() == len(left)
    assert tier.bytes == 0


def test_put_gives_what_is_kept(make, entry):
    """What `put` returns is valid for a faster tier, until the entry is replaced or deleted where that is known."""
    tier = make()
    first = tier.put(entry(1))
    assert first.entry == entry(1)
    assert tier.still(first)
    second = tier.put(entry(1, look=1))
    assert tier.still(second)
    tier.drop(first)
    assert tier.peek(second.key).entry == second.entry
    if tier.source is Source.DISK:  # the truth; other tiers forget what is still valid, and cannot tell
        assert not tier.still(first)
        tier.delete(second.key)
        assert not tier.still(second)


def test_a_touch_saves_from_eviction(make, entry):
    """A hit in a faster tier counts here as well."""
    size = make()
    size.put(entry(100))
    one = size.bytes
    size.clear()
    tier = make(5 * one + one // 2)
    for seed in range(5):
        tier.put(entry(seed))
    tier.touch(entry(0).record.key)
    tier.put(entry(5))
    assert [seed for seed in range(6) if tier.peek(entry(seed).record.key)] == [0, 2, 3, 4, 5]
