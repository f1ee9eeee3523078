"""Sizes and durations, as people write and read them."""

import pytest

from zimage_cache.errors import InvalidRequest
from zimage_cache.units import bytes_in, rate_in, seconds_in, shown_bytes, shown_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("24h", 86400), (" 7 d ", 604800), ("1.5h", 5400)],
)
def test_durations_are_read(text, seconds):
    """A number with s, m, h or d is a duration; a bare one is seconds."""
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1", "1w", "1h30m", "inf", "nan", "1e3", "٣d", "9" * 16])
def test_other_words_are_no_durations(text):
    """Nothing else is guessed at."""
    with pytest.raises(ValueError, match="a duration such as"):
        seconds_in(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("12B", 12),
        ("1KiB", 1024),
        ("1kb", 1000),
        ("500MB", 500_000_000),
        ("1.5 GiB", 1610612736),
        ("1TIB", 2**40),
    ],
)
def test_sizes_are_read(text, size):
    """A number with a unit of bytes is a size; a bare one is bytes."""
    assert bytes_in(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1XB", "1e400", "5 6", "nan", "9" * 16])
def test_other_words_are_no_sizes(text):
    """Nothing else is guessed at."""
    with pytest.raises(ValueError, match="a size such as"):
        bytes_in(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_288_490_189, "1.2 GiB"),
        (3 * 2**40, "3.0 TiB"),
        (2**51, "2048.0 TiB"),
    ],
)
def test_sizes_are_shown(size, text):
    """A size has one decimal and the largest unit that keeps it above one."""
    assert shown_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0.0 s"),
        (0.42, "0.4 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (86400, "1 d"),
        (273_600, "3 d 4 h"),
        (86_401, "1 d"),
    ],
)
def test_durations_are_shown(seconds, text):
    """A duration has its two largest units, and no gap between them."""
    assert shown_seconds(seconds) == text


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/m", (60, 60.0)),
        ("5/s", (5, 1.0)),
        (" 1000/h ", (1000, 3600.0)),
        ("1/d", (1, 86400.0)),
        ("６０／ｍ", (60, 60.0)),
    ],
)
def test_rates(text, rate):
    """How many, and in how many seconds."""
    assert rate_in(text) == rate


@pytest.mark.parametrize("text", ["", "60", "0/m", "m", "60/", "60/min", "-1/m", "1.5/s", "60 per m", "9999999/s"])
def test_what_is_no_rate(text):
    """A rate is never guessed."""
    with pytest.raises(InvalidRequest, match="should be a rate such as 60/m"):
        rate_in(text)


def test_no_rate():
    """0 is no limit."""
    assert rate_in("0") is None
