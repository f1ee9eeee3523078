"""The id of a request, contained in its answer and in the log lines of what is done for it, in any thread."""

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

HEADER: Final = "X-Request-Id"
_current: ContextVar[str] = ContextVar("request_id", default="-")
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


def current_request_id() -> str:
    """Return the id of the present request; "-" outside of a request."""
    return _current.get()


def set_request_id(offered: str | None) -> str:
    """Set the id for this task and its children: the client's where it is valid, else a new one."""
    request_id = offered if offered and _ACCEPTABLE.fullmatch(offered) else secrets.token_hex(6)
    _current.set(request_id)
    return request_id


@contextmanager
def working_for(request_id: str) -> Iterator[None]:
    """Set the id of the request that the work within the context is done for."""
    before = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(before)


class RequestIdFilter(logging.Filter):
    """Adds `request_id` to log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current_request_id()
        return True
