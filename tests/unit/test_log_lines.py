"""The log never grows faster than so many records of a kind and minute, and says what it leaves out."""

import io
import json
import logging
from typing import Any

import pytest

from zimage_cache.log_lines import (
    MOST_FOREIGN_LINES,
    MOST_OTHERS,
    MOST_TROUBLE,
    JsonLines,
    LimitedHandler,
    LimitedStream,
    TextLines,
)
from zimage_cache.request_id import RequestIdFilter


class Log:
    """A logger of its own on a limited handler, with a clock to set."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self.now = 1000.0
        self.written = io.StringIO()
        self.handler = LimitedHandler(self.written, clock=lambda: self.now)
        self.handler.addFilter(RequestIdFilter())
        self.handler.setFormatter(formatter)
        self.logger = logging.Logger("test", logging.DEBUG)  # noqa: LOG001 - not one that others find
        self.logger.addHandler(self.handler)

    @property
    def lines(self) -> list[str]:
        return self.written.getvalue().splitlines()


@pytest.fixture
def log():
    return Log(TextLines())


def _warn(log: Log, text: str) -> None:
    log.logger.warning("history_write_failed error=%s", text)


def _fail(log: Log, error: Exception) -> None:
    try:
        raise error
    except type(error):
        log.logger.exception("Exception in ASGI application")


def test_warnings_of_one_kind_are_few_whatever_they_say(log):
    """A kind is a place in the code: other texts from outside do not make other kinds."""
    for number in range(1000):
        _warn(log, f"picture {number}")
    assert len(log.lines) == MOST_TROUBLE
    assert len(log.handler._windows) == 1  # noqa: SLF001 - what it keeps of each kind takes memory and shows nowhere


def test_the_event_loops_errors_are_logged_once_a_minute(log):
    """It cannot accept connections while no file can be opened, and says so for each try."""
    loop = logging.LogRecord(
        "asyncio", logging.ERROR, "base_events.py", 1, "socket.accept() out of resource", None, None
    )
    loop.request_id = "-"
    for _ in range(1000):
        log.handler.handle(loop)
    assert len(log.lines) == 1


def test_what_was_left_out_is_said_after_the_minute(log):
    """In one line, with the first record of any kind that comes then; and the kind is written again."""
    for _ in range(100):
        _warn(log, "disk full")
    log.now += 61
    log.logger.info("something else")
    summary, other = log.lines[MOST_TROUBLE:]
    assert f"{100 - MOST_TROUBLE} more like this in the last minute: history_write_failed error=disk full" in summary
    assert "something else" in other
    _warn(log, "disk full")
    assert len(log.lines) == MOST_TROUBLE + 3


def test_what_was_left_out_is_said_at_the_end(log):
    """On shutdown the records left out in the last minute are reported too."""
    for _ in range(10):
        _warn(log, "disk full")
    log.handler.close()
    assert f"{10 - MOST_TROUBLE} more like this" in log.lines[-1]


def test_kinds_do_not_silence_each_other(log):
    """Errors that are logged at one place, but have other types or are raised elsewhere, are logged separately."""
    for _ in range(50):
        _fail(log, ValueError("one"))
        _fail(log, KeyError("other"))
        _warn(log, "third")
    text = log.written.getvalue()
    assert [text.count(each) for each in ("ValueError: one", "KeyError: 'other'", "third")] == [MOST_TROUBLE] * 3


def test_lines_of_requests_are_bounded_too(log):
    """One line a picture is a log as long as they come one by one; a flood of them is not."""
    for number in range(2 * MOST_OTHERS):
        log.logger.info("picture key=%s", number)
    assert len(log.lines) == MOST_OTHERS


def test_an_hour_of_a_storm_is_some_hundred_lines(log):
    """100 errors with tracebacks a second: what is written depends on minutes, not on errors."""
    for second in range(3600):
        log.now = 1000.0 + second
        for _ in range(100 if second < 5 else 10):
            _fail(log, OSError(24, "Too many open files"))
    records = log.written.getvalue().count("Exception in ASGI application")
    assert records == 60 * MOST_TROUBLE + 59


@pytest.mark.parametrize("formatter", [TextLines, JsonLines])
def test_long_tracebacks_are_cut(formatter):
    """A recursion's traceback keeps its beginning and its end."""
    log = Log(formatter())

    def even(n: int) -> None:
        if not n:
            raise RuntimeError("at the bottom")
        odd(n - 1)

    def odd(n: int) -> None:
        even(n - 1)

    try:
        even(200)
    except RuntimeError:
        log.logger.exception("failed")
    text = log.written.getvalue()
    told = json.loads(text)["traceback"] if formatter is JsonLines else text
    assert len(told.splitlines()) <= 82
    assert "lines left out" in told
    assert told.rstrip().endswith("RuntimeError: at the bottom")


def test_what_is_printed_past_the_log_is_bounded():
    """Other libraries print tracebacks to standard error themselves."""
    now, written = [0.0], io.StringIO()
    stream = LimitedStream(written, clock=lambda: now[0])
    for number in range(10_000):
        print(f"line {number}", file=stream)
    assert written.getvalue().count("\n") == MOST_FOREIGN_LINES
    now[0] = 61.0
    print("again", file=stream)
    assert written.getvalue().splitlines()[-2:] == [
        f"... {10_000 - MOST_FOREIGN_LINES} more lines in the last minute",
        "again",
    ]
    isatty: Any = stream.isatty  # the own one of what it writes to
    assert not isatty()
