"""Tests of cache.tally."""

import threading

from zimage_cache.cache.tally import Complaints, Tally


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
    """The log is limited, by kind, and the next warning states the number left out."""
    now = [0.0]
    complaints = Complaints(lambda: now[0])

    for second in (0.0, 1.0, 59.0):
        now[0] = second
        complaints.warn("ENOSPC", "full")
    complaints.warn("EIO", "broken")
    now[0] = 60.0
    complaints.warn("ENOSPC", "full")

    assert [record.getMessage() for record in caplog.records] == [
        "cache trouble [ENOSPC]: full",
        "cache trouble [EIO]: broken",
        "cache trouble [ENOSPC]: full (2 more like it since the last warning)",
    ]
