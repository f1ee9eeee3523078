"""`Pool`: threads that are there before the work, or not at all."""

import threading

import pytest

from zimage_cache.pool import Pool


def test_all_threads_are_there_from_the_start():
    """No work has been given yet."""
    with Pool(3, "ready"):
        assert sum(thread.name.startswith("ready") for thread in threading.enumerate()) == 3


def test_too_few_threads_leave_none_behind(monkeypatch):
    """Where the machine gives the second of three no thread, the first ends too: a process waits for it at its end."""
    start = threading.Thread.start
    made: list[threading.Thread] = []

    def second_fails(thread):
        if made:
            raise RuntimeError("can't start new thread")
        made.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", second_fails)

    with pytest.raises(RuntimeError, match="can't start"):
        Pool(3, "few")
    made[0].join(60)
    assert not made[0].is_alive()
