"""Bounds the bytes of all request bodies together; above the bound, a request of the address with the most is ended.

A body counts from its first byte until it has been read and parsed. Without this bound, a hundred bodies of the
maximum size that are held open on purpose would fill the memory.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.types import Scope

_RELEASE: Final = "zimage.release_body"


class BodyDropped(Exception):
    """This body was chosen to be ended."""


class Body:
    """One body, its client's address, and the task that waits for it; `dropped` once it was ended for others."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.size = 0
        self.dropped = False
        self._task = asyncio.current_task()

    def drop(self) -> None:
        """Cancel the request's task; the guard sends the client the reason."""
        self.dropped = True
        if self._task is not None:
            self._task.cancel()


class Bodies:
    """Counts the bytes of the bodies that are arriving or being parsed.

    Args:
        most: Bound on the bytes of all of them together.

    For the thread of the event loop only.
    """

    def __init__(self, most: int) -> None:
        self.held = 0
        self._most = most
        self._arriving: dict[Body, None] = {}  # in the order in which they began

    @contextmanager
    def counted(self, scope: Scope) -> Iterator[Body]:
        """Count the body of the request that the current task answers, while the context is open."""
        client = scope.get("client")
        body = Body(client[0] if client else "")
        scope[_RELEASE] = lambda: self._release(body)
        try:
            yield body
        finally:
            self._release(body)

    def add(self, body: Body, size: int, *, more: bool) -> None:
        """Count *size* more bytes; *more*: the body is not complete.

        Raises:
            BodyDropped: The bound is exceeded, and this body was chosen.
        """
        self.held += size
        body.size += size
        if not more:
            self._arriving.pop(body, None)
        elif body.size:  # requests without a body do not count
            self._arriving[body] = None
        while self.held > self._most:
            spared = self._spared_for(body)
            self._release(spared)
            if spared is body:
                raise BodyDropped
            spared.drop()

    def _spared_for(self, newest: Body) -> Body:
        """Return the first body of the address whose bodies have the most bytes; if none is arriving, *newest*."""
        held: Counter[str] = Counter()
        for body in self._arriving:
            held[body.address] += body.size
        greediest = max(held, key=held.__getitem__, default="")
        return next((body for body in self._arriving if body.address == greediest), newest)

    def _release(self, body: Body) -> None:
        self._arriving.pop(body, None)
        self.held -= body.size
        body.size = 0


def release_body(scope: Scope) -> None:
    """Stop counting the body of a request after parsing, because the parsed values are small."""
    if release := scope.get(_RELEASE):
        release()
