"""The edge: one pure ASGI guard in front of our routes, Gradio's page and Gradio's API alike.

Not `BaseHTTPMiddleware`: it hides a client's disconnect from the routes, and with it the end of a wait.
"""

import asyncio
import base64
import hmac
import ipaddress
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zimage_cache.web import request_id
from zimage_cache.web.errors import error_response

MAX_BODY_BYTES: Final = 2**20
# What people drop on the page is a picture, not JSON.
_LARGER_BODIES: Final = MappingProxyType({"/png-info": 20 * 2**20})
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
_OPEN: Final = frozenset({"/health", "/ready"})
# Gradio answers these although this program takes no files through it and publishes no monitoring.
_CLOSED: Final = ("/gradio_api/upload", "/monitoring", "/gradio_api/monitoring", "/gradio_api/proxy")
# Gradio's page needs inline scripts and evaluates its templates; everything else stays with this server.
_PAGE_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'self'; object-src 'none'; base-uri 'self'; form-action 'self'"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further."""

    code: str
    message: str
    headers: dict[str, str] | None = None


Check = Callable[[Scope, Headers], Refusal | None]


class BodyTooLarge(Exception):
    """A body without a truthful Content-Length turned out too large."""


class Guard:
    """Runs *checks* in order, then the application; stamps every answer.

    Adds to each answer its request id, `nosniff`, and on pages a content security policy.
    """

    def __init__(self, app: ASGIApp, checks: Iterable[Check], max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._checks = list(checks)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        stamped = _Stamped(send, request_id.begin(headers.get(request_id.HEADER)))
        refusal = next(filter(None, (check(scope, headers) for check in self._checks)), None)
        if refusal is not None:
            await _refuse(refusal)(scope, receive, stamped)
            return
        limit = max_body_bytes(scope, self._max_body_bytes)
        try:
            await self._app(scope, self._bounded(receive, limit), stamped)
        except BodyTooLarge:
            await _refuse(_too_large(limit))(scope, receive, stamped)
        except asyncio.CancelledError:
            # Only a stopping server cancels a whole request, one that outlived its patience: an end, no error.
            if not stamped.started:
                await _refuse(Refusal("cancelled", "the server is stopping"))(scope, receive, stamped)
            elif not stamped.complete:
                await stamped({"type": "http.response.body"})

    @staticmethod
    def _bounded(receive: Receive, limit: int) -> Receive:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise BodyTooLarge
            return message

        return bounded


def checks(allowed_hosts: Iterable[str], credentials: tuple[str, str] | None) -> list[Check]:
    """Compose the edge's rules.

    Args:
        allowed_hosts: Names this server answers to beside loopback names, its own name and IP literals.
        credentials: User and password everything but `/health` and `/ready` asks for; None = open.
    """
    rules = [body_size, closed_paths, host_rule(allowed_hosts), same_origin]
    return [*rules, auth_rule(*credentials)] if credentials else rules


def max_body_bytes(scope: Scope, usual: int = MAX_BODY_BYTES) -> int:
    """Return the most bytes a body may have: the *usual* ones, but more where pictures are sent."""
    return _LARGER_BODIES.get(scope["path"], usual)


def body_size(scope: Scope, headers: Headers) -> Refusal | None:
    """Refuse a body that announces to be too large before reading any of it."""
    length, limit = headers.get("content-length", "0"), max_body_bytes(scope)
    return _too_large(limit) if not length.isdecimal() or int(length) > limit else None


def closed_paths(scope: Scope, _headers: Headers) -> Refusal | None:
    """Hide what Gradio would offer and this program does not."""
    return Refusal("not_found", "there is nothing here") if scope["path"].startswith(_CLOSED) else None


def host_rule(allowed_hosts: Iterable[str]) -> Check:
    """Answer only to our own names: a foreign name in `Host` is how DNS rebinding looks."""
    names = _LOOPBACK | {socket.gethostname().lower()} | {name.lower() for name in allowed_hosts}

    def check(_scope: Scope, headers: Headers) -> Refusal | None:
        name = _host_name(headers.get("host", ""))
        if name in names or _is_ip(name):
            return None
        return Refusal("forbidden", f"this server does not answer to the name {name!a}; allow it with --allowed-host")

    return check


def same_origin(scope: Scope, headers: Headers) -> Refusal | None:
    """Let only our own pages send anything but reads; programs send no `Origin` and pass."""
    if scope["method"] in _READING:
        return None
    origin = headers.get("origin")
    foreign = origin is not None and _authority(origin) != headers.get("host", "").lower()
    if foreign or headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        return Refusal("forbidden_origin", "requests from other web sites are not answered")
    return None


def auth_rule(user: str, password: str) -> Check:
    """Ask for `Basic user:password`, or `Bearer password` from programs."""
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    accepted = {"basic": basic.encode(), "bearer": password.encode()}

    def check(scope: Scope, headers: Headers) -> Refusal | None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Compared even when the scheme is unknown, so that time tells nothing.
        expected = accepted.get(scheme.lower(), b"")
        scope["authorized"] = hmac.compare_digest(given.strip().encode("latin-1"), expected) and bool(expected)
        if scope["authorized"] or scope["path"] in _OPEN:
            return None
        challenge = {"WWW-Authenticate": 'Basic realm="Z-Image", charset="UTF-8"'}
        return Refusal("unauthorized", "this server asks for a user name and a password", challenge)

    return check


class _Stamped:
    """Sends an answer with our headers on it."""

    def __init__(self, send: Send, identifier: str) -> None:
        self.started = self.complete = False
        self._send = send
        self._identifier = identifier

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers[request_id.HEADER] = self._identifier
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "same-origin"
            if headers.get("content-type", "").startswith("text/html"):
                headers["Content-Security-Policy"] = _PAGE_POLICY
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
        await self._send(message)


def _refuse(refusal: Refusal) -> ASGIApp:
    return error_response(refusal.code, refusal.message, headers=refusal.headers)


def _too_large(limit: int) -> Refusal:
    return Refusal("too_large", f"a request's body may have {limit} bytes")


def _host_name(host: str) -> str:
    """Strip the port, and the brackets of an IPv6 literal."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # brackets that hold no IPv6 address
        return None


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
