"""How tests wait for what other threads, tasks and processes bring about: until it holds, up to a deadline."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
SECONDS = 60.0
_POLL_SECONDS = 0.005


def wait_until(
    condition: Callable[[], T], seconds: float = SECONDS, *, every: float = _POLL_SECONDS, what: str = "it"
) -> T:
    """Wait until *condition* returns something true, and return that; fails the test after *seconds*.

    Args:
        condition: Asked again and again.
        seconds: How long.
        every: Seconds between two questions; more where a question costs something.
        what: Says in the failure what did not come true.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true within {seconds:g} s")
        time.sleep(every)
    return found


async def until(condition: Callable[[], T], seconds: float = SECONDS, *, what: str = "it") -> T:
    """Wait likewise, on an event loop."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come true within {seconds:g} s")
        await asyncio.sleep(_POLL_SECONDS)
    return found


@contextmanager
def no_thread_left(name: str) -> Iterator[None]:
    """Check at the end of a block that of the threads it started none is alive whose name begins with *name*."""
    before = set(threading.enumerate())
    yield
    assert [each.name for each in threading.enumerate() if each not in before and each.name.startswith(name)] == []


def replace_time(patch: pytest.MonkeyPatch, modules: Iterable[ModuleType], **functions: Callable[..., Any]) -> None:
    """Replace functions of `time` in *modules* alone.

    Servers that several tests share run in threads of this process: with another clock, their event loops would set
    timers that never end.
    """
    for module in modules:
        patch.setattr(module, "time", SimpleNamespace(**(vars(time) | functions)))


class Clock:
    """A clock that only goes when `now` is changed."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
