"""Attempts to sign in: a few at once, then slowly; an address cannot use up those of other people."""

import pytest

from zimage_cache.accounts.limits import Attempts, Rate


@pytest.fixture
def now(monkeypatch) -> list[float]:
    times = [1000.0]
    monkeypatch.setattr("throttled.utils.now_mono_f", lambda: times[0])
    return times


def test_an_address_tries_twenty_times_then_one_in_three_seconds(now):
    """The wait that is told is enough, and not too long."""
    attempts = Attempts()
    assert [attempts.wait("1.2.3.4", f"name {i}") for i in range(20)] == [0] * 20
    wait = attempts.wait("1.2.3.4", "ann")
    assert 1 <= wait <= 3
    assert attempts.wait("1.2.3.5", "ann") == 0
    now[0] += wait
    assert attempts.wait("1.2.3.4", "ann") == 0
    assert attempts.wait("1.2.3.4", "ann") > 0


def test_a_name_is_tried_thirty_times_from_all_addresses(now):  # noqa: ARG001 - time stands still
    """A person with many addresses gains little."""
    attempts = Attempts()
    waits = [attempts.wait(f"1.2.3.{i}", "ann") for i in range(40)]
    assert waits[:30] == [0] * 30
    assert all(waits[30:])
    assert attempts.wait("1.2.3.40", "ben") == 0


def test_an_address_that_waits_does_not_use_up_a_name(now):  # noqa: ARG001 - time stands still
    """Five hundred attempts from one address leave the name to its owner."""
    attempts = Attempts()
    for _ in range(500):
        attempts.wait("6.6.6.6", "ann")
    assert attempts.wait("1.2.3.4", "ann") == 0


def test_a_rate(now):
    """So many at once, then one after each part of the period; for each name, of whatever length."""
    rate = Rate(3, 60)
    assert [rate.wait("ann") for _ in range(4)] == [0, 0, 0, 20]
    assert rate.wait("ben") == rate.wait("") == rate.wait("a" * 1000) == 0
    now[0] += 19.5
    assert rate.wait("ann") == 1
    now[0] += 0.5
    assert [rate.wait("ann"), rate.wait("ann")] == [0, 20]
    now[0] += 3600
    assert [rate.wait("ann") for _ in range(4)] == [0, 0, 0, 20]
