"""How log lines leave the process: as text or JSON, each traceback cut, and only so many of one kind a minute."""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TextIO

WINDOW_SECONDS: Final = 60.0
# Records of one kind in one minute: of warnings and errors, which may bring tracebacks along, and of the others. Of the
# event loop's own, one: it fails thousands of times a second where no more connection can be accepted.
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
    """One minute of one kind: when it began, how many records it had, and how many of them were left out."""

    began: float
    records: int = 0
    left_out: int = 0
    summary: logging.LogRecord | None = None


class LimitedHandler(logging.StreamHandler[TextIO]):
    """Writes so many records of each kind a minute; how many more there were is said in one line afterwards.

    A kind is a place in the code, not a text: where a record was logged and, with an exception, of which type that is
    and where it was raised. So nothing that comes from outside makes new kinds, and their number is bounded.
    The line about what was left out comes with the first record of any kind after the minute, or at the end.

    Args:
        stream: Where the lines go; None = standard error.
        clock: Seconds, never going back.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._windows: dict[Hashable, _Window] = {}
        self._exceeded: dict[Hashable, _Window] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*, unless its kind had enough; the caller holds the handler's lock."""
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
            # Not the record itself: with its traceback it would keep all that the failed call worked on.
            window.summary = window.summary or _summary(record)
            self._exceeded[kind] = window

    def close(self) -> None:
        """Say what was left out lately, and close."""
        with self.lock or threading.RLock():
            for summary in self._summaries(self._clock()):
                super().emit(summary)
        super().close()

    def _summaries(self, until: float) -> Iterator[logging.LogRecord]:
        """Tell of the windows that began at *until* or before, each once."""
        for kind, window in list(self._exceeded.items()):
            if window.began <= until and window.summary is not None:
                del self._exceeded[kind]
                window.summary.args = window.left_out, *(window.summary.args or ())
                yield window.summary


class TextLines(logging.Formatter):
    """One line a record, with the request's id."""

    def __init__(self) -> None:
        super().__init__(_LINE)

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 - the base class's
        return _cut(super().formatException(ei))


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = _cut(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


class LimitedStream:
    """A stream for what is printed past the log, such as other libraries' tracebacks: so many lines a minute.

    Args:
        stream: Where they go. Everything but `write` is its own.
        clock: Seconds, never going back.
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
        """Write *text*, unless this minute had enough."""
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
    """Bound what is printed to standard error from here on; the log's own handlers keep the stream they have."""
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
    """Prepare the line that tells how many like *record* were left out; the number is still missing."""
    line = record.getMessage().strip().partition("\n")[0][:_SHOWN]
    words = "%d more like this in the last minute: %s"
    place = record.pathname, record.lineno
    summary = logging.LogRecord(record.name, record.levelno, *place, words, (line,), None)
    summary.request_id = "-"
    return summary


def _cut(traceback: str) -> str:
    """Leave the middle of a long traceback out: a recursion's has thousands of lines."""
    lines = traceback.splitlines()
    if len(lines) <= _TRACEBACK_HEAD + _TRACEBACK_TAIL:
        return traceback
    cut = f"  ... {len(lines) - _TRACEBACK_HEAD - _TRACEBACK_TAIL} lines left out ..."
    return "\n".join([*lines[:_TRACEBACK_HEAD], cut, *lines[-_TRACEBACK_TAIL:]])
