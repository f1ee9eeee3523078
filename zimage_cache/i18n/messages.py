"""Texts for people in several languages: a message is the name of a template, and values for its holes.

`en.toml` and `zh.toml` have the same keys: labels of fields, words of the page, and templates of messages, whose holes
are those of `str.format`. A tuple is joined by the format of its hole, `{remedies:, or }`, else by commas.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

ENGLISH: Final = "en"
CHINESE: Final = "zh"
LANGUAGES: Final = (ENGLISH, CHINESE)
_HOLE: Final = re.compile(r"( ?)(\{[^{}]+\})( ?)")
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
# Of an unknown template, or values that do not fit it.
_ERRORS: Final = (LookupError, ValueError, TypeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class Table:
    """The texts of one language.

    Args:
        fields: Labels of the fields of requests, by their names; the page shows them too.
        places: Labels of other places of a request, by their names.
        page: Other words of the page.
        messages: Templates, by their names.
    """

    fields: dict[str, str]
    places: dict[str, str]
    page: dict[str, str]
    messages: dict[str, str]


@dataclass(frozen=True, init=False)
class Message:
    """A text for people: `rule` names its template, `params` are the values of the holes.

    Values are numbers, texts, other messages, and tuples of these; a value of another type, such as a path or an
    exception, becomes its text. Two names of holes have a meaning: `field` is the name of a field, for which other
    languages than English show its label; `got` is a value received, appended where the template has no hole for it.
    """

    rule: str
    params: Mapping[str, Any]

    def __init__(self, rule: str, /, **params: object) -> None:
        object.__setattr__(self, "rule", rule)
        object.__setattr__(self, "params", {name: _plain(value) for name, value in params.items()})

    def __hash__(self) -> int:
        return hash((self.rule, frozenset(self.params)))

    def __str__(self) -> str:
        return self.text(ENGLISH)

    def text(self, language: str) -> str:
        """Return the text in one of `LANGUAGES`."""
        templates = table(language).messages
        template = templates[self.rule]
        values = {name: _shown(name, value, language) for name, value in self.params.items()}
        text = _filled(template, values, language)
        if "got" in values and "{got" not in template:
            return _filled(templates["with_got"], {"rule": text, "got": values["got"]}, language)
        return text

    def document(self) -> dict[str, Any]:
        """Return rule and params as JSON can hold them; messages among the params become documents, too."""
        return {"rule": self.rule, "params": {name: _document(value) for name, value in self.params.items()}}


def message_of(document: object) -> Message | None:
    """Return the message of a document; None if it is none, or of a version with other templates."""
    try:
        message = _message(document)
        for language in LANGUAGES:
            message.text(language)
    except _ERRORS:
        return None
    return message


@cache
def table(language: str) -> Table:
    """Return the texts of one of `LANGUAGES`."""
    text = files("zimage_cache.i18n").joinpath(f"{language}.toml").read_text("utf-8")
    return Table(**tomllib.loads(text))


def page_words() -> dict[str, dict[str, str]]:
    """Return what the page shows, by language: its words and the labels of fields, not the messages."""
    return {language: table(language).fields | table(language).page for language in LANGUAGES}


class _Joined(tuple[str, ...]):
    """Texts that a format joins: the format is what stands between them."""

    __slots__ = ()

    def __format__(self, between: str) -> str:
        return (between or ", ").join(self)


def _plain(value: object) -> object:
    match value:
        case Message() | str() | int() | float():
            return value
        case tuple():
            return tuple(map(_plain, value))
    return str(value)


def _shown(name: str, value: object, language: str) -> object:
    match value:
        case Message():
            return value.text(language)
        case tuple():
            return _Joined(str(_shown("", each, language)) for each in value)
        case str() if name == "field" and language != ENGLISH:
            return (table(language).places | table(language).fields).get(value, value)
    return value


def _filled(template: str, values: Mapping[str, object], language: str) -> str:
    """Fill the holes. Chinese has no spaces between its characters, so none stand beside a hole filled with them."""

    def filled(match: re.Match[str]) -> str:
        before, hole, after = match.groups()
        text = hole.format(**values)
        if language == CHINESE and text:
            before = "" if _HAN.match(text) else before
            after = "" if _HAN.match(text[-1]) else after
        return f"{before}{text}{after}"

    return _HOLE.sub(filled, template)


def _document(value: object) -> object:
    match value:
        case Message():
            return value.document()
        case tuple():
            return list(map(_document, value))
    return value


def _message(document: object) -> Message:
    match document:
        case {"rule": str(rule), "params": dict(params)}:
            return Message(rule, **{str(name): _value(value) for name, value in params.items()})
    raise ValueError("no document of a message")


def _value(value: object) -> object:
    """Reverse `_document`. A list within a list is refused: no message has one, and its text grows exponentially."""
    if isinstance(value, list):
        if any(isinstance(each, list) for each in value):
            raise ValueError("a list within a list")
        return tuple(map(_value, value))
    return _message(value) if isinstance(value, dict) else value
