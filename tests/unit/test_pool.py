"""`Pool`: threads that are there before the work, or not at all."""

import asyncio
import threading
from contextvars import ContextVar

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


def test_work_has_the_context_variables_of_its_submitter():
    """The id of a request is known in the threads that read for it, and one request's is not left for the next."""
    name = ContextVar("name", default="-")

    async def read(pool: Pool, value: str) -> str:
        name.set(value)
        return await asyncio.get_running_loop().run_in_executor(pool, name.get)

    with Pool(1, "context") as pool:
        assert [asyncio.run(read(pool, value)) for value in ("a", "b")] == ["a", "b"]
        assert pool.submit(name.get).result() == "-"
