"""Tests of cache.backoff."""

from zimage_cache.cache.backoff import Backoff


def test_pauses_grow_and_end():
    """Two failures cost nothing; from the third on the pauses double, up to a minute, and one success ends them."""
    now = [0.0]
    backoff = Backoff(lambda: now[0])
    pauses = []
    for _ in range(12):
        backoff.failed()
        begin = now[0]
        while backoff.pausing:
            now[0] += 0.5
        pauses.append(now[0] - begin)

    assert pauses == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    backoff.failed()
    assert backoff.pausing
    backoff.succeeded()
    assert not backoff.pausing


def test_failing_for_ever_overflows_nothing():
    """A disk that is gone for years is tried once a minute all the same."""
    now = [0.0]
    backoff = Backoff(lambda: now[0])
    for _ in range(5000):
        backoff.failed()

    now[0] = 59.9
    assert backoff.pausing
    now[0] = 60.0
    assert not backoff.pausing
