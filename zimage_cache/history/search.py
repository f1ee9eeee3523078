"""Translates search queries to SQL: words, "several words", `seed:42`, `size:1024x768`, `model:turbo`, and so on."""

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final

from zimage_cache.errors import InvalidRequest
from zimage_cache.full_width import half_width
from zimage_cache.normal_form import nfc

MAX_QUERY: Final = 1000
_MOST_TERMS: Final = 30
_MOST_PIECES: Final = 100  # SQLite limits the size of expressions
_TRIGRAM: Final = 3
_TERM = re.compile(r'(?:(seed|size|model|key|is):)?(?:"([^"]*)"|(\S+))', re.IGNORECASE)
_SEED = re.compile(r"\d{1,18}")
_SIZE = re.compile(r"(\d{1,6})[x*](\d{1,6})", re.IGNORECASE)
# A key or the beginning of one, as in the names of files.
_KEY = re.compile(r"[0-9a-f]{8,64}", re.IGNORECASE)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL expression over the table of pictures, with its values."""

    sql: str
    values: tuple[str | int, ...] = ()


def no_keys() -> Collection[str]:
    """Return the keys of starred pictures where there is no cache: none."""
    return ()


def conditions(query: str, *, full_text: bool, starred: Callable[[], Collection[str]] = no_keys) -> list[Condition]:
    """Translate a query; all conditions must hold.

    Full-width signs of the syntax count as their like in ASCII. A word is found as it is written and in ASCII.

    Args:
        query: The user's text; a blank one matches every picture.
        full_text: Whether there is a trigram index; without one every word is searched for in every row.
        starred: Returns the keys that `is:starred` finds; called only for that.

    Raises:
        InvalidRequest: The query is longer than 1000 characters, or has more than 30 words.
    """
    if len(query) > MAX_QUERY:
        raise InvalidRequest("query_too_long", field="query", most=MAX_QUERY, got=len(query))
    written = normal(query)
    terms = list(_TERM.finditer(half_width(written)))  # of the same length as `written`
    if len(terms) > _MOST_TERMS:
        raise InvalidRequest("query_too_many_words", field="query", most=_MOST_TERMS, got=len(terms))
    return [_either(term, written, full_text=full_text, starred=starred) for term in terms]


def normal(text: str) -> str:
    """Return text as it is stored and searched for: NFC, encodable as UTF-8, without NUL, which ends a text in SQL."""
    clean = text.encode("utf-8", "replace").decode().replace("\0", " ")
    return nfc(clean)


def pieces(text: str) -> frozenset[str]:
    """Return the trigrams of a text's words, in lower case; a shorter word is returned whole."""
    return frozenset(_pieces(normal(text).casefold()))


def resembling(found: frozenset[str], *, most: int) -> Condition | None:
    """Return a condition for the *most* prompts that the trigram index ranks best; None when all words are short."""
    long_enough = sorted(piece for piece in found if len(piece) == _TRIGRAM)[:_MOST_PIECES]
    if not long_enough:
        return None
    query = f"prompt : ({' OR '.join(map(_phrase, long_enough))})"
    match = "SELECT rowid FROM history_words WHERE history_words MATCH ? ORDER BY rank LIMIT ?"
    return Condition(f"id IN ({match})", (query, most))


def _either(term: re.Match[str], written: str, *, full_text: bool, starred: Callable[[], Collection[str]]) -> Condition:
    """Return the condition of a term, for its value as it is *written* and for the value in ASCII."""
    group = 3 if term[2] is None else 2
    start, end = term.span(group)
    kind = (term[1] or "").lower()
    forms = dict.fromkeys((written[start:end], str(term[group])))
    found = [
        _field(kind, form) or _state(kind, form, starred) or _words(kind and f"{term[1]}:", form, full_text=full_text)
        for form in forms
    ]
    values = tuple(value for condition in found for value in condition.values)
    return Condition(f"({' OR '.join(condition.sql for condition in found)})", values)


def _field(kind: str, value: str) -> Condition | None:
    """Return the condition of a term such as `seed:42`; None where its value is none of that kind."""
    match kind:
        case "seed" if _SEED.fullmatch(value):
            return Condition("seed = ?", (int(value),))
        case "size" if size := _SIZE.fullmatch(value):
            return Condition("width = ? AND height = ?", (int(size[1]), int(size[2])))
        case "model":
            return Condition("model LIKE ? ESCAPE '\\'", (_anywhere(value),))
        case "key" if _KEY.fullmatch(value):
            return Condition("key BETWEEN ? AND ?", (value.lower(), f"{value.lower()}g"))
    return None


def _state(kind: str, value: str, starred: Callable[[], Collection[str]]) -> Condition | None:
    """Return the condition of `is:starred`; None for every other term."""
    if (kind, value.lower()) != ("is", "starred"):
        return None
    return Condition("key IN (SELECT value FROM json_each(?))", (json.dumps(sorted(starred())),))


def _words(prefix: str, value: str, *, full_text: bool) -> Condition:
    text = prefix + value
    if full_text and len(text) >= _TRIGRAM:
        return Condition("id IN (SELECT rowid FROM history_words WHERE history_words MATCH ?)", (_phrase(text),))
    # Words of one or two characters, which includes most Chinese ones, have no trigram.
    return Condition("(prompt LIKE ? ESCAPE '\\' OR details LIKE ? ESCAPE '\\')", (_anywhere(text),) * 2)


def _phrase(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _anywhere(text: str) -> str:
    escaped = re.sub(r"([\\%_])", r"\\\1", text)
    return f"%{escaped}%"


def _pieces(text: str) -> Iterator[str]:
    for word in _WORD.findall(text):
        if len(word) < _TRIGRAM:
            yield word
        for start in range(len(word) - _TRIGRAM + 1):
            yield word[start : start + _TRIGRAM]
