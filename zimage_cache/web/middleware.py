"""One ASGI middleware in front of all routes, Gradio's included: checks requests, bounds bodies, adds headers.

Not `BaseHTTPMiddleware`: it hides a client's disconnect from the routes, which end their wait on it.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Collection, Iterable
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zimage_cache import request_id
from zimage_cache.accounts.users import ANYONE
from zimage_cache.addresses import EVERY_NAME, HostNames, is_address
from zimage_cache.web import language
from zimage_cache.web.authentication import Authentication
from zimage_cache.web.bodies import Bodies, Body, BodyDropped
from zimage_cache.web.errors import COMMON_HEADERS, Refused, error_response
from zimage_cache.web.login import SIGN_IN, SIGN_OUT, login_page, wants_page
from zimage_cache.web.proxies import Proxies
from zimage_cache.web.root_path import inner, outer, set_root_path, to_slash

MAX_BODY_BYTES: Final = 2**20
# Limits of all bodies together; pictures have a separate one, so that they leave room for the others.
MAX_ARRIVING_BYTES: Final = 32 * 2**20
MAX_ARRIVING_PICTURES: Final = 64 * 2**20
# Users drop pictures on the page, which are larger than JSON; in JSON, as base64, they have a third more bytes.
_LARGER_BODIES: Final = MappingProxyType({"/png-info": 20 * 2**20, "/sdapi/v1/png-info": 27 * 2**20})
_IPV6: Final = r"[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]{1,45}(?:%[\w.~%-]{1,50})?"
_HOST: Final = re.compile(rf"(?:\[(?P<literal>{_IPV6})\]|(?P<name>[^:@\[\]/?#\s]{{0,255}}))(?::\d{{0,5}})?", re.ASCII)
_SHOWN: Final = 100
_FOREIGN: Final = frozenset({"cross-site", "same-site"})
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
# Answered to senders without an account too, with less; and what they need to sign in.
_OPEN: Final = frozenset({"/health", "/ready", "/favicon.ico", SIGN_IN, SIGN_OUT})
# Answers are sent in pieces of so many bytes, so that the connection does not buffer a second copy of a whole answer.
_PIECE: Final = 2**18
# Gradio's page has inline scripts and makes functions of the texts of events; everything else stays with this server.
_PAGE_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'self'; object-src 'none'; base-uri 'self'; form-action 'self'"
)


Check = Callable[[Scope, Headers], Refused | None]

_BUSY: Final = Refused("busy", "too_many_bodies")
_STOPPING: Final = Refused("cancelled", "stopping")


class BodyTooLarge(Exception):
    """A body is larger than the limit, without or in spite of its Content-Length."""


class Guard:
    """Runs *checks* in order, then the application, below *root_path*; adds headers to every answer.

    What trusted *proxies* tell of a request is applied before. With *authentication*, a request needs an account, which
    is in its scope then; a few routes answer without one. The headers are the request id, `nosniff`, on pages a content
    security policy, and with authentication `no-store` where an answer says nothing else. WebSocket is not supported:
    such connections are closed without a check.
    """

    def __init__(
        self,
        app: ASGIApp,
        checks: Iterable[Check],
        *,
        authentication: Authentication | None = None,
        proxies: Iterable[str] = (),
        root_path: str = "",
        max_body_bytes: int = MAX_BODY_BYTES,
        max_arriving_bytes: int = MAX_ARRIVING_BYTES,
        max_arriving_pictures: int = MAX_ARRIVING_PICTURES,
    ) -> None:
        self._app = app
        self._checks = list(checks)
        self._authentication = authentication
        self._proxies = Proxies(proxies)
        self._root_path = root_path
        self._max_body_bytes = max_body_bytes
        self.bodies = Bodies(max_arriving_bytes)
        self._pictures = Bodies(max_arriving_pictures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(inner(self._proxies.applied(_origin_form(scope)), self._root_path), receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        language.set_language(headers.get("accept-language"))
        set_root_path(self._root_path)
        identifier = request_id.set_request_id(headers.get(request_id.HEADER))
        stamped = _Stamped(send, identifier, private=self._authentication is not None)
        refusal = next(filter(None, (check(scope, headers) for check in self._checks)), None)
        if refusal is not None:
            await error_response(refusal, scope)(scope, receive, stamped)
            return
        if redirect := to_slash(scope, self._root_path):
            await redirect(scope, receive, stamped)
            return
        try:
            await self._identify(scope, headers)
        except Refused as unknown:
            answer = login_page(scope, unknown) if wants_page(scope, headers) else error_response(unknown, scope)
            await answer(scope, receive, stamped)
            return
        limit = max_body_bytes(scope, self._max_body_bytes)
        bodies = self._pictures if scope["path"] in _LARGER_BODIES else self.bodies
        with bodies.counted(scope) as body:
            try:
                await self._app(outer(scope, self._root_path), _bounded(receive, limit, bodies, body), stamped)
            except BodyTooLarge:
                await _end(_too_large(limit), scope, receive, stamped)
            except BodyDropped:
                await _end(_BUSY, scope, receive, stamped)
            except asyncio.CancelledError:
                # Otherwise only a server that stops cancels a request, after its grace time: no error.
                await _end(_BUSY if body.dropped else _STOPPING, scope, receive, stamped)

    async def _identify(self, scope: Scope, headers: Headers) -> None:
        """Set the request's account, if it has one.

        Raises:
            Refused: It has none, and the route needs one.
        """
        if self._authentication is None:
            scope["account"] = ANYONE
            return
        try:
            scope["account"] = await self._authentication.account(scope, headers)
        except Refused:
            if scope["path"] not in _OPEN:
                raise


def _bounded(receive: Receive, limit: int, bodies: Bodies, body: Body) -> Receive:
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        size = len(message.get("body", b""))
        received += size
        if received > limit:
            raise BodyTooLarge
        bodies.add(body, size, more=message.get("more_body", False))
        return message

    return bounded


def _origin_form(scope: Scope) -> Scope:
    """Serve `GET http://name/path` as `GET /path` of that name, instead of `Host` (RFC 9112, 3.2.2)."""
    if not scope["path"].lower().startswith(("http://", "https://")):
        return scope
    raw_path: bytes = scope["raw_path"]
    name, _, rest = raw_path.partition(b"://")[2].partition(b"/")
    headers = [(b"host", name), *(header for header in scope["headers"] if header[0] != b"host")]
    return {**scope, "path": unquote(f"/{rest.decode()}"), "raw_path": b"/" + rest, "headers": headers}


def checks(allowed_hosts: Iterable[str]) -> list[Check]:
    """Return the checks of every request.

    Args:
        allowed_hosts: Names this server answers to beside loopback names, its own name and IP literals, in the form of
            `addresses.host_name`.
    """
    names = frozenset(allowed_hosts)
    return [body_size, host_rule(names), origin_rule(names)]


def max_body_bytes(scope: Scope, usual: int = MAX_BODY_BYTES) -> int:
    """Return the most bytes a body may have: *usual*, but more for routes that receive pictures."""
    return _LARGER_BODIES.get(scope["path"], usual)


def body_size(scope: Scope, headers: Headers) -> Refused | None:
    """Refuse a body whose Content-Length is too large, before reading it."""
    length, limit = headers.get("content-length", "0"), max_body_bytes(scope)
    return _too_large(limit) if not length.isdecimal() or int(length) > limit else None


def host_rule(allowed: Collection[str]) -> Check:
    """Accept only this server's names in `Host`: another name may be a DNS rebinding attack."""
    names = HostNames({*_own_names(), *allowed})

    def check(_scope: Scope, headers: Headers) -> Refused | None:
        name = _host_name(headers.get("host", ""))
        if name in names or is_address(name):
            return None
        return Refused("forbidden", "wrong_host", name=name)

    return check


def origin_rule(allowed: Collection[str]) -> Check:
    """Refuse requests of other web sites, except reads; programs send no `Origin` and are accepted.

    A page is this server's where its address is that in `Host`; where *allowed* has its name, at any port, because
    proxies change `Host`; and where the browser itself says so and the name is one of this server's. The name counts in
    that case too: a page whose name leads here by DNS rebinding is of one origin with this server for the browser.
    """
    names, listed = HostNames({*_own_names(), *allowed}), HostNames(frozenset(allowed) - {EVERY_NAME})

    def check(scope: Scope, headers: Headers) -> Refused | None:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if scope["method"] in _READING or (origin is None and site not in _FOREIGN):
            return None
        if origin is None or site in _FOREIGN:
            return Refused("forbidden_origin", "other_site")
        page = _authority(origin)
        name = _host_name(page)
        same = site == "same-origin" and (name in names or is_address(name))
        if page and (same or name in listed or page == headers.get("host", "").lower()):
            return None
        if not (page and origin.lower().startswith(("http://", "https://"))):
            return Refused("forbidden_origin", "nameless_origin", origin=origin[:_SHOWN])
        host = headers.get("host", "")[:_SHOWN]
        return Refused("forbidden_origin", "other_origin", origin=origin[:_SHOWN], host=host, name=name)

    return check


def _own_names() -> frozenset[str]:
    own = socket.gethostname().lower()
    return _LOOPBACK | {own, f"{own}.local"}


class _Stamped:
    """Sends an answer with the common headers added."""

    def __init__(self, send: Send, identifier: str, *, private: bool) -> None:
        self.started = self.complete = False
        self._send = send
        self._private = private
        self._identifier = identifier

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers[request_id.HEADER] = self._identifier
            headers.update(COMMON_HEADERS)
            if headers.get("content-type", "").startswith("text/html"):
                headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
            if self._private:
                headers.setdefault("Cache-Control", "no-store")
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
            await self._send_rest(message)
            return
        await self._send(message)

    async def _send_rest(self, message: Message) -> None:
        body = memoryview(message.get("body", b""))
        last = max(0, len(body) - 1) // _PIECE * _PIECE
        for start in range(0, last, _PIECE):
            await self._send({**message, "body": body[start : start + _PIECE], "more_body": True})
        await self._send({**message, "body": body[last:]})


async def _end(refusal: Refused, scope: Scope, receive: Receive, stamped: _Stamped) -> None:
    """Send a refusal; if the answer has begun, only end it."""
    if not stamped.started:
        await error_response(refusal, scope)(scope, receive, stamped)
    elif not stamped.complete:
        await stamped({"type": "http.response.body"})


def _too_large(limit: int) -> Refused:
    return Refused("too_large", "body_too_large", most=limit)


def _host_name(host: str) -> str:
    """Strip the port, and the brackets of an IPv6 literal; invalid text is returned unchanged, but shortened."""
    found = _HOST.fullmatch(host)
    return (found["literal"] or found["name"] or "" if found else host[:_SHOWN]).lower()


def _authority(origin: str) -> str:
    """Return name and port in `Origin`; "" where it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # brackets without an IPv6 address
        return ""
