"""Limits the number and the waiting times of connections, so that slow or idle ones do not block others.

uvicorn has one time-out, for a connection between two requests. This module adds limits for receiving the head of a
request, receiving its body, and sending its answer. A request that waits for a picture or a job's events has no limit.

Between two requests a connection stays open for longer than clients and proxies keep theirs (httpx and uvicorn 5 s,
nginx and load balancers 60 s): where the server closes first, the next request may already be on its way and is lost.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from zimage_cache.web.errors import COMMON_HEADERS, RETRY_AFTER_SECONDS, Refused, error_body

MAX_HEAD: Final = 2**14
# Bytes read at once. h11 limits a head only while it is incomplete, so this is the limit of a head read at once.
_READ: Final = 2**14
# Each chunk of a chunked body takes 15 microseconds, independent of its size.
_FEW_PIECES: Final = 500
_SMALL_PIECE: Final = 256


class ConnectionPhase(Enum):
    """What a connection waits for: another request after an answer, the head of a request, its body, or the answer."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBounds:
    """How many connections there may be, and how long each may take.

    Args:
        connections: Maximum number. Beyond it, the connection that has been idle longest is closed, else the one that
            has waited longest for a head, else for a body.
        idle_seconds: From an answer to the first byte of the next request.
        head_seconds: From the start of the connection, or from the first byte, until a request's head is complete.
        body_seconds: From the head until the body is complete; *body_rate* more bytes add one second.
        body_rate: Bytes per second.
        answer_seconds: How long a client may receive none of the bytes sent to it.
    """

    connections: int = 1000
    idle_seconds: int = 75
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    body_rate: int = 2**14
    answer_seconds: float = 60.0


class Connections:
    """All connections of one server.

    For the thread of the event loop only.
    """

    def __init__(self, bounds: ConnectionBounds, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds = bounds
        self._clock = clock
        # By phase, with the time at which it began; in insertion order, so the longest is first.
        self._waiting: dict[ConnectionPhase, dict[Connection, float]] = {phase: {} for phase in ConnectionPhase}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def of(self, phase: ConnectionPhase) -> "list[Connection]":
        """List the connections in *phase*, the longest first."""
        return list(self._waiting[phase])

    def protocol(self, **options: Any) -> "Connection":  # noqa: ANN401 - what uvicorn passes to its own protocol
        """Return the protocol object of a new connection; called by uvicorn."""
        return Connection(self, **options)

    def add(self, connection: "Connection") -> None:
        """Add a new connection; above the maximum number, end one."""
        self.note(connection)
        if len(self) > self._bounds.connections:
            spared = self._spared_for(connection)
            self.remove(spared)
            if spared is connection:
                spared.end(HTTPStatus.SERVICE_UNAVAILABLE, Refused("busy", "too_many_connections"))
            else:
                spared.transport.abort()

    def note(self, connection: "Connection") -> None:
        """Record the phase of a connection after it may have changed."""
        phase = connection.phase
        if connection not in self._waiting[phase]:
            self.remove(connection)
            self._waiting[phase][connection] = self._clock()

    def remove(self, connection: "Connection") -> None:
        """Remove a connection that has ended."""
        for waiting in self._waiting.values():
            waiting.pop(connection, None)

    def sweep(self) -> None:
        """End the connections whose time limit has passed."""
        now = self._clock()
        for phase, waiting in self._waiting.items():
            for connection, since in list(waiting.items()):
                if now > self._until(connection, phase, since):
                    self.remove(connection)
                    connection.give_up()

    def now(self) -> float:
        """Return the present time, in monotonic seconds."""
        return self._clock()

    def _until(self, connection: "Connection", phase: ConnectionPhase, since: float) -> float:
        bounds = self._bounds
        if connection.full_since is not None:
            return connection.full_since + bounds.answer_seconds
        if phase is ConnectionPhase.ANSWER:
            return float("inf")
        if connection.transport.get_write_buffer_size():
            return since + bounds.answer_seconds
        if phase is ConnectionPhase.IDLE:
            return since + bounds.idle_seconds
        if phase is ConnectionPhase.HEAD:
            return since + bounds.head_seconds
        return since + bounds.body_seconds + connection.arrived / bounds.body_rate

    def _spared_for(self, newest: "Connection") -> "Connection":
        """Return the one longest idle, else waiting for a head or a body, else one of the address with the most."""
        for phase in (ConnectionPhase.IDLE, ConnectionPhase.HEAD, ConnectionPhase.BODY):
            for connection in self._waiting[phase]:
                if connection is not newest:
                    return connection
        answered = self.of(ConnectionPhase.ANSWER)
        addresses = Counter(connection.address for connection in answered)
        greediest, number = addresses.most_common(1)[0]
        if number <= addresses[newest.address] + 1:
            return newest
        return next(connection for connection in answered if connection.address == greediest)


class Connection(H11Protocol):
    """uvicorn's protocol, which reports its phase to `Connections`; bodies in very small chunks are refused."""

    transport: Any
    full_since: float | None = None  # since when sending waits, because the client receives too slowly

    def __init__(self, connections: Connections, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(**options)
        self.conn = self._pieces = _Pieces()
        self._connections = connections

    @property
    def phase(self) -> ConnectionPhase:
        """What the connection waits for."""
        if self.conn.their_state is h11.SEND_BODY:
            return ConnectionPhase.BODY
        cycle = self._cycle
        if cycle is not None and not cycle.response_complete:
            return ConnectionPhase.ANSWER
        return ConnectionPhase.HEAD if cycle is None or self.conn.trailing_data[0] else ConnectionPhase.IDLE

    @property
    def arrived(self) -> int:
        """Received bytes of the present body."""
        return self._pieces.bytes

    @property
    def address(self) -> str:
        """The client's address, without its port."""
        return self.client[0] if self.client else ""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's, which says less than it has
        transport.max_size = _READ
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        self.full_since = self._connections.now()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.full_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words, for people who read its code
        self.end(HTTPStatus.BAD_REQUEST, Refused("bad_request", "invalid_http"))

    def give_up(self) -> None:
        """End the connection after its time limit."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        elif self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self.transport.close()  # idle: no request has begun, so there is nothing to answer
        else:
            self.end(HTTPStatus.REQUEST_TIMEOUT, Refused("timed_out", "request_too_slow"))

    def end(self, status: HTTPStatus, refused: Refused) -> None:
        """Send an error, in English, without the application and close; after an answer has begun, only close."""
        cycle = self._cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()
            return
        self.transport.write(_answer(status, refused))
        self.transport.close()

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        return self.cycle  # None before the first request, which uvicorn's annotation omits

    def _note(self) -> None:
        if not self.transport.is_closing():
            self._connections.note(self)


class _Pieces(h11.Connection):
    """An h11 connection that refuses a body in very many very small chunks."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD)
        self.bytes = self._number = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if type(event) is h11.Request:
            self.bytes = self._number = 0
        elif type(event) is h11.Data:
            self.bytes += len(event.data)
            self._number += 1
            if self._number > _FEW_PIECES + self.bytes // _SMALL_PIECE:
                raise h11.RemoteProtocolError("a body in tiny pieces")
        return event


def _answer(status: HTTPStatus, refused: Refused) -> bytes:
    body = json.dumps({"error": error_body(refused, request_id="-")})
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    lines = [
        f"HTTP/1.1 {status} {status.phrase}",
        *(f"{n}: {v}" for n, v in (headers | retry | dict(COMMON_HEADERS)).items()),
    ]
    return "\r\n".join([*lines, "", body]).encode()
