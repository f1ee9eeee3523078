"""Runs the application on a socket, and says where."""

import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import uvicorn
from fastapi import FastAPI

_log = logging.getLogger(__name__)
_GRACE_SECONDS: Final = 5
_ANYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on
_THIS_MACHINE: Final = ("127.", "::1")


def run(app: FastAPI, listening: socket.socket, *, open_to_all: bool) -> None:
    """Serve *app* until SIGINT or SIGTERM; jobs end then, other requests in flight get a few seconds to finish."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_GRACE_SECONDS
    )
    # uvicorn ends cleanly on Ctrl+C and then raises it once more, for programs that have something left to do.
    with contextlib.suppress(KeyboardInterrupt):
        _Announcing(config, listening, end_jobs=app.state.end_jobs, open_to_all=open_to_all).run(sockets=[listening])


class _Announcing(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        listening: socket.socket,
        *,
        end_jobs: Callable[[], Awaitable[None]],
        open_to_all: bool,
    ) -> None:
        super().__init__(config)
        self._end_jobs = end_jobs
        self._host, self._port = listening.getsockname()[:2]
        self._open_to_all = open_to_all

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            return
        anywhere = self._host in _ANYWHERE
        _say(f"Running on local URL: http://{_bracketed('127.0.0.1' if anywhere else self._host)}:{self._port}")
        if anywhere:
            _say(f"Running on network URL: http://{_bracketed(lan_address())}:{self._port}")
        if self._open_to_all and not self._host.startswith(_THIS_MACHINE):
            _log.warning("everybody who reaches this address may use it; ask for a password with --auth user:password")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First: every open page holds a stream that ends with its job, and uvicorn waits for all that is open.
        await self._end_jobs()
        await super().shutdown(sockets)


def lan_address() -> str:
    """Return the address other machines of this network reach this one by; sends no packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation: it only makes the system pick a source
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this line is part of the contract
