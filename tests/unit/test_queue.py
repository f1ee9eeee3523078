"""`FairQueue`: who is next, who is before whom, and what closing does."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import present
from zimage_cache.service.queue import FairQueue


def filled(*items: tuple[str, str]) -> FairQueue[str]:
    queue: FairQueue[str] = FairQueue()
    for item, user in items:
        queue.put(item, user)
    return queue


def test_first_come_first_served_within_one_user():
    """One person's pictures are drawn in the order asked for."""
    queue = filled(("a1", "ann"), ("a2", "ann"), ("a3", "ann"))
    assert [queue.take() for _ in range(3)] == ["a1", "a2", "a3"]


def test_its_length_is_what_waits_in_all_lanes():
    """What was taken or discarded does not count any more."""
    queue = filled(("a1", "ann"), ("a2", "ann"), ("b1", "bob"))
    assert len(queue) == 3
    queue.take()
    queue.discard("a2")
    assert len(queue) == 1


def test_users_take_turns():
    """A batch of one person delays another person's picture by one turn, not by the batch."""
    queue = filled(("a1", "ann"), ("a2", "ann"), ("a3", "ann"), ("b1", "bob"), ("c1", "cat"), ("b2", "bob"))
    assert [queue.take() for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_returning_user_goes_to_the_end_of_the_round():
    """A user whose lane ran empty gains nothing by coming back at once."""
    queue = filled(("a1", "ann"), ("b1", "bob"), ("b2", "bob"))
    assert queue.take() == "a1"
    queue.put("a2", "ann")
    assert [queue.take() for _ in range(3)] == ["b1", "a2", "b2"]


def test_batch_pictures_wait_for_all_others():
    """Users take turns in each of the levels; one that arrives later in the first level is still before the second."""
    queue: FairQueue[str] = FairQueue()
    for item in ("A1", "A2", "B1"):
        queue.put(item, item[0], batch=True)
    for item in ("b1", "a1"):
        queue.put(item, item[0])
    assert [queue.take() for _ in range(3)] == ["b1", "a1", "A1"]
    queue.put("c1", "c")
    queue.put_back("A1", "A", batch=True)
    assert [queue.take() for _ in range(4)] == ["c1", "A1", "B1", "A2"]


def test_a_promoted_picture_is_the_last_of_its_lane_in_the_first_level():
    """Promoting is for pictures of the second level that still wait: others stay where they are."""
    queue = filled(("a1", "ann"), ("a2", "ann"), ("b1", "bob"))
    for item in ("a3", "a4"):
        queue.put(item, "ann", batch=True)
    for item in ("a4", "a1", "gone"):
        queue.promote(item)
    assert len(queue) == 5
    assert [queue.take() for _ in range(5)] == ["a1", "b1", "a2", "a4", "a3"]


@given(
    users=st.lists(st.sampled_from("abcdABCD"), max_size=20),
    taken=st.integers(0, 10),
    more=st.lists(st.sampled_from("abcdABCD"), max_size=10),
    dropped=st.sets(st.integers(0, 29)),
    promoted=st.sets(st.integers(0, 29)),
)
def test_the_position_shown_is_the_order_taken(users, taken, more, dropped, promoted):
    """`ahead` of every waiting item is exactly how many are taken before it, after any history."""
    queue: FairQueue[int] = FairQueue()
    waiting = set()
    for number, user in enumerate(users):
        queue.put(number, user, batch=user.isupper())
        waiting.add(number)
    for _ in range(min(taken, len(users))):
        waiting.remove(present(queue.take()))
    for number, user in enumerate(more, len(users)):
        queue.put(number, user, batch=user.isupper())
        waiting.add(number)
    for number in promoted:
        queue.promote(number)
    for number in dropped:
        queue.discard(number)
    waiting -= dropped
    shown = {item: queue.ahead(item) for item in waiting}
    assert shown == {queue.take(): place for place in range(len(waiting))}


def test_position_of_what_does_not_wait():
    """A run that was taken, discarded or never queued has no position."""
    queue = filled(("a1", "ann"), ("a2", "ann"))
    queue.take()
    queue.discard("a2")
    assert [queue.ahead(item) for item in ("a1", "a2", "other")] == [None, None, None]


def test_discarding_twice_or_something_taken_does_nothing():
    """Leaving races with the worker: the second of both finds nothing and has no effect."""
    queue = filled(("a1", "ann"), ("a2", "ann"), ("b1", "bob"))
    assert queue.take() == "a1"
    for item in ("a1", "b1", "b1"):
        queue.discard(item)
    assert queue.take() == "a2"
    assert queue.ahead("b1") is None


@pytest.mark.parametrize("waiting", [(), (("a1", "ann"),)])
def test_closing_ends_every_take_and_drops_the_rest(waiting):
    """A waiting worker returns without work after closing; so does each later call."""
    queue = filled(*waiting)
    taken: list[str | None] = []
    if not waiting:
        thread = threading.Thread(target=lambda: taken.append(queue.take()))
        thread.start()
    queue.close()
    if not waiting:
        thread.join(30)
        assert taken == [None]
    assert queue.take() is None
    assert queue.ahead("a1") is None


def test_a_waiting_worker_gets_what_arrives():
    """`take` blocks until there is something."""
    queue: FairQueue[str] = FairQueue()
    taken: list[str | None] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    queue.put("a1", "ann")
    thread.join(30)
    assert taken == ["a1"]


def test_nothing_is_taken_before_its_taker_is_ready():
    """Who is not ready leaves the item to others; `wake` has it look again."""
    queue = filled(("a1", "ann"), ("a2", "ann"))
    asked, willing = threading.Semaphore(0), threading.Event()
    taken = []

    def ready() -> bool:
        asked.release()
        return willing.is_set()

    thread = threading.Thread(target=lambda: taken.append(queue.take(ready)))
    thread.start()
    assert asked.acquire(timeout=60)
    assert queue.take() == "a1"
    willing.set()
    queue.wake()
    thread.join(60)
    assert taken == ["a2"]


def test_an_interrupted_take_gives_up():
    """`unless` and `seconds` end the wait with nothing; what waits in the queue stays there."""
    queue = filled(("a1", "ann"))
    assert queue.take(unless=lambda: True) is None
    assert queue.take(ready=lambda: False, seconds=0.001) is None
    assert queue.take() == "a1"


def test_what_was_put_back_is_next():
    """An item put back is taken next; the order of the users does not change by it."""
    queue = filled(("a1", "ann"), ("a2", "ann"), ("b1", "bob"))
    first = present(queue.take())
    queue.put_back(first, "ann")
    assert [queue.take() for _ in range(3)] == ["a1", "b1", "a2"]
