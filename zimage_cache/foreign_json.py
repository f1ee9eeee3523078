"""Parses untrusted JSON in time proportional to its length.

A megabyte of brackets takes `json.loads` a quarter of a second, during which no other thread runs; a megabyte of
digits may take longer. Documents that this program reads need few of either, so their numbers are limited.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from zimage_cache.errors import InvalidRequest

# Enough for two prompts of 8000 such characters each, and all other fields.
MAX_SIGNS: Final = 20_000
MAX_DIGITS: Final = 500  # of an integer; the largest float has 309
_SIGNS: Final = "[{,"


def parse(
    text: str, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None, *, most: int = MAX_SIGNS
) -> object:
    """Parse *text*; *object_pairs_hook* as in `json.loads`, *most* bounds its signs.

    Raises:
        InvalidRequest: The text is no valid JSON, or exceeds these limits.
    """
    if sum(map(text.count, _SIGNS)) > most:
        raise InvalidRequest("too_many_signs", place="body", most=most, signs=_SIGNS)
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook, parse_int=_integer)
    except RecursionError:
        raise InvalidRequest("nested_too_deeply", place="body") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest("not_json", place="body", error=error) from None


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise InvalidRequest("too_many_digits", place="body", got=len(digits), most=MAX_DIGITS)
    return int(digits)
