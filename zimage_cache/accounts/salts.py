"""A salt for each account, which keeps its pictures in the cache apart from those of other accounts."""

import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from zimage_cache.atomic import unfinished, write

_SECRET_BYTES: Final = 32
_SALT_DIGITS: Final = 32


class Salts:
    """Derives salts from a secret: without it, the key of another account's picture cannot be computed.

    Args:
        secret: Random bytes, which stay the same for as long as stored pictures are to be found.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, account: str) -> str:
        """Return the salt of an account, 32 hex digits; that of callers without an account is empty."""
        return hmac.digest(self._secret, account.encode(), "sha256").hex()[:_SALT_DIGITS] if account else ""


def read_salts(path: Path) -> Salts:
    """Read the secret from a file, which is made on the first call, readable for its owner only.

    Raises:
        OSError: The file can be neither read nor made.
        ValueError: The file is too short for a secret.
    """
    if not path.exists():
        _make_secret(path)
    secret = path.read_bytes()
    if len(secret) < _SECRET_BYTES:
        raise ValueError(f"{path} should hold {_SECRET_BYTES} random bytes, has {len(secret)}")
    return Salts(secret)


def _make_secret(path: Path) -> None:
    """Write a new secret, unless another process has written one meanwhile."""
    with unfinished(path.parent) as part:
        write(part, secrets.token_bytes(_SECRET_BYTES), durable=True)
        part.chmod(0o600)
        try:
            os.link(part, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            part.replace(path)
