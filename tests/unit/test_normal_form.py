"""`normal_form`: the same text as the standard library's, whatever the signs."""

import sys
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from zimage_cache.normal_form import nfc

COMBINING = "".join(sign for sign in map(chr, range(sys.maxunicode + 1)) if unicodedata.combining(sign))


@given(st.text(st.sampled_from(COMBINING) | st.characters(exclude_categories=["Cs"]), max_size=20))
@settings(max_examples=500)
def test_any_text(text):
    """Half of the signs are combining ones, in any order and of any length."""
    assert nfc(text) == unicodedata.normalize("NFC", text)


def test_every_sign():
    """Each sign there is, alone and before a sign that belongs before what it may be made of."""
    signs = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    every = "\n".join(f"{sign}\n{sign}\u0316\u0334" for sign in signs)
    assert nfc(every) == unicodedata.normalize("NFC", every)
