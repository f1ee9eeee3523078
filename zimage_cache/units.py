"""Sizes and durations in readable notation: 1GiB, 7d."""

import re
from typing import Final

from zimage_cache.errors import InvalidRequest
from zimage_cache.full_width import half_width

_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES: Final = {"": 1, "b": 1} | {
    unit: base**power
    for power, prefix in enumerate("kmgt", 1)
    for unit, base in ((f"{prefix}ib", 1024), (f"{prefix}b", 1000))
}
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([smhd]?)", re.ASCII)
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmgt]i?b|b?)", re.ASCII | re.IGNORECASE)
_RATE: Final = re.compile(r"0|(?P<most>[1-9]\d{0,5})/(?P<period>[smhd])", re.ASCII)
_LARGEST_UNIT: Final = 1024
_AGES: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def seconds_in(text: str) -> float:
    """Read a duration such as 300, 90s, 15m, 24h or 7d, in seconds.

    Raises:
        InvalidRequest: The text is none.
    """
    match = _DURATION.fullmatch(half_width(text).strip())
    if match is None:
        raise InvalidRequest("duration")
    return float(match[1]) * _SECONDS[match[2]]


def bytes_in(text: str) -> int:
    """Read a size such as 1073741824, 500MB or 1GiB, in bytes.

    Raises:
        InvalidRequest: The text is none.
    """
    match = _SIZE.fullmatch(half_width(text).strip())
    if match is None:
        raise InvalidRequest("size")
    return int(float(match[1]) * _BYTES[match[2].lower()])


def rate_in(text: str) -> tuple[int, float] | None:
    """Read a rate such as 60/m or 1000/h: how many, and in how many seconds; None for 0, which is no limit.

    Raises:
        InvalidRequest: The text is none.
    """
    match = _RATE.fullmatch(half_width(text).strip())
    if match is None:
        raise InvalidRequest("rate")
    return (int(match["most"]), float(_SECONDS[match["period"]])) if match["most"] else None


def shown_bytes(size: float) -> str:
    """Write a size for people: 512 B, 1.2 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _LARGEST_UNIT:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= _LARGEST_UNIT
    return f"{size:.1f} TiB"


def shown_seconds(seconds: float) -> str:
    """Write a duration for people, in its two largest units: 3 d 4 h, 2 min 5 s, 0.4 s."""
    if seconds < 1:
        return f"{max(0.0, seconds):.1f} s"
    rest = int(seconds)
    parts = []
    for unit, size in _AGES:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])
