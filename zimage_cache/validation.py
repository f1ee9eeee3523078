"""Converts pydantic's errors to the rules of this program's messages."""

import json
import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from zimage_cache.errors import InvalidRequest
from zimage_cache.i18n.messages import Message

_LONGEST: Final = 8000  # characters; a longer text is described by its length
_SHOWN: Final = 80
# By the type of pydantic's error: the rule, and the names of its parameters by their names in the error's context.
_RULES: Final[Mapping[str, tuple[str, dict[str, str]]]] = MappingProxyType(
    {
        "extra_forbidden": ("unknown_field", {}),
        "missing": ("required", {}),
        "model_type": ("not_object", {}),
        "string_type": ("not_text", {}),
        "string_unicode": ("lone_surrogates", {}),
        "string_too_short": ("too_short", {"min_length": "least"}),
        "string_too_long": ("too_long", {"max_length": "most"}),
        "string_pattern_mismatch": ("earlier_answer", {}),
        "int_type": ("not_integer", {}),
        "int_parsing": ("not_integer", {}),
        "int_parsing_size": ("integer_too_long", {}),
        "int_from_float": ("fractional", {}),
        "float_type": ("not_number", {}),
        "float_parsing": ("not_number", {}),
        "finite_number": ("not_finite", {}),
        "bool_type": ("not_boolean", {}),
        "bool_parsing": ("not_boolean", {}),
        "list_type": ("not_list", {}),
        "too_long": ("too_many_items", {"max_length": "most"}),
        "multiple_of": ("multiple_of", {"multiple_of": "step"}),
        "greater_than_equal": ("at_least", {"ge": "least"}),
        "less_than_equal": ("at_most", {"le": "most"}),
        "greater_than": ("above", {"gt": "least"}),
        "less_than": ("below", {"lt": "most"}),
        "byte_size": ("byte_size", {}),
        "byte_size_unit": ("byte_size", {}),
    }
)
_CHOICES: Final = frozenset({"enum", "literal_error"})
_CHOICE: Final = re.compile(r"'[^']*'")
# Replacements for pydantic's own wording of other rules, which only settings can break.
_PLAIN: Final = MappingProxyType({"Value error, ": "", "Input should": "should", "String should": "should"})


def invalid_request(error: ValidationError) -> InvalidRequest:
    """Convert pydantic's first error: field, rule, value received."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InvalidRequest) and cause.field is not None:
        return cause
    got = {} if first["type"] == "missing" else {"got": shown(first["input"])}
    field = _shortened(ascii(first["loc"][0]).strip("'")) if first["loc"] else None
    return InvalidRequest.of(broken_rule(first), field=field, place=field or "body", **got)


def broken_rule(error: ErrorDetails) -> Message:
    """Return the rule that one of pydantic's errors is about, without the value received."""
    context = error.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, InvalidRequest):
        return cause.reason
    if error["type"] in _CHOICES:
        *others, last = _CHOICE.findall(context["expected"])
        return Message("one_of", others=tuple(others), last=last) if others else Message("only", value=last)
    if error["type"] == "string_too_short" and context["min_length"] == 1:
        return Message("empty")
    if error["type"] not in _RULES:
        return Message("as_said", text=_plain(error["msg"]))
    rule, names = _RULES[error["type"]]
    return Message(rule, **{name: _number(context[theirs]) for theirs, name in names.items()})


def shown(value: object) -> str | float | Message:
    """Return a value received as messages show it: it may be huge or deep, or hold lone surrogates.

    Numbers stay numbers; other values become short ASCII JSON, or a description.
    """
    match value:
        case dict():
            return Message("an_object")
        case list():
            return Message("a_list")
        case str() if len(value) > _LONGEST:
            return Message("characters", count=len(value))
        case int() if abs(value) > 10**_SHOWN:
            return Message("huge_number")
        case int() | float() if not isinstance(value, bool) and math.isfinite(value):
            return value
    return _shortened(json.dumps(value, default=ascii))


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _number(bound: Any) -> Any:  # noqa: ANN401 - pydantic's own
    """Write a bound as pydantic does: 20, not 20.0."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _plain(text: str) -> str:
    for stiff, plain in _PLAIN.items():
        text = text.replace(stiff, plain)
    return text
