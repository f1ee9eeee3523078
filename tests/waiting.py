"""How tests wait for what other threads, tasks and processes bring about: until it holds, up to a deadline."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
SECONDS = 60.0
_POLL_SECONDS = 0.005


def wait_until(condition: Callable[[], T], seconds: float = SECONDS, *, what: str = "it") -> T:
    """Wait until *condition* returns something true, and return that; fails the test after *seconds*."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true within {seconds:g} s")
        time.sleep(_POLL_SECONDS)
    return found


async def until(condition: Callable[[], T], seconds: float = SECONDS, *, what: str = "it") -> T:
    """Wait likewise, on an event loop."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true within {seconds:g} s")
        await asyncio.sleep(_POLL_SECONDS)
    return found


def alive(prefix: str) -> list[str]:
    """List the threads whose names begin with *prefix* and that have not ended."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(prefix)]


class Clock:
    """A clock that only goes when `now` is changed."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
