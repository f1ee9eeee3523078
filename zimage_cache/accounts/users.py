"""The accounts of a server: who they are by a password or an API key, and the file that has them."""

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from filelock import FileLock

from zimage_cache.accounts.lines import HASHED_KEY, LONGEST_NAME, LONGEST_SECRET, Kind, Line, normalized, parsed
from zimage_cache.atomic import sync, unfinished
from zimage_cache.text_files import read_text

_KEY_BYTES = 24
_KEY_PREFIX = "zi_"
# 64 MiB and about 0.1 s each: the low-memory parameters of RFC 9106, which are the library's own.
_HASHER = PasswordHasher()


@dataclass(frozen=True, slots=True)
class Account:
    """The sender of a request.

    Args:
        name: "" for everyone, where a server has no users.
        administrator: May change the cache, load models, and see the pictures that belong to no account.
        mark: Changes with the password; sessions from before a change end by it.
    """

    name: str
    administrator: bool = False
    mark: str = field(default="", compare=False, repr=False)

    @property
    def owners(self) -> frozenset[str] | None:
        """The owners whose pictures this account sees in the history; None = all."""
        if not self.name:
            return None
        return frozenset({self.name, ""} if self.administrator else {self.name})


# The sender of every request to a server without users.
ANYONE = Account("", administrator=True)


class Users:
    """Accounts with their passwords and API keys, immutable.

    Args:
        accounts: At most one of each name.
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
        self._hashes = dict(hashes or {})
        self._keys = dict(keys or {})
        self._plain = dict(plain or {})
        self._accounts = {each.name: replace(each, mark=_mark(self._hashes.get(each.name, ""))) for each in accounts}

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

    def with_password(self, name: str, password: str) -> Account | None:
        """Return the account whose name and password these are. Takes about 0.1 s, as long for unknown names."""
        if len(name) > LONGEST_NAME or len(password) > LONGEST_SECRET:
            return None
        name = normalized(name)
        try:
            _HASHER.verify(self._hashes.get(name) or self._decoy, normalized(password))
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


def users_of(texts: Iterable[str]) -> Users:
    """Return the users of the lines of a file; see `accounts.lines`.

    Raises:
        ValueError: A line is invalid: its number, and the rule.
    """
    accounts: dict[str, Account] = {}
    hashes: dict[str, str] = {}
    keys: dict[str, str] = {}
    plain: dict[str, str] = {}
    for number, text in enumerate(texts, 1):
        try:
            line = parsed(text)
            if line is None:
                continue
            if line.kind is not Kind.KEY and line.name in hashes:
                raise ValueError(f"{line.name} has a password already")  # noqa: TRY301 - gets its number below
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        former = accounts.get(line.name)
        accounts[line.name] = Account(line.name, line.administrator or (former is not None and former.administrator))
        if line.kind is Kind.KEY:
            keys[line.secret.removeprefix(HASHED_KEY)] = line.name
        elif line.kind is Kind.HASH:
            hashes[line.name] = line.secret
        else:
            plain[key_digest(line.secret)] = line.name
            # The same hash after each start: sessions end when it changes.
            hashes[line.name] = hashed(line.secret, salt=hashlib.sha256(line.name.encode()).digest()[:16])
    return Users(accounts.values(), hashes, keys, plain)


def hashed(password: str, *, salt: bytes | None = None) -> str:
    """Return an Argon2id hash of *password*, with a new salt unless one is given."""
    return _HASHER.hash(normalized(password), salt=salt)


def new_key() -> str:
    """Return a new random API key of 192 bits."""
    return _KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def key_digest(key: str) -> str:
    """Return the SHA-256 digest of an API key; keys are random and long, so they need no slow hash."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def _mark(hash_: str) -> str:
    return hashlib.sha256(hash_.encode()).hexdigest()


class UserFile:
    """A file of users on disk; changes keep comments and the order of the lines, and wait for one another.

    Raises:
        OSError, ValueError: From every method: the file cannot be read or written, or a line is invalid.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Users:
        """Return its users; none where there is no file."""
        return users_of(self._lines())

    def put(self, name: str, password: str, *, administrator: bool | None = None) -> None:
        """Add a user, or replace the password of one; their API keys stay.

        Args:
            name: A name in the form that is compared.
            password: Any text but one that begins like a hash.
            administrator: The role; None keeps that of a user who is there, and makes the first user an administrator.
        """
        with self._changing() as lines:
            if administrator is None:
                users = users_of(lines)
                former = users.get(name)
                administrator = former.administrator if former else not any(each.administrator for each in users)
            line = str(Line(name, hashed(password), Kind.HASH, administrator))
            for i, old in enumerate(map(parsed, lines)):
                if old is not None and old.name == name and old.kind is not Kind.KEY:
                    lines[i] = line
                    return
            lines.append(line)

    def add_key(self, name: str) -> str:
        """Add a new API key of *name*, and return it: the file has its digest only."""
        key = new_key()
        with self._changing() as lines:
            lines.append(str(Line(name, HASHED_KEY + key_digest(key), Kind.KEY, administrator=False)))
        return key

    def remove(self, name: str, *, only_keys: bool = False) -> int:
        """Remove the password and the API keys of *name*; return the number of lines removed."""
        with self._changing() as lines:
            parts = list(map(parsed, lines))
            gone = [
                i
                for i, line in enumerate(parts)
                if line is not None and line.name == name and (line.kind is Kind.KEY or not only_keys)
            ]
            lines[:] = [text for i, text in enumerate(lines) if i not in gone]
        return len(gone)

    def _lines(self) -> list[str]:
        return read_text(self.path).splitlines() if self.path.exists() else []

    @contextmanager
    def _changing(self) -> Iterator[list[str]]:
        """Give the lines, to be changed in place; they are written at the end of the block."""
        path = self.path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            lines = self._lines()
            users_of(lines)
            before = list(lines)
            yield lines
            if lines != before:
                _write_private(path, "".join(f"{line}\n" for line in lines).encode())


def _write_private(path: Path, content: bytes) -> None:
    """Write a file for its owner alone, or for the owner and with the permissions that it has."""
    with unfinished(path.parent) as part:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            if path.exists():
                former = path.stat()
                if os.geteuid() == 0:  # an administrator of the system who changes the file of a service
                    os.fchown(file.fileno(), former.st_uid, former.st_gid)
                os.fchmod(file.fileno(), former.st_mode & 0o777)
            file.write(content)
            file.flush()
            sync(file.fileno())
        part.replace(path)
