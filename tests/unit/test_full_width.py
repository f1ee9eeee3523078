"""What full-width signs mean where this program defines a syntax."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_cache.errors import InvalidRequest
from zimage_cache.full_width import as_typed, full_width_signs, half_width
from zimage_cache.units import bytes_in, seconds_in


def test_every_sign_of_ascii_has_its_form():
    """The full-width forms block, and the ideographic space, are ASCII's printable characters."""
    forms = "".join(chr(ord(sign) + 0xFEE0) for sign in string.printable if "!" <= sign <= "~")
    assert half_width(forms + "\u3000") == "".join(s for s in string.printable if "!" <= s <= "~") + " "


@given(st.text())
def test_the_length_stays(text):
    """Places in the result are places in the text; ASCII is unchanged, and the result has no such sign left."""
    found = half_width(text)
    assert len(found) == len(text)
    assert full_width_signs(found) == []
    assert half_width(text.encode("ascii", "ignore").decode()) == text.encode("ascii", "ignore").decode()


def test_signs_are_named_once_in_order():
    """A message names what is to be replaced."""
    assert full_width_signs("a：“b”：c，×") == ["：", "“", "”", "，", "×"]
    assert set(as_typed("#")) == set("#＃")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("３０ｄ", 30 * 86400), ("１．５ｈ", 5400), ("　90　s", 90), ("２４h", 86400), ("１。５m", 90)],
)
def test_durations(text, seconds):
    """Digits, points and units count in either width."""
    assert seconds_in(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("１０ＧｉＢ", 10 * 2**30), ("５００ＭＢ", 5 * 10**8), ("1．5GiB", 3 * 2**29), ("１０７３", 1073)],
)
def test_sizes(text, size):
    """Likewise."""
    assert bytes_in(text) == size


@pytest.mark.parametrize("text", ["３０天", "①d", "٣d", "－1d", "１０ＧｉＢ大"])
def test_what_is_no_amount_stays_none(text):
    """Other characters are refused as before."""
    for read in (seconds_in, bytes_in):
        with pytest.raises(InvalidRequest):
            read(text)
