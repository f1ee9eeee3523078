"""`Shares`: one user never holds everything, and who comes next finds room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import present
from zimage_cache.service.queue import Shares


def _fill(shares: Shares, user: str) -> int:
    """Take as much as *user* may, and return how much that was."""
    taken = 0
    while shares.room(user):
        shares.take(user)
        taken += 1
    return taken


def test_a_full_share_leaves_room():
    """Of 32 places the second user still gets a whole request of 8, the fourth one place."""
    shares = Shares(32)
    assert [_fill(shares, user) for user in ("ann", "bob", "cat", "dan", "eve")] == [21, 8, 2, 1, 0]
    assert shares.taken == 32


@given(capacity=st.integers(3, 200))
def test_a_new_user_finds_a_place(capacity):
    """Whatever the first user takes, in a queue of three places or more."""
    shares = Shares(capacity)
    _fill(shares, "ann")
    assert shares.room("bob")


@given(capacity=st.integers(8, 200))
def test_the_largest_request_is_admitted_where_nothing_waits(capacity):
    """Also where it needs more than one client's share of few places; a second client gets a share."""
    shares = Shares(capacity, 8)
    assert present(shares.room("ann")) >= 8
    shares.take("ann")
    assert shares.room("ann") == present(Shares(capacity).room("ann")) - 1


def test_what_is_given_back_is_there_again():
    """For the same user and for others; nothing is kept of users who hold nothing."""
    shares = Shares(4)
    assert _fill(shares, "ann") == 3
    for _ in range(3):
        shares.give_back("ann")
    assert (shares.taken, len(shares._held)) == (0, 0)  # noqa: SLF001 - what is kept of users takes memory and shows nowhere
    assert _fill(shares, "bob") == 3


@pytest.mark.parametrize("user", ["", "ann"])
def test_no_limit(user):
    """Capacity 0 is no bound."""
    shares = Shares(0)
    for _ in range(1000):
        shares.take(user)
    assert shares.room(user) is None


def test_this_process_itself_takes_what_is_free():
    """A call without a client's name may take all free places."""
    assert _fill(Shares(10), "") == 10


@given(steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=60), capacity=st.integers(1, 12))
def test_never_more_than_there_is(steps, capacity):
    """In whatever order users take and give back: the whole is never exceeded while room is asked for first."""
    shares, held = Shares(capacity), dict.fromkeys("abc", 0)
    for taking, user in steps:
        if taking and shares.room(user):
            shares.take(user)
            held[user] += 1
        elif not taking and held[user]:
            shares.give_back(user)
            held[user] -= 1
    assert shares.taken == sum(held.values()) <= capacity
    assert all((shares.room(user) or 0) <= capacity - shares.taken for user in "abcd")
