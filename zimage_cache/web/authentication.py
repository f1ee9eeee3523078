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
from zimage_cache.accounts.users import Account, Users
from zimage_cache.lru import ByteLRU
from zimage_cache.web.errors import Refused
from zimage_cache.web.root_path import address

_log = logging.getLogger(__name__)
_COOKIE: Final = "zimage_session"
_MOST_PROVEN: Final = 10_000
_REALM: Final = 'realm="Z-Image", charset="UTF-8"'


class Authentication:
    """Identifies the senders of requests.

    Passwords are verified slowly and a bounded number of times a minute. What was right once is remembered by a keyed
    digest, so that programs that send a password with each request wait for it once.

    Args:
        users: The users and API keys of this server.
        sessions: The signed-in browsers.
        attempts: Limits on wrong passwords.
    """

    def __init__(self, users: UserSource, sessions: Sessions, attempts: Attempts | None = None) -> None:
        self._source = users
        self._sessions = sessions
        self._attempts = attempts or Attempts()
        self._verifying = asyncio.Lock()  # a verification takes 64 MiB: one at a time
        self._secret = secrets.token_bytes(32)
        self._proven: ByteLRU[bytes, tuple[str, str]] = ByteLRU(0, lambda _: 1, _MOST_PROVEN)

    @property
    def users(self) -> Users:
        """The users as they were a second ago or later."""
        return self._source.current

    async def account(self, scope: Scope, headers: Headers) -> Account:
        """Return the account of a request.

        Raises:
            Refused: `unauthorized`, without or with wrong credentials; `rate_limited` after too many wrong ones.
        """
        await self._source.refresh()
        given = headers.get("authorization")
        found = await (self._by_header(scope, given) if given else self._by_cookie(headers))
        if found is None:
            raise Refused("unauthorized", "password_needed", headers={"WWW-Authenticate": _challenge(headers)})
        return found

    async def sign_in(self, scope: Scope, headers: Headers, name: str, password: str) -> str | None:
        """Begin a session for a browser; return its cookie, or None where name or password are wrong.

        Raises:
            Refused: `rate_limited`: there were too many attempts.
        """
        await self._source.refresh()
        account = await self._with_password(scope, name.strip(), password) if name.strip() else None
        if account is None:
            return None
        token = await asyncio.to_thread(self._sessions.begin, account.name, self.users.mark(account.name))
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
        # A changed password ends the sessions from before, as does the removal of the user.
        if session is None or session.mark != self.users.mark(session.name):
            return None
        return self.users.get(session.name)

    async def _by_header(self, scope: Scope, given: str) -> Account | None:
        scheme, _, credentials = given.partition(" ")
        text = credentials.strip().encode("latin-1")
        match scheme.lower():
            case "basic":
                name, colon, password = _decoded(text).partition(":")
                return await self._proven_once(scope, name, password) if name and colon else None
            case "bearer":
                key = text.decode(errors="replace")
                return self.users.with_key(key) or await self._proven_once(scope, "", key)
        return None

    async def _proven_once(self, scope: Scope, name: str, password: str) -> Account | None:
        """Verify a password that was not right before; an empty name stands for that of a password sent alone."""
        proof = hmac.digest(self._secret, f"{name}\0{password}".encode(errors="surrogatepass"), "sha256")
        proven = self._proven.get(proof)
        if proven and proven[1] == self.users.mark(proven[0]):
            return self.users.get(proven[0])
        account = await self._with_password(scope, name, password)
        if account is not None:
            self._proven.put(proof, (account.name, self.users.mark(account.name)))
        return account

    async def _with_password(self, scope: Scope, name: str, password: str) -> Account | None:
        client = (scope.get("client") or ("", 0))[0]
        if seconds := self._attempts.wait(client, name):
            _log.warning("sign_ins_slowed name=%.64r address=%s", name, client)
            raise Refused("rate_limited", "too_many_attempts", seconds=seconds, headers={"Retry-After": str(seconds)})
        users = self.users
        async with self._verifying:
            verify = users.with_password if name else lambda _, given: users.with_plain(given)
            account = await asyncio.to_thread(verify, name, password)
        if account is None:
            _log.warning("sign_in_failed name=%.64r address=%s", name, client)
        return account


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
