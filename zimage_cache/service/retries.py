"""What an `Idempotency-Key` means: the same request again, and the same picture, also where its seed is random."""

import hashlib
from typing import Final

from zimage_cache.errors import InvalidRequest
from zimage_cache.lru import ByteLRU
from zimage_cache.request import MAX_SEED

_MOST_KEPT: Final = 10_000


class Retries:
    """Remembers for which request each key was used first, of the latest ten thousand keys of this process.

    A key belongs to an account; callers without one are all the same. The seed depends on both alone, so that it is
    the same after a restart, when the requests are forgotten.

    Threads: the event loop's only.
    """

    def __init__(self) -> None:
        self._first: ByteLRU[tuple[str, str], bytes] = ByteLRU(0, len, _MOST_KEPT)

    def require_same(self, account: str, key: str, request: str) -> None:
        """Remember the *request*, as text, of a new key.

        Raises:
            InvalidRequest: The key was used for another one.
        """
        digest = hashlib.sha256(request.encode(errors="surrogatepass")).digest()
        first = self._first.get((account, key))
        if first is None:
            self._first.put((account, key), digest)
        elif first != digest:
            raise InvalidRequest("idempotency_key_reused", field="idempotency-key")


def pinned_seed(account: str, key: str) -> int:
    """Derive a seed in 0..2^32-1 from what a caller chose."""
    digest = hashlib.sha256(f"{account}\0{key}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") & MAX_SEED
