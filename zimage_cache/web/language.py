"""The language of a request's answers, negotiated by `Accept-Language`: Chinese where it is preferred, else English."""

import re
from contextvars import ContextVar
from typing import Final

from zimage_cache.i18n.messages import CHINESE, ENGLISH, Message

_current: ContextVar[str] = ContextVar("language", default=ENGLISH)
_RANGE: Final = re.compile(r"(zh|en|\*)(?:-[a-z0-9-]{1,60})?(?:;q=([01](?:\.\d{1,3})?))?")


def current_language() -> str:
    """Return the language of the present request; English outside of a request."""
    return _current.get()


def set_language(accepted: str | None) -> None:
    """Set the language for this task and its children from a header `Accept-Language`."""
    _current.set(preferred(accepted or ""))


def preferred(accepted: str) -> str:
    """Return the language that the header prefers, the first one of equal preference; "any language" is English."""
    ranges = filter(None, map(_RANGE.fullmatch, "".join(accepted.lower().split()).split(",")))
    wanted = [(float(each[2] or 1), each[1]) for each in ranges]
    quality, language = max(wanted, key=lambda each: each[0], default=(0.0, ENGLISH))
    return CHINESE if quality and language == CHINESE else ENGLISH


def localized(message: Message | None) -> str:
    """Return a message in the language of the present request; an empty text where there is none."""
    return "" if message is None else message.text(current_language())
