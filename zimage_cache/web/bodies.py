"""The bytes of all request bodies together, bounded: where they become too many, one of the greediest address goes.

A body counts from its first byte until it has been read and parsed. One body at its bound is no harm; a hundred of
them, held open on purpose, would be memory that nothing else can use.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.types import Scope

_RELEASE: Final = "zimage.release_body"


class BodyDropped(Exception):
    """This body is the one that has to go."""


class Body:
    """One body, from where it comes, and the task that waits for it; `dropped` once it had to go for others."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.size = 0
        self.dropped = False
        self._task = asyncio.current_task()

    def drop(self) -> None:
        """End the request; the guard tells its client why."""
        self.dropped = True
        if self._task is not None:
            self._task.cancel()


class Bodies:
    """Counts the bytes of the bodies that are arriving or being parsed.

    Args:
        most: Bytes of all of them together.

    Threads: the event loop's only.
    """

    def __init__(self, most: int) -> None:
        self.held = 0
        self._most = most
        self._arriving: dict[Body, None] = {}  # the one that began first is first

    @contextmanager
    def counted(self, scope: Scope) -> Iterator[Body]:
        """Count the body of the request that the current task answers."""
        client = scope.get("client")
        body = Body(client[0] if client else "")
        scope[_RELEASE] = lambda: self._release(body)
        try:
            yield body
        finally:
            self._release(body)

    def add(self, body: Body, size: int, *, more: bool) -> None:
        """Count *size* more bytes; *more* are to come.

        Raises:
            BodyDropped: There are too many, and this one is to go.
        """
        self.held += size
        body.size += size
        if not more:
            self._arriving.pop(body, None)
        elif body.size:  # not a request without a body, such as a download that is never asked to receive one
            self._arriving[body] = None
        while self.held > self._most:
            spared = self._spared_for(body)
            self._release(spared)
            if spared is body:
                raise BodyDropped
            spared.drop()

    def _spared_for(self, newest: Body) -> Body:
        """Choose the first of the address whose bodies hold the most; where none is arriving, *newest* itself."""
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
    """Stop counting the body of a request that has been parsed: what became of its bytes is small."""
    if release := scope.get(_RELEASE):
        release()
