"""Who sends a request: the account of a session's cookie, of `Basic name:password`, or of `Bearer key`."""

import asyncio
import base64
import binascii
import hmac
import logging
import secrets
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from zimage_cache.accounts.limits import Attempts
from zimage_cache.accounts.sessions import IDLE_SECONDS, Sessions
from zimage_cache.accounts.source import UserSource
from zimage_cache.accounts.users import Account
from zimage_cache.addresses import client_of
from zimage_cache.lru import ByteLRU
from zimage_cache.web.errors import Refused
from zimage_cache.web.root_path import address

_log = logging.getLogger(__name__)
_COOKIE: Final = "zimage_session"
_MOST_PROVEN: Final = 10_000
_MOST_WAITING: Final = 50  # requests for a verification
_VERIFYING_SECONDS: Final = 5  # until so many are through, about
_REALM: Final = 'realm="Z-Image", charset="UTF-8"'


class Authentication:
    """Identifies the senders of requests.

    Passwords are verified slowly and a bounded number of times a minute. What was right once is remembered by a keyed
    digest, so that programs that send a password with each request wait for one verification.

    Args:
        users: The users and API keys of this server.
        sessions: The signed-in browsers.
        attempts: Limits on passwords that are verified.
    """

    def __init__(self, users: UserSource, sessions: Sessions, attempts: Attempts | None = None) -> None:
        self._source = users
        self._sessions = sessions
        self._attempts = attempts or Attempts()
        self._verifying = asyncio.Lock()  # a verification takes 64 MiB: one at a time
        self._waiting = 0
        self._secret = secrets.token_bytes(32)
        self._proven: ByteLRU[bytes, tuple[str, str]] = ByteLRU(0, lambda _: 1, _MOST_PROVEN)

    async def account(self, scope: Scope, headers: Headers) -> Account:
        """Return the account of a request.

        A session counts before `Authorization`, which proxies with passwords of their own pass on.

        Raises:
            Refused: `unauthorized`, without or with wrong credentials; `rate_limited` after too many wrong ones.
        """
        await self._source.refresh()
        given = headers.get("authorization")
        found = await self._by_cookie(headers) or (await self._by_header(scope, given) if given else None)
        if found is None:
            raise Refused("unauthorized", "password_needed", headers={"WWW-Authenticate": _challenge(headers)})
        return found

    async def sign_in(self, scope: Scope, headers: Headers, name: str, password: str) -> str | None:
        """Begin a session for a browser; return its cookie, or None where name or password are wrong.

        Raises:
            Refused: `rate_limited`: there were too many attempts.
        """
        account = await self._with_password(scope, name, password)
        if account is None:
            return None
        token = await asyncio.to_thread(self._sessions.begin, account.name, account.mark)
        return _cookie(scope, headers, token, int(IDLE_SECONDS))

    async def sign_out(self, scope: Scope, headers: Headers) -> str:
        """End the session of a browser; return the cookie that removes its own."""
        if token := _token(headers):
            await asyncio.to_thread(self._sessions.end, token)
        return _cookie(scope, headers, "", 0)

    async def _by_cookie(self, headers: Headers) -> Account | None:
        token = _token(headers)
        if not token:
            return None
        session = self._sessions.known(token) or await asyncio.to_thread(self._sessions.find, token)
        return self._current(session.name, session.mark) if session else None

    async def _by_header(self, scope: Scope, given: str) -> Account | None:
        scheme, _, credentials = given.partition(" ")
        text = credentials.strip().encode("latin-1")
        match scheme.lower():
            case "basic":
                name, _, password = _decoded(text).partition(":")
                return await self._with_password(scope, name, password)
            case "bearer":
                key = text.decode(errors="replace")
                return self._source.current.with_key(key) or self._with_plain(scope, key)
        return None

    def _current(self, name: str, mark: str) -> Account | None:
        """Return the account, unless it was removed or its password changed since *mark* was made."""
        account = self._source.current.get(name)
        return account if account is not None and account.mark == mark else None

    def _with_plain(self, scope: Scope, password: str) -> Account | None:
        if not password:
            return None
        if (proven := self._remembered("", password)) is not None:
            return proven
        self._count(scope, "")
        return self._told(scope, "", password, self._source.current.with_plain(password))

    async def _with_password(self, scope: Scope, name: str, password: str) -> Account | None:
        name = name.strip()
        if not name or not password:
            return None
        if (proven := self._remembered(name, password)) is not None:
            return proven
        if self._waiting >= _MOST_WAITING:
            raise _slow_down(_VERIFYING_SECONDS)
        self._waiting += 1
        try:
            async with self._verifying:
                # Requests that arrived together wait for one verification.
                if (proven := self._remembered(name, password)) is not None:
                    return proven
                self._count(scope, name)
                await self._source.refresh(at_once=True)  # a user may have been added just now
                account = await asyncio.to_thread(self._source.current.with_password, name, password)
        finally:
            self._waiting -= 1
        return self._told(scope, name, password, account)

    def _remembered(self, name: str, password: str) -> Account | None:
        proven = self._proven.get(self._proof(name, password))
        return self._current(*proven) if proven else None

    def _proof(self, name: str, password: str) -> bytes:
        return hmac.digest(self._secret, f"{name}\0{password}".encode(errors="surrogatepass"), "sha256")

    def _count(self, scope: Scope, name: str) -> None:
        """Count an attempt.

        Raises:
            Refused: There were too many.
        """
        if seconds := self._attempts.wait(_client(scope), name):
            _log.warning("sign_ins_slowed name=%.64r address=%s", name, _client(scope))
            raise _slow_down(seconds)

    def _told(self, scope: Scope, name: str, password: str, account: Account | None) -> Account | None:
        """Remember the account of a right password, and log a wrong one."""
        if account is None:
            _log.warning("sign_in_failed name=%.64r address=%s", name, _client(scope))
        else:
            self._proven.put(self._proof(name, password), (account.name, account.mark))
        return account


def _client(scope: Scope) -> str:
    return client_of((scope.get("client") or ("", 0))[0])


def _slow_down(seconds: int) -> Refused:
    return Refused("rate_limited", "too_many_attempts", seconds=seconds, headers={"Retry-After": str(seconds)})


def _decoded(credentials: bytes) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        return ""


def _challenge(headers: Headers) -> str:
    """Return the scheme to sign in by. Browsers would open a window of their own for `Basic`, in front of our page."""
    is_browser = "accept-language" in headers or "sec-fetch-mode" in headers or _COOKIE in headers.get("cookie", "")
    return f"Bearer {_REALM}" if is_browser else f"Basic {_REALM}"


def _token(headers: Headers) -> str:
    return cookie_parser(headers.get("cookie", "")).get(_name(headers), "")


def _name(headers: Headers) -> str:
    """Return the name of the cookie, with the server's port: browsers share cookies among the ports of a name."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"{_COOKIE}_{port}" if port.isdecimal() and port.isascii() else _COOKIE


def _cookie(scope: Scope, headers: Headers, token: str, seconds: int) -> str:
    secure = "; Secure" if scope["scheme"] == "https" else ""
    return f"{_name(headers)}={token}; Path={address('/')}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
