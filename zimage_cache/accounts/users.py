"""The file of users: names with hashed passwords and hashed API keys; people may edit it, commands change it.

A line is `name:secret` or `name:secret:administrator`. The secret is an Argon2 hash of a password, `sha256$` with the
digest of an API key, or a password in plain text, as the first versions of this program had it. Empty lines and lines
that begin with `#` are comments. A name may have one password and any number of keys. Where no line names an
administrator, the first account is one.
"""

import hashlib
import os
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from zimage_cache.atomic import sync, unfinished
from zimage_cache.full_width import as_typed
from zimage_cache.text_files import read_text

_ADMINISTRATOR: Final = ":administrator"
_HASH: Final = re.compile(r"\$argon2(?:id|i|d)\$[A-Za-z0-9+/=$,]{1,300}")
HASHED_KEY: Final = "sha256$"
_KEY: Final = re.compile(r"sha256\$[0-9a-f]{64}")
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f:#\s]|[^\x00-\x1f\x7f:#\s][^\x00-\x1f\x7f:]{0,62}[^\x00-\x1f\x7f:\s]")
_KEY_BYTES: Final = 24
_KEY_PREFIX: Final = "zi_"
# 64 MiB and about 0.1 s each: the low-memory parameters of RFC 9106, which are the library's own.
_HASHER = PasswordHasher()


@dataclass(frozen=True, slots=True)
class Account:
    """The sender of a request.

    Args:
        name: "" for everyone, where a server has no users.
        administrator: May do everything.
        owner: Whose the pictures are that this account draws. The pictures of a server with one account are no one's,
            as are those of a server without users, so that they are listed under both; administrators see them.
    """

    name: str
    administrator: bool = False
    owner: str = ""

    @property
    def owners(self) -> frozenset[str]:
        """The owners whose pictures this account sees in the history."""
        return frozenset({self.name, self.owner} | ({""} if self.administrator else set()))


# The sender of every request to a server without users.
ANYONE: Final = Account("", administrator=True)


class Users:
    """The accounts of a server with their passwords and API keys, immutable.

    Args:
        accounts: At most one of each name. Where none is an administrator, the first one becomes one.
        hashes: Argon2 hashes of passwords by name. An account without one signs in by keys alone.
        keys: Names by the SHA-256 digests of their API keys.
        plain: Names by the digests of the passwords that are in plain text, which programs may send alone.
    """

    def __init__(
        self,
        accounts: Iterable[Account] = (),
        hashes: Mapping[str, str] | None = None,
        keys: Mapping[str, str] | None = None,
        plain: Mapping[str, str] | None = None,
    ) -> None:
        roles = {account.name: account.administrator for account in accounts}
        if roles and not any(roles.values()):
            roles[next(iter(roles))] = True
        self._accounts = {
            name: Account(name, administrator, name if len(roles) > 1 else "") for name, administrator in roles.items()
        }
        self._hashes = dict(hashes or {})
        self._keys = dict(keys or {})
        self._plain = dict(plain or {})

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def get(self, name: str) -> Account | None:
        """Return the account called *name*."""
        return self._accounts.get(name)

    def has_password(self, name: str) -> bool:
        """Return whether *name* can sign in by a password."""
        return name in self._hashes

    def keys_of(self, name: str) -> int:
        """Return how many API keys *name* has."""
        return list(self._keys.values()).count(name)

    def mark(self, name: str) -> str:
        """Return what changes with the password of *name*; sessions from before a change end by it."""
        return hashlib.sha256(self._hashes.get(name, "").encode()).hexdigest()

    def with_password(self, name: str, password: str) -> Account | None:
        """Return the account whose name and password these are. Takes about 0.1 s, as long for unknown names."""
        name = _normal(name)
        try:
            _HASHER.verify(self._hashes.get(name) or self._decoy, _normal(password))
        except (VerificationError, InvalidHashError):
            return None
        return self._accounts[name] if name in self._hashes else None

    def with_key(self, key: str) -> Account | None:
        """Return the account whose API key this is; keys are too long to be guessed, and need no slow hash."""
        return self._accounts.get(self._keys.get(key_digest(key), ""))

    def with_plain(self, password: str) -> Account | None:
        """Return the account whose password in plain text this is. Passwords may be short: count the attempts."""
        return self._accounts.get(self._plain.get(key_digest(password), ""))

    @cached_property
    def _decoy(self) -> str:
        """A hash to verify for unknown names, as expensive as that of a user."""
        return next(iter(self._hashes.values()), None) or _HASHER.hash(secrets.token_hex())


def users_of(lines: Iterable[str]) -> Users:
    """Parse the lines of a file of users.

    Raises:
        ValueError: A line is invalid: its number, and the rule; never the line, which may have a password in it.
    """
    accounts: dict[str, Account] = {}
    hashes: dict[str, str] = {}
    keys: dict[str, str] = {}
    plain: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        name, secret, administrator = _parts(entry, number)
        administrator = administrator or (name in accounts and accounts[name].administrator)
        accounts[name] = Account(name, administrator)
        if _KEY.fullmatch(secret):
            keys[secret.partition("$")[2]] = name
            continue
        if name in hashes:
            raise ValueError(f"line {number}: {name} has a password already")
        if not _HASH.fullmatch(secret):
            plain[key_digest(secret)] = name
            secret = hashed(secret)
        hashes[name] = secret
    return Users(accounts.values(), hashes, keys, plain)


def _parts(entry: str, number: int) -> tuple[str, str, bool]:
    if ":" not in entry:
        entry = re.sub(f"[{as_typed(':')}]", ":", entry, count=1)
    name, _, rest = entry.partition(":")
    name = checked_name(name, f"line {number}: ")
    secret = rest.removesuffix(_ADMINISTRATOR)
    if not secret:
        raise ValueError(f"line {number}: should be name:secret")
    # A password in plain text may end in anything; only hashes are followed by a role.
    if not (_HASH.fullmatch(secret) or _KEY.fullmatch(secret)):
        return name, rest, False
    return name, secret, secret != rest


def checked_name(name: str, where: str = "") -> str:
    """Return a user's name in the form that is compared.

    Raises:
        ValueError: It is no name: empty, longer than 64 characters, or with a colon or control characters.
    """
    normal = _normal(name.strip())
    if not _NAME.fullmatch(normal):
        raise ValueError(f"{where}a user's name should have 1 to 64 characters, none of them a colon, and no # first")
    return normal


def hashed(password: str) -> str:
    """Return an Argon2id hash of *password* with a new salt."""
    return _HASHER.hash(_normal(password))


def new_key() -> str:
    """Return a new random API key of 192 bits."""
    return _KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def key_digest(key: str) -> str:
    """Return the SHA-256 digest of an API key; keys are random and long, so they need no slow hash."""
    return hashlib.sha256(_normal(key).encode(errors="surrogatepass")).hexdigest()


def _normal(text: str) -> str:
    """Return *text* in Unicode's normal form C: keyboards spell the same letters in several ways."""
    return unicodedata.normalize("NFC", text)


class UserFile:
    """A file of users on disk; changes keep comments and the order of the lines.

    Raises:
        OSError, ValueError: From every method: the file cannot be read or written, or a line is invalid.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Users:
        """Return its users."""
        return users_of(self._lines())

    def put(self, name: str, password: str, *, administrator: bool) -> None:
        """Add a user, or replace the password and role of one; their API keys stay."""
        line = f"{name}:{hashed(password)}{_ADMINISTRATOR if administrator else ''}"
        lines = self._existing()
        place = next((i for i, old in enumerate(lines) if _name_in(old) == name and not _is_key(old)), len(lines))
        self._write([*lines[:place], line, *lines[place + 1 :]])

    def add_key(self, name: str) -> str:
        """Add a new API key of *name*, and return it: the file has its digest only."""
        key = new_key()
        self._write([*self._existing(), f"{name}:{HASHED_KEY}{key_digest(key)}"])
        return key

    def remove(self, name: str, *, only_keys: bool = False) -> int:
        """Remove the password and the API keys of *name*; return the number of lines removed."""
        lines = self._existing()
        kept = [line for line in lines if _name_in(line) != name or (only_keys and not _is_key(line))]
        if len(kept) < len(lines):
            self._write(kept)
        return len(lines) - len(kept)

    def _existing(self) -> list[str]:
        return self._lines() if self.path.exists() else []

    def _lines(self) -> list[str]:
        return read_text(self.path).splitlines()

    def _write(self, lines: Iterable[str]) -> None:
        """Write the file for this user of the system alone, or with the permissions that it has."""
        content = "".join(f"{line}\n" for line in lines)
        users_of(content.splitlines())
        path = self.path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        with unfinished(path.parent) as part:
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
                file.write(content.encode())
                file.flush()
                sync(file.fileno())
            part.replace(path)


def _name_in(line: str) -> str | None:
    entry = line.strip()
    return None if entry.startswith("#") or ":" not in entry else _normal(entry.partition(":")[0].strip())


def _is_key(line: str) -> bool:
    return bool(_KEY.fullmatch(line.strip().partition(":")[2].removesuffix(_ADMINISTRATOR)))
