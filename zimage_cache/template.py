r"""The syntax of alternatives and wildcards, as in the Dynamic Prompts extension. Knows no files and no chance.

    {red|blue}              one of them; any may be empty, and may hold alternatives and wildcards itself
    {3::red|blue}           red three times as often; a weight of 0 is never picked
    {2$$a|b|c}              two of them, joined by ", "; fewer where there are fewer
    {1-2$$ and $$a|b|c}     one or two of them, joined by " and "; -2 is 1-2, and 2- has no upper end
    {2$$__name__}           two different options of a wildcard
    __name__, __folder/*__  one option of a wildcard, or of all that match: * within a folder, ** across folders
    \{ \} \| \__            the signs themselves

Braces that belong to no other, and braces without `|` or `$$` (JSON), are text like any other.
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from zimage_cache.errors import InvalidRequest

MAX_DEPTH: Final = 20
_EVEN: Final = 10**6  # the weight of what names none: six decimal places of a weight count
_NAME: Final = r"(?!_)(?:(?!__)[^{}|\\\n\r]){1,200}"
_TOKEN: Final = re.compile(rf"\\[{{}}|]|\\__|__(?=\S)(?P<name>{_NAME})(?<!\s)__|[{{}}|]")
_WEIGHT: Final = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})::", re.ASCII)
_BOUNDS: Final = re.compile(
    r"\s*(?:(?P<exact>\d{1,4})|(?P<low>\d{1,4})?-(?P<high>\d{1,4})|(?P<least>\d{1,4})-)\$\$(?:(?P<separator>[^$]*)\$\$)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Wildcard:
    """One option of the wildcard called `name` stands here."""

    name: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many different options are picked, `high` None = all there are, and what stands between them."""

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
    """Some of `options` stand here: one of them where there are no `bounds`. `depth` counts the levels of braces."""

    options: tuple[Option, ...]
    bounds: Bounds | None
    depth: int


Part = str | Wildcard | Alternatives
Parts = tuple[Part, ...]


def parse(text: str) -> Parts:
    """Split *text* into its parts; joined again, parts that are all text are *text*, but for its escapes.

    Raises:
        InvalidRequest: Alternatives stand within alternatives more than 20 levels deep.
    """
    open_ = [_Braces()]
    end = 0
    for token in _TOKEN.finditer(text):
        open_[-1].add(text[end : token.start()])
        end = token.end()
        _read(token, open_)
    open_[-1].add(text[end:])
    while len(open_) > 1:
        unclosed = open_.pop()
        open_[-1].extend(["{", *unclosed.written()])
    return tuple(open_[0].options[0])


def weighted(text: str) -> tuple[int, str]:
    """Split the weight, in millionths, from what stands behind it: "3::red" weighs three times "red"."""
    found = _WEIGHT.match(text) if "::" in text else None
    return (int(Decimal(found[1]).scaleb(6)), text[found.end() :]) if found else (_EVEN, text)


@dataclass(slots=True)
class _Braces:
    """Braces that were opened, or, the first of all, the text itself; `options` hold no two texts in a row."""

    options: list[list[Part]] = field(default_factory=lambda: [[]])

    def add(self, part: Part) -> None:
        option = self.options[-1]
        if isinstance(part, str) and option and isinstance(option[-1], str):
            option[-1] += part
        elif part:
            option.append(part)

    def extend(self, parts: list[Part]) -> None:
        for part in parts:
            self.add(part)

    def written(self) -> list[Part]:
        """Return what stands in these braces as text, since they are none."""
        first, *others = self.options
        return [*first, *(part for option in others for part in ["|", *option])]

    def closed(self) -> list[Part]:
        """Return what these braces, closed, mean."""
        bounds = self._bounds()
        if bounds is None and len(self.options) == 1:
            return ["{", *self.written(), "}"]
        options = tuple(map(_option, self.options))
        return [Alternatives(options, bounds, _depth(options))]

    def _bounds(self) -> Bounds | None:
        first = self.options[0]
        head = first[0] if first else ""
        found = _BOUNDS.match(head) if isinstance(head, str) else None
        if found is None or not isinstance(head, str):
            return None
        first[:1] = [rest] if (rest := head[found.end() :]) else []
        numbers = {name: int(number) for name, number in found.groupdict().items() if number and name != "separator"}
        low = numbers.get("exact", numbers.get("least", numbers.get("low", 1)))
        high = numbers.get("exact", numbers.get("high"))
        separator = ", " if found["separator"] is None else found["separator"].replace(r"\|", "|")
        return Bounds(low, high, separator) if high is None else Bounds(min(low, high), max(low, high), separator)


def _read(token: re.Match[str], open_: list[_Braces]) -> None:
    """Take one sign of the syntax."""
    sign, name = token[0], token["name"]
    if name is not None:
        open_[-1].add(Wildcard(name))
    elif sign == "{":
        open_.append(_Braces())
    elif sign == "}" and len(open_) > 1:
        closed = open_.pop().closed()
        open_[-1].extend(closed)
    elif sign == "|" and len(open_) > 1:
        open_[-1].options.append([])
    elif sign == r"\|":
        open_[-1].add(sign)  # an escape only within alternatives, and these may yet turn out to be none
    else:
        open_[-1].add(sign.removeprefix("\\"))


def _option(parts: list[Part]) -> Option:
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
        raise InvalidRequest(f"alternatives stand within alternatives at most {MAX_DEPTH} deep; use fewer braces")
    return depth
