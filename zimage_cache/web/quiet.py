"""Keeps one fault, met a thousand times a second, from filling the disk with its own log."""

import logging
import time
from collections.abc import Callable
from typing import Final

_SHOWN: Final = 80
_MOST_KINDS: Final = 200


class OncePerMinute(logging.Filter):
    """Lets one record of each kind pass a minute; the next one tells how many did not.

    Of one kind are records of one logger that begin alike and, where they tell of an exception, one raised in the same
    place. Of too many kinds, all are forgotten.
    """

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._passed: dict[object, tuple[float, int]] = {}  # by kind: when the last one did, and how many since did not

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = _kind(record), self._clock()
        last, left_out = self._passed.get(kind, (-self._seconds, 0))
        if now - last < self._seconds:
            self._passed[kind] = (last, left_out + 1)
            return False
        if len(self._passed) >= _MOST_KINDS:
            self._passed.clear()
        self._passed[kind] = (now, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage().rstrip()} ({left_out} more since the last one)", None
        return True


def _kind(record: logging.LogRecord) -> object:
    error = record.exc_info[1] if record.exc_info else None
    place = error.__traceback__ if error is not None else None
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = None if place is None else (place.tb_frame.f_code.co_filename, place.tb_lineno)
    return record.name, str(record.msg).partition("\n")[0][:_SHOWN], type(error), where
