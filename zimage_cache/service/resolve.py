"""From an `ImageRequest` to recipes and plans: defaults filled, limits checked, style applied, seeds fixed."""

import secrets
from dataclasses import dataclass, replace
from typing import Any, Final

from zimage_cache.errors import InvalidRequest
from zimage_cache.fingerprint import GeneratorIdentity
from zimage_cache.prompts.styles import style
from zimage_cache.request import (
    BY_MODEL,
    MAX_PICTURES,
    MAX_SEED,
    MAX_TEXT,
    PARAMETERS,
    ImageRequest,
    ModelProfile,
    Recipe,
)

RANDOM_SEED = -1
# The parameters that a recipe has as they were asked.
_AS_ASKED: Final = tuple(name for name in PARAMETERS if name not in {"prompt", "negative_prompt", "seed"})


@dataclass(frozen=True, slots=True)
class Resolved:
    """One picture to make: its recipe, and the ask with every choice and the concrete seed written out."""

    recipe: Recipe
    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one asker wants of one key.

    Args:
        user: Whose turn it is in the queue.
        owner: Whose the picture is in the history.
        fresh: A stored result is no answer: it is to be drawn anew, or has a random seed.
        keep: The asker wants the picture stored.
        batch: It is drawn after those that people wait for.
        salt: Keeps the picture in the cache apart from those with another salt.
        request_id: That of the request, for the log lines of a run that this plan begins.
        others: Further keys the same picture may be stored under: those of identities that drew it another way.
    """

    key: str
    model: str
    recipe: Recipe
    identity: GeneratorIdentity
    request: dict[str, Any]
    user: str
    owner: str
    fresh: bool
    keep: bool
    batch: bool = False
    salt: str = ""
    request_id: str = "-"
    others: tuple[str, ...] = ()


def make_random_seed() -> int:
    """Return a random seed in 0..2^32-1."""
    return secrets.randbelow(MAX_SEED + 1)


def resolve(request: ImageRequest, profile: ModelProfile, *, n: int = 1, random_seed: int = 0) -> list[Resolved]:
    """Turn one ask into *n* pictures with the seeds seed, seed+1, … (modulo 2^32).

    Args:
        request: What was asked.
        profile: Supplies the defaults and the limits of the model.
        n: Pictures, 1..8.
        random_seed: Used where the request asks for a random seed.

    Raises:
        InvalidRequest: The model cannot do that, or there is no such style; names the field.
    """
    if not 1 <= n <= MAX_PICTURES:
        raise InvalidRequest("picture_count", field="n", most=MAX_PICTURES, got=n)
    asked = request.model_dump(mode="json")
    asked |= {field: getattr(profile, field) for field in BY_MODEL if asked[field] is None}
    _check_sides(asked, profile)
    prompt, negative_prompt = styled(request.style, request.prompt, request.negative_prompt)
    choices = {field: asked[field] for field in _AS_ASKED}
    first = random_seed if request.seed == RANDOM_SEED else request.seed
    recipe = Recipe(prompt=prompt, negative_prompt=negative_prompt, seed=first, **choices)
    # The others are made of the first, whose text is canonical already.
    seeds = ((first + i) % (MAX_SEED + 1) for i in range(n))
    return [Resolved(replace(recipe, seed=seed), asked | {"seed": seed}) for seed in seeds]


def _check_sides(asked: dict[str, Any], profile: ModelProfile) -> None:
    for field in ("width", "height"):
        if not profile.min_side <= asked[field] <= profile.max_side:
            raise InvalidRequest(
                "side_range",
                field=field,
                title=profile.title,
                least=profile.min_side,
                most=profile.max_side,
                got=asked[field],
            )


def styled(name: str | None, prompt: str, negative_prompt: str) -> tuple[str, str]:
    """Put the words of the style called *name* (None: no style) around both prompts.

    Raises:
        InvalidRequest: There is no such style, or a prompt is longer with it than 8000 characters; names the field.
    """
    if name is None:
        return prompt, negative_prompt
    prompt, negative_prompt = style(name).apply(prompt, negative_prompt)
    for field, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
        if len(text) > MAX_TEXT:
            raise InvalidRequest("styled_too_long", field=field, most=MAX_TEXT, got=len(text))
    return prompt, negative_prompt
