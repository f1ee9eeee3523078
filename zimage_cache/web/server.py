"""Runs the application on a socket, and prints its address."""

import contextlib
import logging
import resource
import socket
from asyncio import Protocol
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Final, cast

import uvicorn
from fastapi import FastAPI

from zimage_cache.servers import local_url
from zimage_cache.web.connections import ConnectionBounds, Connections

_log = logging.getLogger(__name__)
_GRACE_SECONDS: Final = 5
_TICKS_A_SECOND: Final = 10  # uvicorn's
_BACKLOG: Final = 2048
_MOST_ACCEPTED_AT_ONCE: Final = 64
_MOST_CONNECTIONS: Final = 10_000
_OTHER_FILES: Final = 256
_ANYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on
_THIS_MACHINE: Final = ("127.", "::1")


def run(
    app: FastAPI,
    listening: socket.socket,
    *,
    open_to_all: bool,
    max_connections: int = 0,
    announced: AbstractContextManager[None] | None = None,
) -> None:
    """Serve *app* until SIGINT or SIGTERM; then jobs are cancelled, and other requests have a few seconds to finish.

    Args:
        app: The application.
        listening: Where.
        open_to_all: Whether it requires no password.
        max_connections: Maximum number; 0 = as many as the system's limit on open files allows.
        announced: Is entered when the server listens, and left when it stops.
    """
    room = raise_open_files()
    most = min(max_connections or room, room)
    # uvicorn stops cleanly on Ctrl+C and then raises KeyboardInterrupt again.
    with contextlib.suppress(KeyboardInterrupt):
        bounds = ConnectionBounds(connections=most)
        Server(app, listening, bounds, open_to_all=open_to_all, announced=announced).run(sockets=[listening])


class Server(uvicorn.Server):
    """uvicorn's server with bounds on its connections; prints its address, and cancels jobs when it stops.

    Args:
        app: The application.
        listening: Where.
        bounds: Limits of the connections.
        open_to_all: Whether it requires no password.
        grace_seconds: Time limit of running requests when it stops.
        announced: Is entered when the server listens, and left when it stops.
    """

    connections: Connections

    def __init__(
        self,
        app: FastAPI,
        listening: socket.socket,
        bounds: ConnectionBounds,
        *,
        open_to_all: bool,
        grace_seconds: int = _GRACE_SECONDS,
        announced: AbstractContextManager[None] | None = None,
    ) -> None:
        self.connections = Connections(bounds)
        super().__init__(
            uvicorn.Config(
                app,
                # Loop and HTTP implementation are named, so that installed alternatives are not chosen.
                loop="asyncio",
                http=cast("type[Protocol]", self.connections.protocol),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # see proxies.py
                timeout_graceful_shutdown=grace_seconds,
                timeout_keep_alive=bounds.idle_seconds,
                workers=1,  # else the variable WEB_CONCURRENCY is read, which a value other than a number ends
                # asyncio accepts up to this many connections in a row before one of them can be closed again: few where
                # few are allowed, because where files run out it logs an error, and another one when it is stopped.
                backlog=max(1, min(_MOST_ACCEPTED_AT_ONCE, bounds.connections // 16)),
            )
        )
        self._end_jobs: Callable[[], Awaitable[None]] = app.state.end_jobs
        self._host, self._port = listening.getsockname()[:2]
        self._open_to_all = open_to_all
        self._announced = announced or contextlib.nullcontext()
        self._at_end = contextlib.ExitStack()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            return
        for listening in sockets or []:
            listening.listen(_BACKLOG)  # asyncio would set the smaller number of connections it accepts in a row
        self._at_end.enter_context(self._announced)
        _say(f"Running on local URL: {local_url(self._host, self._port)}")
        if self._host in _ANYWHERE:
            _say(f"Running on network URL: {local_url(lan_address(), self._port)}")
        if self._open_to_all and not self._host.startswith(_THIS_MACHINE):
            _log.warning("anyone who reaches this address may use it: add users (`zimage user add`) or --auth")

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SECOND == 0:
            self.connections.sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First, because every open page has a stream that ends with its job, and uvicorn waits for open streams.
        with self._at_end:
            await self._end_jobs()
            await super().shutdown(sockets)


def raise_open_files() -> int:
    """Raise this process's limit on open files to the maximum; return how many of them connections may use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS has a further, lower limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    # The others are for files of pictures, databases and models.
    return min(_MOST_CONNECTIONS, soft - min(soft // 2, _OTHER_FILES))


def lan_address() -> str:
    """Return this machine's address in its network; sends no packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation; makes the system choose a source address
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this line is part of the contract
