"""The words that a model was taught, where these are few, and which words of a prompt are not among them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from zimage_cache.i18n.messages import CHINESE, ENGLISH, Message
from zimage_cache.text_files import decoded

_MOST_NAMED: Final = 5
_RUN: Final = re.compile(r"[\u4e00-\u9fff]+|[^\W\d_\u4e00-\u9fff]+")  # of Han characters, or of other letters
# Words without a meaning of their own, which count as neither known nor unknown.
_FUNCTION_WORDS: Final = frozenset(
    """
    a an and are as at be but by for from has have in into is it its of on or that the their there this to with
    的 了 着 地 得 是 有 在 时 和 与 及 或 个 座 棵 只 朵 辆 枚 艘 条 颗 张 幅 片 上 下 里 中 内 外 前 后 旁 间 面 边
    """.split()  # noqa: SIM905 - a list of strings would be a page long
)
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model was taught, in lower case; those of Chinese may be parts of longer runs of characters."""

    words: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file with one word a line."""
        return cls(frozenset(decoded(path.read_bytes()).split()))

    @cached_property
    def _known(self) -> re.Pattern[str]:
        """Any word that is known, or has no meaning of its own, the longest first."""
        words = sorted(self.words | _FUNCTION_WORDS, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, words))})")

    def notice(self, prompt: str, examples: Mapping[str, tuple[str, ...]]) -> Message | None:
        """Return what is to be told about words of *prompt* that the model was not taught; None if it knows all.

        Where it knows none of them, the first one of *examples* (by language) in the prompt's language is named.
        """
        known, unknown = self.divided(prompt)
        if not unknown:
            return None
        named = tuple(unknown[:_MOST_NAMED])
        if known:
            return Message("words_unknown", words=named)
        language = CHINESE if _HAN.search(prompt) else ENGLISH
        return Message("prompt_unknown", words=named, example=examples[language][0])

    def divided(self, text: str) -> tuple[list[str], list[str]]:
        """Return the words of *text* that the model was taught, and the others, each once, in their order."""
        parts = (part for run in _RUN.findall(text.casefold()) for part in self._parts(run))
        found = list(dict.fromkeys(part for part in parts if part not in _FUNCTION_WORDS))
        return [word for word in found if word in self.words], [word for word in found if word not in self.words]

    def _parts(self, run: str) -> Iterable[str]:
        """Divide a run of Han characters into known words, the longest first, and what is left between them."""
        return filter(None, self._known.split(run)) if _HAN.match(run) else [run]
