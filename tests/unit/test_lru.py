"""`ByteLRU`: what was used last stays, within a bound of bytes and one of number; the count of bytes is exact."""

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_cache.lru import ByteLRU


@pytest.fixture
def kept() -> ByteLRU[str, bytes]:
    """Holds three values of ten bytes."""
    lru: ByteLRU[str, bytes] = ByteLRU(30, len)
    for key in "abc":
        lru.put(key, key.encode() * 10)
    return lru


def test_the_least_recently_used_goes(kept):
    """A `get` is a use, a `peek` is none."""
    kept.get("a")
    kept.peek("b")
    kept.put("d", b"d" * 10)
    assert [key for key in "abcd" if kept.peek(key)] == ["a", "c", "d"]
    assert (kept.oldest(), kept.bytes) == (("c", b"c" * 10), 30)


def test_one_that_is_alone_may_exceed_the_bound(kept):
    """It is put all the same, and all others go; its owner asks before whether it fits."""
    assert kept.fits(b"x" * 30)
    assert not kept.fits(b"x" * 31)
    kept.put("x", b"x" * 31)
    assert (list(kept.values()), kept.bytes) == ([b"x" * 31], 31)


def test_their_number_is_a_bound_too():
    """However small they are."""
    lru: ByteLRU[int, bytes] = ByteLRU(0, len, max_values=2)
    for key in range(5):
        lru.put(key, b"x")
    assert [key for key in range(5) if lru.peek(key)] == [3, 4]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["put", "get", "pop"]), st.integers(1, 20))))
def test_is_what_a_list_of_uses_says(steps):
    """Any order of puts, gets and pops leaves what a plain model leaves, and counts its bytes."""
    lru: ByteLRU[str, bytes] = ByteLRU(40, len, max_values=4)
    model: OrderedDict[str, bytes] = OrderedDict()
    for key, step, size in steps:
        if step == "put":
            lru.put(key, bytes(size))
            model.pop(key, None)
            model[key] = bytes(size)
            while len(model) > 4 or sum(map(len, model.values())) > 40:
                model.popitem(last=False)
        elif step == "get":
            assert lru.get(key) == model.get(key)
            if key in model:
                model.move_to_end(key)
        else:
            assert lru.pop(key) == model.pop(key, None)
        assert list(lru.values()) == list(model.values())
        assert (lru.bytes, len(lru)) == (sum(map(len, model.values())), len(model))
    lru.clear()
    assert (lru.bytes, len(lru), lru.oldest()) == (0, 0, None)
