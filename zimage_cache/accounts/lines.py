"""The lines of a file of users, which people may edit: `name:secret` or `name:secret:administrator`.

The secret is an Argon2 hash of a password; or `sha256$` and the digest of an API key; or a password in plain text, as
the first versions of this program had it, whose user is an administrator. Empty lines, and lines that begin with `#`,
are comments. A name may have one password and any number of keys.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from zimage_cache.full_width import as_typed

HASHED_KEY: Final = "sha256$"
_ADMINISTRATOR: Final = ":administrator"
_HASH: Final = re.compile(r"\$argon2(?:id|i|d)\$[A-Za-z0-9+/=$,]{1,300}")
_DIGEST: Final = re.compile(r"sha256\$[0-9a-f]{64}")
_LIKE_A_HASH: Final = ("$", HASHED_KEY)  # a password that begins so is more probably a hash that is not read
LONGEST_NAME: Final = 64
LONGEST_SECRET: Final = 1024  # characters; normalising text takes time that grows with the square of its length


class Kind(Enum):
    """What the secret of a line is."""

    HASH = auto()
    KEY = auto()
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class Line:
    """A name, a secret, and whether the name is an administrator's."""

    name: str
    secret: str
    kind: Kind
    administrator: bool

    def __str__(self) -> str:
        role = _ADMINISTRATOR if self.administrator and self.kind is not Kind.PLAIN else ""
        return f"{self.name}:{self.secret}{role}"


def parsed(text: str) -> Line | None:
    """Parse a line; None for a comment.

    Raises:
        ValueError: It is invalid: the rule, never the text, which may have a password in it.
    """
    entry = text.strip()
    if not entry or entry.startswith("#"):
        return None
    if ":" not in entry:
        entry = re.sub(f"[{as_typed(':')}]", ":", entry, count=1)
    name, _, rest = entry.partition(":")
    name, secret = checked_name(name), rest.removesuffix(_ADMINISTRATOR)
    for kind, form in ((Kind.HASH, _HASH), (Kind.KEY, _DIGEST)):
        if form.fullmatch(secret):
            return Line(name, secret, kind, administrator=secret != rest)
    return Line(name, checked_password(rest), Kind.PLAIN, administrator=True)


def checked_name(name: str) -> str:
    """Return a user's name in the form that is compared.

    Raises:
        ValueError: It is no name.
    """
    name = name.strip()
    normal = normalized(name) if len(name) <= LONGEST_NAME else ""
    if not normal or not normal.isprintable() or ":" in normal or normal.startswith("#"):
        raise ValueError("a user's name should have 1 to 64 characters, none of them a colon, and no # first")
    return normal


def checked_password(password: str) -> str:
    """Return a password in plain text.

    Raises:
        ValueError: It is none, or one that would be taken for a hash.
    """
    if not password or len(password) > LONGEST_SECRET:
        raise ValueError(f"should be name:secret, with a password of at most {LONGEST_SECRET} characters")
    if password.lower().startswith(_LIKE_A_HASH):
        raise ValueError("should be an Argon2 hash or sha256$ with 64 hex digits; a password may not begin like a hash")
    return password


def normalized(text: str) -> str:
    """Return a short *text* in Unicode's normal form C: keyboards spell the same letters in several ways."""
    return unicodedata.normalize("NFC", text)
