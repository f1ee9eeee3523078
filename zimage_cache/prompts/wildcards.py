"""Expands alternatives and wildcards (files of options, one per line) in prompts; picks depend on the seed.

Alternatives and wildcards are parsed by `template`. A pick is the SHA-256 of the seed and of the pick's place in the
text, as a number. So picks are the same for every Python version and machine, and do not change with other words of
the prompt.
"""

import os
import re
import unicodedata
from bisect import bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from hashlib import sha256
from itertools import accumulate, islice
from pathlib import Path
from typing import Final, Self

from zimage_cache.errors import InvalidRequest
from zimage_cache.full_width import as_typed, half_width
from zimage_cache.i18n.messages import Message
from zimage_cache.prompts.template import (
    MAX_DEPTH,
    Alternatives,
    Parts,
    PickBounds,
    Wildcard,
    parse,
    unread_signs,
    weighted,
)
from zimage_cache.text_files import NotText, decoded

MAX_EXPANDED: Final = 8000  # characters
MAX_PICKS: Final = 1000
MAX_FILES: Final = 5000
MAX_FILE_BYTES: Final = 2**20
MAX_READ_BYTES: Final = 16 * 2**20  # of all files one prompt names
_MOST_STARS: Final = 4
_SUGGESTED: Final = 8
_COMPARED: Final = 200
_DIGEST_BITS: Final = 256
_STAR: Final = re.compile(r"\*")
_STARS: Final = re.compile(r"\*\*+")
_COMMENT: Final = tuple(as_typed("#"))
_NO_COMMENT: Final = tuple(f"\\{sign}" for sign in _COMMENT)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one file or one pair of braces.

    `sums` are the cumulative weights, in millionths; `source` is the wildcard of the file.
    """

    contents: Sequence[Parts | str]
    sums: Sequence[int]
    source: str | None = None

    @classmethod
    def of(cls, weighed: Iterable[tuple[int, Parts | str]], source: str | None = None) -> Self:
        """Make options from contents with their weights."""
        pairs = list(weighed)
        return cls([content for _, content in pairs], list(accumulate(weight for weight, _ in pairs)), source)

    @property
    def total(self) -> int:
        """The sum of all weights."""
        return self.sums[-1] if self.sums else 0


class Wildcards:
    """The files `**/*.txt` below one folder, each read when first used. For one thread.

    A wildcard's name is its file's path below the folder, without `.txt`. Left out are hidden files, names that the
    prompt syntax cannot express, and links that lead out of the folder. Paths are never built from text of a prompt.

    Args:
        folder: Need not exist; None = there are no wildcards.

    `notices` are of the files that were read: each names the first line with full-width signs that may be meant as
    syntax, and stay text.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._matches: dict[str, list[str]] = {}
        self._read: dict[str, Options] = {}
        self._bytes = 0
        self.notices: list[Message] = []

    @property
    def names(self) -> list[str]:
        """All names, sorted; at most 5000."""
        return list(self._files)

    def options(self, name: str, without: Collection[str] = ()) -> list[Options]:
        """Return the options of every wildcard that *name*, which may hold `*`, matches, but for those *without*.

        Raises:
            InvalidRequest: No wildcard matches, or a file is too large, not UTF-8, or cannot be read.
        """
        if name not in self._matches:
            written = unicodedata.normalize("NFC", name)
            self._matches[name] = self._matching(written) or self._matching(half_width(written))
        if not self._matches[name]:
            raise self._unknown(name)
        return [self._options_of(each) for each in self._matches[name] if each not in without]

    @cached_property
    def _files(self) -> dict[str, Path]:
        found = {} if self._folder is None else dict(islice(_walk(self._folder), MAX_FILES))
        return {name: found[name] for name in sorted(found)}

    def _matching(self, name: str) -> list[str]:
        if "*" not in name:
            return [name] if name in self._files else []
        stars = len(_STAR.findall(_STARS.sub("*", name)))
        if stars > _MOST_STARS:
            raise InvalidRequest("too_many_stars", name=name, most=_MOST_STARS, got=stars)
        pattern = _pattern(name)
        return [each for each in self._files if pattern.fullmatch(each)]

    def _options_of(self, name: str) -> Options:
        if name not in self._read:
            # A repeated line counts as one option, because several are picked without repetition.
            path = self._files[name]
            text = self._text(path)
            self.notices += _notices(text, path)
            self._read[name] = Options.of(map(weighted, dict.fromkeys(_lines(text, path))), name)
        return self._read[name]

    def _text(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise InvalidRequest("wildcard_unreadable", file=path, error=error.strerror) from None
        self._bytes += len(content)
        if len(content) > MAX_FILE_BYTES:
            raise InvalidRequest("wildcard_too_large", file=path, most=MAX_FILE_BYTES)
        if self._bytes > MAX_READ_BYTES:
            raise InvalidRequest("wildcards_too_large", most=MAX_READ_BYTES)
        try:
            return decoded(content)
        except NotText as error:
            raise InvalidRequest("wildcard_not_utf8", file=path, line=error.line) from None

    def _unknown(self, name: str) -> InvalidRequest:
        # difflib is slow for many names: of many files, only those with the same beginning are compared.
        alike = self.names if len(self._files) <= _COMPARED else [each for each in self._files if each[:1] == name[:1]]
        close = get_close_matches(name, alike[:_COMPARED], _SUGGESTED) or self.names[:_SUGGESTED]
        more = ["..."] * (len(self.names) > len(close))
        place = self._folder or Message("this_server")
        some = Message("some_wildcards", names=(*close, *more), place=place)
        there = some if close else Message("no_wildcards", place=place)
        return InvalidRequest("unknown_wildcard", name=name, there=there)


def expand(text: str, seed: int, wildcards: Wildcards, *, part: str = "prompt") -> str:
    """Replace all alternatives and wildcards of *text* by options picked at random from the seed.

    Args:
        text: Without `{`, `}` and `__` it is returned unchanged.
        seed: Any integer; the same one gives the same result with the same files.
        wildcards: The files.
        part: Name of the text: texts with different names pick independently for the same seed.

    Raises:
        InvalidRequest: A wildcard is unknown, unreadable, or contains itself; or the text is longer than 8000
            characters, or needs more than 1000 picks.
    """
    return _Expansion(f"wildcards 1\n{part}\n{seed}\n", wildcards).text(parse(text), "", ())


class _Expansion:
    def __init__(self, salt: str, wildcards: Wildcards) -> None:
        self._salt = salt
        self._wildcards = wildcards
        self._picks = 0

    def text(self, parts: Parts, place: str, within: tuple[str, ...], depth: int = 0) -> str:
        if depth > MAX_DEPTH:
            raise InvalidRequest("wildcards_too_deep", most=MAX_DEPTH, chain=within)
        written, length, picks = [], 0, 0
        for part in parts:
            if isinstance(part, str):
                written.append(part)
            else:
                written.append(self._picked(part, f"{place}/{picks}", within, depth + 1))
                picks += 1
            length += len(written[-1])
            if length > MAX_EXPANDED:
                raise InvalidRequest("expanded_too_long", most=MAX_EXPANDED)
        return "".join(written)

    def _picked(self, part: Wildcard | Alternatives, place: str, within: tuple[str, ...], depth: int) -> str:
        bounds = part.bounds if isinstance(part, Alternatives) else None
        offered = self._offered(part, within)
        count = 1 if bounds is None else self._count(bounds, sum(len(each.contents) for each in offered), place)
        picked = []
        for nth, (content, source) in enumerate(self._draw(offered, count, place)):
            inner = within if source is None else (*within, source)
            parts = parse(content) if isinstance(content, str) else content
            picked.append(self.text(parts, f"{place}.{nth}", inner, depth))
        if bounds is None:
            return "".join(picked)
        return bounds.separator.join(filter(None, map(str.strip, picked)))

    def _offered(self, part: Wildcard | Alternatives, within: tuple[str, ...]) -> list[Options]:
        if isinstance(part, Wildcard):
            return self._options(part, within)
        if part.bounds and (sole := _sole_wildcard(part)):
            return self._options(sole, within)
        return [Options.of((option.weight, option.parts) for option in part.options)]

    def _options(self, wildcard: Wildcard, within: tuple[str, ...]) -> list[Options]:
        """Return a wildcard's options, without the files *within* which it occurs; naming one of those is an error."""
        found = self._wildcards.options(wildcard.name, within)
        if not found:
            raise InvalidRequest("wildcard_within_itself", name=wildcard.name, chain=(*within, wildcard.name))
        return found

    def _count(self, bounds: PickBounds, most: int, place: str) -> int:
        high = most if bounds.high is None else min(bounds.high, most)
        low = min(bounds.low, high)
        return low + self._number(f"{place}#", high - low + 1)

    def _draw(self, offered: list[Options], count: int, place: str) -> Iterator[tuple[Parts | str, str | None]]:
        """Pick up to *count* different contents, none of weight 0, each with its source.

        All weights are intervals of one range of numbers; intervals picked before are skipped.
        """
        sums = list(accumulate(each.total for each in offered))
        drawn: list[tuple[int, int]] = []  # start and length of each picked interval
        left = sums[-1] if sums else 0
        for nth in range(count):
            if not left:
                return
            point = self._number(f"{place}.{nth}", left)
            for start, weight in drawn:
                if point < start:
                    break
                point += weight
            which = bisect_right(sums, point)
            options, before = offered[which], sums[which] - offered[which].total
            index = bisect_right(options.sums, point - before)
            below = options.sums[index - 1] if index else 0
            weight = options.sums[index] - below
            insort(drawn, (before + below, weight))
            left -= weight
            yield options.contents[index], options.source

    def _number(self, place: str, below: int) -> int:
        """Pick one of 0..below-1; the bias of the modulo is negligible, because the hash has 256 bits."""
        self._picks += 1
        if self._picks > MAX_PICKS:
            raise InvalidRequest("too_many_picks", most=MAX_PICKS)
        return int.from_bytes(sha256(f"{self._salt}{place}".encode()).digest()) * below >> _DIGEST_BITS


def _sole_wildcard(part: Alternatives) -> Wildcard | None:
    """Return the wildcard of `{2$$__name__}`, of which several options are picked, else None."""
    if len(part.options) != 1:
        return None
    said = [each for each in part.options[0].parts if not isinstance(each, str) or each.strip()]
    return said[0] if len(said) == 1 and isinstance(said[0], Wildcard) else None


def _pattern(name: str) -> re.Pattern[str]:
    """Translate stars to possessive, shortest matches without backtracking, so that matching takes linear time.

    This finds every match: text between two `**` matched at its earliest place leaves the most for the rest, and text
    after the last `**` is matched at the end.
    """
    *before, last = (_STAR.split(piece) for piece in _STARS.split(name))
    pieces = "".join(f"(?>{'.*?' if nth else ''}{_chain_of(words)})" for nth, words in enumerate(before))
    anywhere = ".*?" if before else ""
    end = f"{_chain_of(last[:-1])}[^/]*{re.escape(last[-1])}" if len(last) > 1 else re.escape(last[0])
    return re.compile(pieces + anywhere + end)


def _chain_of(words: Sequence[str]) -> str:
    first, *others = map(re.escape, words)
    return first + "".join(f"(?>[^/]*?{word})" for word in others)


def _lines(text: str, path: Path) -> Iterator[str]:
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if len(line) > MAX_EXPANDED:
            raise InvalidRequest("wildcard_line_too_long", file=path, line=number, most=MAX_EXPANDED)
        if line and not line.startswith(_COMMENT):
            yield line.removeprefix("\\") if line.startswith(_NO_COMMENT) else line


def _notices(text: str, path: Path) -> list[Message]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.lstrip().startswith(_COMMENT) and (reason := notice(line)):
            return [Message("wildcard_notice", file=path, line=number, reason=reason)]
    return []


def notice(text: str) -> Message | None:
    """Return what is to be told about full-width signs of *text* that may be meant as syntax, and stay text."""
    signs = unread_signs(text)
    return Message("full_width_text", signs=signs, alternatives="{a|b}", wildcard="__name__") if signs else None


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names and files of all wildcards, in an order independent of the file system."""
    root = folder.resolve()
    for place, folders, files in islice(os.walk(root), MAX_FILES):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = Path(place, file)
            name = unicodedata.normalize("NFC", path.relative_to(root).with_suffix("").as_posix())
            if path.suffix.lower() == ".txt" and _spellable(name) and _is_inside(path, root):
                yield name, path


def _spellable(name: str) -> bool:
    return name.isprintable() and "/." not in f"/{name}" and parse(f"__{name}__") == (Wildcard(name),)


def _is_inside(path: Path, root: Path) -> bool:
    try:
        # Only regular files: opening a pipe would block.
        return path.is_file() and path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False
