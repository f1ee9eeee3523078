"""What becomes of a prompt before it is asked for: chance's picks, and how many tokens the model will read of it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from zimage_cache.errors import InvalidRequest
from zimage_cache.i18n.messages import Message
from zimage_cache.normal_form import nfc
from zimage_cache.pool import Pool
from zimage_cache.prompts.wildcards import Wildcards, expand, notice
from zimage_cache.request import ModelProfile
from zimage_cache.service.model import Model
from zimage_cache.service.resolve import styled

COUNT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Described:
    """Both prompts with chance's picks and without a style, the tokens of the styled prompt, all wildcards' names.

    `tokens` include the model's template, and are 0 for a blank prompt, None while they cannot be told. `notices` point
    out what may be meant in another way than it is taken.
    """

    prompt: str
    negative_prompt: str
    tokens: int | None
    wildcards: list[str]
    notices: list[Message] = field(default_factory=list)


class Prompts:
    """Expands prompts, and counts their tokens, in two threads of its own.

    Args:
        folder: The wildcards'; need not exist, None = there are none.
        model: Returns the model of a name, None = the default, or raises `InvalidRequest`.
        count_seconds: How long a count may take. The first one takes longer, for it reads the tokenizer, and goes on
            without its asker: expanding a prompt to draw it must not wait for that.
    """

    def __init__(
        self,
        folder: Path | None,
        model: Callable[[str | None], Model],
        count_seconds: float = COUNT_SECONDS,
    ) -> None:
        self._folder = folder
        self._model = model
        self._count_seconds = count_seconds
        self._expanding = Pool(1, "wildcards")
        self._counting = Pool(1, "tokens")

    def close(self) -> None:
        """Stop; a tokenizer being read is not waited for."""
        for pool in (self._expanding, self._counting):
            pool.shutdown(wait=False, cancel_futures=True)

    async def describe(
        self,
        prompt: str,
        negative_prompt: str = "",
        *,
        style: str | None = None,
        seed: int = 0,
        model: str | None = None,
    ) -> Described:
        """Expand both prompts with *seed*, as the page does before it asks for a picture, and count the first one.

        Raises:
            InvalidRequest: A prompt cannot be expanded, is too long then or with the style, or there is no such style
                or model; names the field.
        """
        counted_by = self._model(model)
        expanded = await asyncio.get_running_loop().run_in_executor(
            self._expanding, _expanded, self._folder, seed, prompt, negative_prompt
        )
        final, _ = styled(style, expanded.prompt, expanded.negative_prompt)
        tokens = await self._count(counted_by, final) if expanded.prompt.strip() else 0
        return replace(expanded, tokens=tokens, notices=expanded.notices + _of_words(expanded, counted_by.profile))

    async def _count(self, model: Model, text: str) -> int | None:
        # As a recipe has it.
        counting = asyncio.get_running_loop().run_in_executor(self._counting, model.count_tokens, nfc(text))
        with suppress(TimeoutError):
            # Cancels what has not begun: behind a slow first count no queue builds up.
            return await asyncio.wait_for(counting, self._count_seconds)
        return None


def _of_words(expanded: Described, profile: ModelProfile) -> list[Message]:
    """Return what is to be told about words that the model was not taught."""
    found = profile.vocabulary and profile.vocabulary.notice(expanded.prompt, profile.examples)
    return [found] if found else []


def _expanded(folder: Path | None, seed: int, prompt: str, negative_prompt: str) -> Described:
    """Expand both prompts; nothing is counted yet."""
    wildcards = Wildcards(folder)
    final = _expanded_part("prompt", prompt, seed, wildcards)
    final_negative = _expanded_part("negative_prompt", negative_prompt, seed, wildcards)
    of_texts = filter(None, map(notice, (prompt, negative_prompt)))
    notices = list(dict.fromkeys([*of_texts, *wildcards.notices]))
    return Described(final, final_negative, None, wildcards.names, notices)


def _expanded_part(part: str, text: str, seed: int, wildcards: Wildcards) -> str:
    try:
        return expand(text, seed, wildcards, part=part)
    except InvalidRequest as error:
        raise InvalidRequest.of(error.reason, field=part) from None
