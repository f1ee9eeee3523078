"""`quiet`: a fault met a thousand times a second makes one line a minute."""

import json
import logging

import pytest

from zimage_cache.web.quiet import OncePerMinute


def record(message: str, *args: object, error: Exception | None = None, name: str = "asyncio") -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, args, info)


def raised(value: object) -> Exception:
    """Give an exception that was raised in one place, or, where the value is no ASCII, in another."""
    try:
        str(value).encode("ascii")
        json.loads(str(value))
    except ValueError as error:
        return error
    return pytest.fail("raised nothing")


def test_one_of_a_kind_a_minute_and_how_many_there_were():
    """The first one passes, those within a minute are counted, and the next one tells their number."""
    now = 0.0
    quiet = OncePerMinute(clock=lambda: now)
    accept = "socket.accept() out of system resource\nsocket: %r"
    assert quiet.filter(record(accept, 1))
    assert not any(quiet.filter(record(accept, number)) for number in range(1000))
    now = 60.0
    late = record(accept, 7)
    assert quiet.filter(late)
    assert late.getMessage().endswith("socket: 7 (1000 more since the last one)")
    now = 120.0
    assert "more" not in late_message(quiet, accept)


def late_message(quiet: OncePerMinute, message: str) -> str:
    late = record(message, 7)
    assert quiet.filter(late)
    return late.getMessage()


def test_kinds_are_told_apart():
    """Another logger, other words, another place: each is told once. Other values in the same place are not."""
    quiet = OncePerMinute(clock=lambda: 0.0)
    failed = "Exception in ASGI application"
    assert quiet.filter(record(failed, error=raised("x")))
    assert not quiet.filter(record(failed, error=raised("y")))
    assert quiet.filter(record(failed, error=raised("é")))
    assert quiet.filter(record(failed))
    assert quiet.filter(record(failed, name="uvicorn.error"))
    assert quiet.filter(record("something else"))


def test_kinds_are_bounded():
    """Words that never repeat cost no memory without end."""
    quiet = OncePerMinute(clock=lambda: 0.0)
    for number in range(10_000):
        assert quiet.filter(record(f"{number}"))
    assert len(quiet._passed) <= 200
