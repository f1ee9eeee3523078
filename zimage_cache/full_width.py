"""Full-width signs, as Chinese and Japanese keyboards write them, in texts that this program defines the syntax of.

A prompt is no such text: its characters are the model's, and part of the key.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_FORMS: Final = {chr(0xFF01 + place): chr(ord("!") + place) for place in range(ord("~") - ord("!") + 1)}
_OTHERS: Final = {
    **dict.fromkeys("“”„‟", '"'),
    **dict.fromkeys("‘’‚‛", "'"),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    **dict.fromkeys("×✕✖", "x"),
    "、": ",",
    "。": ".",
    "〜": "~",
    "￥": "$",  # the sign on the key of the dollar
    "\u3000": " ",
}
_ASCII: Final[Mapping[str, str]] = MappingProxyType(_FORMS | _OTHERS)
_TABLE: Final = str.maketrans(dict(_ASCII))


def half_width(text: str) -> str:
    """Return *text*, of the same length, with the ASCII signs that full-width signs and their like stand for."""
    return text.translate(_TABLE)


def full_width_signs(text: str) -> list[str]:
    """Return the signs of *text* that `half_width` replaces, each once, in their order."""
    return list(dict.fromkeys(sign for sign in text if sign in _ASCII))


def as_typed(sign: str) -> str:
    """Return a sign of ASCII with all signs that stand for it."""
    return sign + "".join(other for other, meant in _ASCII.items() if meant == sign)
