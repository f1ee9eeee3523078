"""Formats log lines as text or JSON, shortens tracebacks, and limits the number of lines per kind and minute."""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TextIO

WINDOW_SECONDS: Final = 60.0
# Most records of one kind per minute: of warnings and errors, which may have tracebacks, and of the others. Of the
# event loop only one: it logs thousands of times a second when it cannot accept connections.
MOST_TROUBLE: Final = 5
MOST_OF_THE_LOOP: Final = 1
MOST_OTHERS: Final = 600
MOST_FOREIGN_LINES: Final = 300
_TRACEBACK_HEAD, _TRACEBACK_TAIL = 20, 60
_SHOWN: Final = 200
_LOOP: Final = "asyncio"
_LINE: Final = "%(asctime)s %(levelname)-7s %(request_id)s %(message)s"


@dataclass(slots=True)
class _Window:
    """One minute of one kind of records: its start, the number of records, and the number left out."""

    began: float
    records: int = 0
    left_out: int = 0
    summary: logging.LogRecord | None = None


class LimitedHandler(logging.StreamHandler[TextIO]):
    """Writes a limited number of records of each kind per minute; one line then states how many were left out.

    A kind is a place in the code: where a record was logged and, with an exception, its type and where it was raised.
    Input from clients adds no kinds, so their number is bounded. The line about records left out is written with the
    first record of any kind after the minute, or on close.

    Args:
        stream: Where the lines are written; None = standard error.
        clock: Monotonic seconds.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._windows: dict[Hashable, _Window] = {}
        self._exceeded: dict[Hashable, _Window] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*, unless the limit of its kind is reached; the caller holds the handler's lock."""
        now = self._clock()
        for summary in self._summaries(now - WINDOW_SECONDS):
            super().emit(summary)
        kind = _kind(record)
        window = self._windows.get(kind)
        if window is None or now - window.began >= WINDOW_SECONDS:
            window = self._windows[kind] = _Window(now)
        window.records += 1
        if window.records <= _most(record):
            super().emit(record)
        else:
            window.left_out += 1
            # A copy: the record's traceback would keep the local variables of the failed call in memory.
            window.summary = window.summary or _summary(record)
            self._exceeded[kind] = window

    def close(self) -> None:
        """Write the pending lines about records left out, and close."""
        with self.lock or threading.RLock():
            for summary in self._summaries(self._clock()):
                super().emit(summary)
        super().close()

    def _summaries(self, until: float) -> Iterator[logging.LogRecord]:
        """Yield the line about each window that began at *until* or before, once."""
        for kind, window in list(self._exceeded.items()):
            if window.began <= until and window.summary is not None:
                del self._exceeded[kind]
                window.summary.args = window.left_out, *(window.summary.args or ())
                yield window.summary


class TextLines(logging.Formatter):
    """One line per record, with the request's id, and the local time with its offset from UTC."""

    def __init__(self) -> None:
        super().__init__(_LINE)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - the base class's
        return _moment(record).astimezone().isoformat(" ", "milliseconds")

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 - the base class's
        return _cut(super().formatException(ei))


class JsonLines(logging.Formatter):
    """One JSON object per record; times are UTC."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _moment(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = _cut(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


class LimitedStream:
    """A stream that limits the lines per minute of text printed without the log, such as libraries' tracebacks.

    Args:
        stream: Where the lines are written. All attributes but `write` are passed on to it.
        clock: Monotonic seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._lines = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write *text*, unless this minute's limit is reached."""
        with self._lock:
            now = self._clock()
            if now - self._began >= WINDOW_SECONDS:
                if self._lines > MOST_FOREIGN_LINES:
                    self._stream.write(f"... {self._lines - MOST_FOREIGN_LINES} more lines in the last minute\n")
                self._began, self._lines = now, 0
            enough = self._lines >= MOST_FOREIGN_LINES
            self._lines += text.count("\n")
            return len(text) if enough else self._stream.write(text)


def limit_standard_error() -> None:
    """Limit the lines printed to standard error from now on; handlers of the log keep the stream they have."""
    sys.stderr = LimitedStream(sys.stderr)


def _most(record: logging.LogRecord) -> int:
    if record.name == _LOOP:
        return MOST_OF_THE_LOOP
    return MOST_TROUBLE if record.levelno >= logging.WARNING else MOST_OTHERS


def _kind(record: logging.LogRecord) -> Hashable:
    error, raised = (record.exc_info or (None, None, None))[0], None
    trace = record.exc_info[2] if record.exc_info else None
    while trace is not None:
        raised, trace = (trace.tb_frame.f_code.co_filename, trace.tb_lineno), trace.tb_next
    return record.pathname, record.lineno, record.levelno, error, raised


def _summary(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record that states how many like *record* were left out; the number is filled in later."""
    line = record.getMessage().strip().partition("\n")[0][:_SHOWN]
    words = "%d more like this in the last minute: %s"
    place = record.pathname, record.lineno
    summary = logging.LogRecord(record.name, record.levelno, *place, words, (line,), None)
    summary.request_id = "-"
    return summary


def _cut(traceback: str) -> str:
    """Remove the middle of a long traceback: that of a recursion has thousands of lines."""
    lines = traceback.splitlines()
    if len(lines) <= _TRACEBACK_HEAD + _TRACEBACK_TAIL:
        return traceback
    cut = f"  ... {len(lines) - _TRACEBACK_HEAD - _TRACEBACK_TAIL} lines left out ..."
    return "\n".join([*lines[:_TRACEBACK_HEAD], cut, *lines[-_TRACEBACK_TAIL:]])
