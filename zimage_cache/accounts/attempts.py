"""How often a wrong password may be tried: a few times at once, then slowly; counted by address and by name."""

import math
from typing import Final

from throttled import RateLimiterType, Throttled, rate_limiter, store

_OF_AN_ADDRESS: Final = 20
_OF_A_NAME: Final = 30
_MOST_KEPT: Final = 20_000  # addresses and names
_LONGEST: Final = 64


class Attempts:
    """Limits on passwords that are verified, in memory. A right one counts too, as it is not known before.

    Args:
        of_an_address: How many from one address at once, and a minute.
        of_a_name: How many for one name, from all addresses together.

    Threads: any.
    """

    def __init__(self, of_an_address: int = _OF_AN_ADDRESS, of_a_name: int = _OF_A_NAME) -> None:
        kept = store.MemoryStore(options={"MAX_SIZE": _MOST_KEPT})
        self._limits = {
            "address": _limit("address", of_an_address, kept),
            "name": _limit("name", of_a_name, kept),
        }

    def wait(self, address: str, name: str) -> int:
        """Count an attempt from *address* for *name*; return 0, or the seconds after which the next one is verified.

        An address that must wait does not use up the attempts of the names it tries.
        """
        return self._wait("address", address) or self._wait("name", name[:_LONGEST])

    def _wait(self, kind: str, of: str) -> int:
        result = self._limits[kind].limit(of or "-")
        return math.ceil(result.state.retry_after) if result.limited else 0


def _limit(kind: str, most: int, kept: store.MemoryStore) -> Throttled:
    quota = rate_limiter.per_min(most, burst=most)
    return Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=kept, key_prefix=kind)
