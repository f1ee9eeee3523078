"""How often something may be done: a few times at once, then slowly. In memory, for this process."""

import math
from datetime import timedelta
from typing import Final

from throttled import RateLimiterType, Throttled, rate_limiter, store

from zimage_cache.accounts.lines import LONGEST_NAME, normalized

# Passwords from one address, and for one name from all addresses together: so many at once, and a minute.
_OF_AN_ADDRESS: Final = 20
_OF_A_NAME: Final = 30
_MOST_KEPT: Final = 20_000
_LONGEST: Final = 64


class Rate:
    """A token bucket for each name: it is full at first, and gains its *most* tokens every *seconds*.

    Args:
        most: How many times something may be done at once, and within *seconds*.
        seconds: The period.

    Threads: any.
    """

    def __init__(self, most: int, seconds: float = 60.0) -> None:
        quota = rate_limiter.per_duration(timedelta(seconds=seconds), limit=most, burst=most)
        kept = store.MemoryStore(options={"MAX_SIZE": _MOST_KEPT})
        self._limit = Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=kept)

    def wait(self, name: str) -> int:
        """Take a token of *name*, and return 0; if there is none, return the seconds until the next one."""
        result = self._limit.limit(name[:_LONGEST] or "-")
        return math.ceil(result.state.retry_after) if result.limited else 0


class Attempts:
    """Limits on passwords that are verified. A right one counts too, as it is not known before.

    Args:
        of_an_address: How many from one address at once, and a minute.
        of_a_name: How many for one name, from all addresses together.

    Threads: any.
    """

    def __init__(self, of_an_address: int = _OF_AN_ADDRESS, of_a_name: int = _OF_A_NAME) -> None:
        self._of_address = Rate(of_an_address)
        self._of_name = Rate(of_a_name)

    def wait(self, address: str, name: str) -> int:
        """Count an attempt from *address* for *name*; return 0, or the seconds after which the next one is verified.

        An address that must wait does not use up the attempts of the names it tries. A password that is sent alone has
        no name, and is counted by its address.
        """
        return self._of_address.wait(address) or (self._of_name.wait(normalized(name[:LONGEST_NAME])) if name else 0)
