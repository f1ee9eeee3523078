"""Counting events, warnings that do not flood the log, and pauses after repeated failures."""

import threading

from zimage_cache.cache.trouble import Backoff, LimitedWarnings, Tally


def test_no_event_is_lost_between_threads():
    """Threads that count at the same time count everything."""
    tally = Tally()
    barrier = threading.Barrier(8)

    def count() -> None:
        barrier.wait()
        for _ in range(500):
            tally.add("x")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (tally["x"], tally["never"]) == (4000, 0)


def test_one_warning_per_kind_and_minute(caplog):
    """The log is not flooded, kinds do not hide each other, and the next warning tells what was left out."""
    now = [0.0]
    warnings = LimitedWarnings(lambda: now[0])

    for second in (0.0, 1.0, 59.0):
        now[0] = second
        warnings.warn("ENOSPC", "full")
    warnings.warn("EIO", "broken")
    now[0] = 60.0
    warnings.warn("ENOSPC", "full")

    assert [record.getMessage() for record in caplog.records] == [
        "cache trouble [ENOSPC]: full",
        "cache trouble [EIO]: broken",
        "cache trouble [ENOSPC]: full (2 more like it since the last warning)",
    ]


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
