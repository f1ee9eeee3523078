"""From a recipe and who draws it to a key: 64 hex digits that name the picture before it exists."""

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any, Final

from zimage_cache.request import Recipe

VERSION: Final = 1
PARAMS: Final = (
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "steps",
    "guidance_scale",
    "seed",
    "sampler",
    "shift",
    "max_sequence_length",
)
# Parameters added after version 1 was published, with their defaults: left out of the text while they have
# them, so that every key made before they existed stays valid.
LATER_PARAMS: Final[dict[str, object]] = {}


@dataclass(frozen=True, slots=True)
class GeneratorIdentity:
    """Who draws: everything beside the recipe that can change a pixel.

    Known before any weights load and fixed for the process. `revision` pins content, not a moving name.
    """

    model: str
    revision: str
    precision: str
    runtime: str


_IDENTITY: Final = tuple(field.name for field in fields(GeneratorIdentity))
# Made once: json.dumps with these arguments makes a new one at each call.
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_text(recipe: Recipe, identity: GeneratorIdentity) -> str:
    """Write the one text that stands for this picture; two asks for the same pixels give the same text."""
    params: dict[str, Any] = {name: getattr(recipe, name) for name in PARAMS}
    for name, default in LATER_PARAMS.items():
        if (value := getattr(recipe, name)) != default:
            params[name] = value
    # Not dataclasses.asdict, which copies deeply: this stands on the way of every hit.
    generator = {name: getattr(identity, name) for name in _IDENTITY}
    return _ENCODER.encode({"v": VERSION, "generator": generator, "params": params})


def key_of(canonical: str) -> str:
    """Hash a canonical text: lower-case hex SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(canonical.encode()).hexdigest()


def fingerprint(recipe: Recipe, identity: GeneratorIdentity) -> str:
    """Return the key of the picture that *identity* draws from *recipe*."""
    return key_of(canonical_text(recipe, identity))
