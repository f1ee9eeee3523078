"""The routes by which Gradio's clients describe, call and cancel its named endpoints, and what passes them.

Gradio trusts what a call says of itself: which function, even those of no endpoint, and whose session under any name.
Here it is read first, strictly, and only the fields that a call needs are passed on.
"""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Annotated, Any, Final

from gradio.queueing import Queue
from gradio.routes import App
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from zimage_cache.errors import QueueFull
from zimage_cache.validation import invalid_request
from zimage_cache.web.api.accounts import account_of, lane_of
from zimage_cache.web.api.routes import Refuse
from zimage_cache.web.body import GenerateBody, json_body
from zimage_cache.web.errors import Refused
from zimage_cache.web.root_path import inner_path

ENDPOINTS: Final = ("generate", "lookup", "cache_stats")
_ENDPOINT: Final = f"(?:{'|'.join(ENDPOINTS)})"
_STREAM: Final = re.compile(rf"/gradio_api/(?:queue/data|call/{_ENDPOINT}/(?P<event>[0-9a-f]{{32}}))", re.ASCII)
_POSTED: Final = re.compile(rf"/gradio_api/(?:queue/join|cancel|reset|call/{_ENDPOINT})", re.ASCII)
_DESCRIPTIONS: Final = frozenset({"/config", "/gradio_api/info", "/gradio_api/info/"})
_CONTEXT: Final = "zimage.context"
MOST_SESSIONS: Final = 500
MOST_OF_A_USER: Final = 100
_GRACE_SECONDS: Final = 10.0
_KEPT_SECONDS: Final = 900.0
MOST_UNREAD: Final = 64  # calls of one session; Gradio's client makes 40 at once
_MOST_VALUES: Final = len(GenerateBody.model_fields)
_refuse_reading, _refuse_sending = Refuse({"POST"}), Refuse({"GET"})

_Number = Annotated[int, Field(strict=True, ge=0, lt=len(ENDPOINTS))]


def _filled(data: list[Any]) -> list[Any]:
    return data + [None] * (_MOST_VALUES - len(data))


class _Call(BaseModel):
    """A call of an endpoint by its number or, where that is in the path, by its name.

    Values that are not there are null, which means the default.
    """

    data: Annotated[list[Any], Field(max_length=_MOST_VALUES), AfterValidator(_filled)]
    fn_index: _Number | None = None
    session_hash: str | None = None


class _Cancellation(BaseModel):
    """A cancellation, or the sign that a call is not followed any more."""

    event_id: Annotated[str, Field(max_length=64)]
    fn_index: _Number = 0
    session_hash: str = ""


def is_call(path: str) -> bool:
    """Return whether *path* is a route by which Gradio's clients call named endpoints."""
    return path in _DESCRIPTIONS or _STREAM.fullmatch(path) is not None or _POSTED.fullmatch(path) is not None


class Sessions:
    """The sessions of Gradio's *queue*, whose answers are in memory until they are read: bounded for each user.

    For the event loop's thread only.
    """

    def __init__(self, queue: Queue, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._clock = clock
        self._called: dict[str, tuple[str, float]] = {}  # by session: the user, and the time of the last call

    def require_room(self, session: str, user: str) -> None:
        """Note a call of a session.

        Raises:
            QueueFull: The session has too many calls that were not read, or the user too many sessions, or all have.
        """
        self._forget()
        if len(self._queue.pending_event_ids_session.get(session, ())) >= MOST_UNREAD:
            raise QueueFull("too_many_jobs", taken=MOST_UNREAD, most=MOST_UNREAD)
        if session not in self._called:
            own = sum(whose == user for whose, _ in self._called.values())
            if own >= MOST_OF_A_USER or len(self._called) >= MOST_SESSIONS:
                raise QueueFull("too_many_jobs", taken=own, most=MOST_OF_A_USER)
        self._called[session] = user, self._clock()

    def has_calls(self, session: str) -> bool:
        """Return whether a session has calls that were not read: a stream of any other would never end."""
        return bool(self._queue.pending_event_ids_session.get(session))

    def _forget(self) -> None:
        """Forget sessions of which all was read, a few seconds after their last call, and those that never read."""
        now = self._clock()
        for session, (_, called) in list(self._called.items()):
            if now - called > (_KEPT_SECONDS if self.has_calls(session) else _GRACE_SECONDS):
                del self._called[session]
                self._queue.pending_event_ids_session.pop(session, None)
                if session in self._queue.pending_messages_per_session:
                    del self._queue.pending_messages_per_session[session]


class Calls:
    """ASGI application in front of *gradio*, which has the endpoints; for paths that are calls only."""

    def __init__(self, gradio: App) -> None:
        self._gradio = gradio
        self._queue = gradio.get_blocks()._queue  # noqa: SLF001 - there is no other way to it
        self._sessions = Sessions(self._queue)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = inner_path(scope), scope["method"]
        sent, stream = _POSTED.fullmatch(path), _STREAM.fullmatch(path)
        if method != ("POST" if sent else "GET"):
            await (_refuse_reading if sent else _refuse_sending)(scope, receive, send)
            return
        if sent:
            body = await _read(Request(scope, receive), _Cancellation if path.endswith(("cancel", "reset")) else _Call)
            if isinstance(body, _Call):
                # A call without a session gets one of its own, so that it counts.
                body.session_hash = body.session_hash or _session(scope, secrets.token_hex(16))
                self._sessions.require_room(body.session_hash, lane_of(Request(scope)))
            receive = _replayed(body, receive)
        elif stream and not self._exists(scope, stream["event"]):
            raise Refused("not_found", "no_such_job")
        # Without `page`, Gradio caches the description, in which is the address of its first reader.
        query = f"session_hash={_asked_session(scope)}&page=".encode()
        await self._gradio({**scope, "query_string": query, _CONTEXT: copy_context()}, receive, send)

    def _exists(self, scope: Scope, event: str | None) -> bool:
        """Return whether there is such a call, or session: Gradio finds out after its answer has begun."""
        if event is None:
            return self._sessions.has_calls(_asked_session(scope))
        sessions = self._queue.pending_event_ids_session.values()
        return event in self._queue.event_ids_to_events or any(event in events for events in sessions)


def context_of(scope: Scope) -> Context:
    """Return the context variables of the request that made a call: Gradio executes the call in a task of its own."""
    context: Context = scope[_CONTEXT]
    return context.copy()


async def _read(request: Request, kind: type[_Call | _Cancellation]) -> _Call | _Cancellation:
    """Read and check a body.

    Raises:
        InvalidRequest: It is no call; names the field and the rule.
    """
    try:
        body = kind.model_validate(await json_body(request))
    except ValidationError as error:
        raise invalid_request(error) from None
    if body.session_hash is not None:
        body.session_hash = _session(request.scope, body.session_hash)
    return body


def _replayed(body: _Call | _Cancellation, then: Receive) -> Receive:
    """Return what receives *body*, and after that what the client does."""
    # Not `model_dump_json`: it writes infinity as null, and no lone surrogates.
    passed = json.dumps(body.model_dump(exclude_none=True)).encode()
    messages: list[Message] = [{"type": "http.request", "body": passed}]

    async def receive() -> Message:
        return messages.pop() if messages else await then()

    return receive


def _session(scope: Scope, name: str) -> str:
    """Return the name of a client's session, of a fixed length, and another one for each account."""
    return hashlib.sha256(f"{account_of(Request(scope)).name}\n{name}".encode(errors="replace")).hexdigest()


def _asked_session(scope: Scope) -> str:
    return _session(scope, Request(scope).query_params.get("session_hash", ""))
