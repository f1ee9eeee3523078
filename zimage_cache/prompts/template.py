r"""Parser for alternatives and wildcards in the syntax of the Dynamic Prompts extension; reads no files.

    {red|blue}              one of them; any may be empty, and may hold alternatives and wildcards itself
    {3::red|blue}           red three times as often; a weight of 0 is never picked
    {2$$a|b|c}              two of them, joined by ", "; fewer where there are fewer
    {1-2$$ and $$a|b|c}     one or two of them, joined by " and "; -2 is 1-2, and 2- has no upper end
    {2$$__name__}           two different options of a wildcard
    __name__, __folder/*__  one option of a wildcard, or of all that match: * within a folder, ** across folders
    \{ \} \| \__ \_\_       these characters literally
    3\:: 2\$$               a number that is no weight, or no number of options

Unmatched braces, and braces without `|` or `$$` (such as JSON), are literal text. So are full-width signs, which may be
meant as text; only in numbers of options and weights, which nothing else looks like, are they the signs they look like.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Final, cast

from zimage_cache.errors import InvalidRequest
from zimage_cache.full_width import as_typed, half_width

MAX_DEPTH: Final = 20
_EVEN: Final = 10**6  # the weight of an option without one: weights have six decimal places
_NAME: Final = r"(?!_)(?:(?!__)[^{}|\\\n\r]){1,200}"
_TOKEN: Final = re.compile(rf"\\[{{}}|]|\\_\\?_|__(?=\S)(?P<name>{_NAME})(?<!\s)__|[{{}}|]")
_DIGIT, _DOT, _COLON = "[0-9０-９]", f"[{as_typed('.')}]", f"[{as_typed(':')}]"
_HYPHEN, _DOLLAR = f"[{as_typed('-')}]", f"[{as_typed('$')}]"
_WEIGHT: Final = re.compile(
    rf"\s*+(?P<weight>{_DIGIT}{{1,6}}(?:{_DOT}{_DIGIT}{{1,6}})?|{_DOT}{_DIGIT}{{1,6}})(?P<escape>\\?){_COLON}{{2}}"
)
_NUMBER: Final = f"{_DIGIT}{{1,4}}"
_NUMBERS: Final = (
    rf"\s*+(?:(?P<exact>{_NUMBER})|(?P<low>{_NUMBER})?{_HYPHEN}(?P<high>{_NUMBER})|(?P<least>{_NUMBER}){_HYPHEN})"
)
_SEVERAL: Final = re.compile(rf"{_NUMBERS}{_DOLLAR}{{2}}")
_BOUNDS: Final = re.compile(rf"{_SEVERAL.pattern}(?:(?P<separator>[^{_DOLLAR[1:]}*+){_DOLLAR}{{2}})?")
_NO_BOUNDS: Final = re.compile(rf"{_NUMBERS}\\(?={_DOLLAR}{{2}})")
# Full-width signs that would be syntax in ASCII.
_SYNTAX: Final = str.maketrans("｛｜｝＿", "{|}_")
_FULL_WIDTH: Final = re.compile("[｛｜｝＿]")


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A place for one option of the wildcard `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class PickBounds:
    """How many different options are picked, `high` None = all of them, and the text that joins them."""

    low: int
    high: int | None
    separator: str = ", "


@dataclass(frozen=True, slots=True)
class Option:
    """One alternative; `weight` counts in millionths."""

    weight: int
    parts: "Parts"


@dataclass(frozen=True, slots=True)
class Alternatives:
    """A place for some of `options`: one where `bounds` is None. `depth` counts the levels of braces."""

    options: tuple[Option, ...]
    bounds: PickBounds | None
    depth: int


Part = str | Wildcard | Alternatives
Parts = tuple[Part, ...]


def parse(text: str) -> Parts:
    """Split *text* into literal text, wildcards and alternatives; escapes are resolved.

    Takes time in proportion to the length of *text*, for every arrangement of braces.

    Raises:
        InvalidRequest: Alternatives are nested more than 20 levels deep.
    """
    found: list[Part] = []
    open_: list[_Braces] = []
    end = 0
    for token in _TOKEN.finditer(text):
        if token.start() > end:
            found.append(text[end : token.start()])
        end = token.end()
        _read(token, found, open_)
    found.append(text[end:])
    return _joined(found)


def weighted(text: str) -> tuple[int, str]:
    r"""Split an option's weight, in millionths, from its content: "3::red" weighs three times "red"; "3\::" is text."""
    found = _WEIGHT.match(text)
    if found is None:
        return _EVEN, text
    if found["escape"]:
        return _EVEN, text.replace("\\", "", 1)
    return int(Decimal(half_width(found["weight"])).scaleb(6)), text[found.end() :]


def unread_signs(text: str) -> tuple[str, ...]:
    """Return the full-width signs of *text* that would make alternatives or wildcards in ASCII."""
    signs = tuple(dict.fromkeys(_FULL_WIDTH.findall(text)))
    try:
        return signs if signs and _picks(parse(text.translate(_SYNTAX))) > _picks(parse(text)) else ()
    except InvalidRequest:
        return ()


def _picks(parts: Iterable[Part]) -> int:
    """Count wildcards and options, those within options too."""
    inner = (option.parts for part in parts if isinstance(part, Alternatives) for option in part.options)
    return sum(not isinstance(part, str) for part in parts) + sum(1 + _picks(each) for each in inner)


@dataclass(slots=True)
class _Braces:
    """Open braces: the positions of their `{` and of each `|` of theirs in the parts found so far.

    Parts inside them are in the flat list until they are closed, so that every part is moved only once.
    """

    start: int
    bars: list[int] = field(default_factory=list)


def _read(token: re.Match[str], found: list[Part], open_: list[_Braces]) -> None:
    """Add one token to *found*."""
    sign, name = token[0], token["name"]
    if name is not None:
        found.append(Wildcard(name))
        return
    if sign == "{":
        open_.append(_Braces(len(found)))
    elif sign == "|" and open_:
        open_[-1].bars.append(len(found))
    elif sign == "}" and open_:
        _close(found, open_.pop())
        return
    # An escaped bar is an escape only inside alternatives, which is not known before the braces are closed.
    found.append(sign if sign == r"\|" else sign.replace("\\", ""))


def _close(found: list[Part], braces: _Braces) -> None:
    """Replace the parts inside closed braces by alternatives; without `|` and `$$` they stay text."""
    inside = found[braces.start + 1 : braces.start + 2]
    several = _SEVERAL.match(inside[0]) if inside and isinstance(inside[0], str) else None
    if not braces.bars and several is None:
        found.append("}")
        return
    ends = [braces.start, *braces.bars, len(found)]
    parts = [_joined(found[start + 1 : end]) for start, end in pairwise(ends)]
    bounds, parts[0] = _bounds(parts[0])
    options = tuple(map(_option, parts))
    found[braces.start :] = [Alternatives(options, bounds, _depth(options))]


def _joined(parts: Iterable[Part]) -> Parts:
    """Join adjacent texts, and leave out empty ones."""
    joined: list[Part] = []
    for is_text, group in groupby(parts, key=lambda part: isinstance(part, str)):
        if is_text:
            text = "".join(cast("Iterable[str]", group))
            joined += [text] if text else []
        else:
            joined += group
    return tuple(joined)


def _bounds(first: Parts) -> tuple[PickBounds | None, Parts]:
    """Split the number of options to pick from the first option."""
    head = first[0] if first else ""
    if not isinstance(head, str):
        return None, first
    found = _BOUNDS.match(head)
    if found is None:
        escaped = _NO_BOUNDS.match(head)
        return None, (head.replace("\\", "", 1), *first[1:]) if escaped else first
    rest = head[found.end() :]
    numbers = {name: int(number) for name, number in found.groupdict().items() if number and name != "separator"}
    low = numbers.get("exact", numbers.get("least", numbers.get("low", 1)))
    high = numbers.get("exact", numbers.get("high"))
    separator = ", " if found["separator"] is None else found["separator"].replace(r"\|", "|")
    bounds = PickBounds(low, high, separator) if high is None else PickBounds(min(low, high), max(low, high), separator)
    return bounds, ((rest, *first[1:]) if rest else first[1:])


def _option(parts: Parts) -> Option:
    head = parts[0] if parts else ""
    if not isinstance(head, str):
        return Option(_EVEN, tuple(map(_plain, parts)))
    weight, rest = weighted(head)
    return Option(weight, tuple(_plain(part) for part in (rest, *parts[1:]) if part))


def _plain(part: Part) -> Part:
    return part.replace(r"\|", "|") if isinstance(part, str) else part


def _depth(options: tuple[Option, ...]) -> int:
    inner = (part.depth for option in options for part in option.parts if isinstance(part, Alternatives))
    depth = 1 + max(inner, default=0)
    if depth > MAX_DEPTH:
        raise InvalidRequest("alternatives_too_deep", most=MAX_DEPTH)
    return depth
