"""Computes the key of a picture from its recipe and generator identity: 64 hex digits, known before it is drawn."""

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
# Parameters added after version 1 was published, with their defaults. A parameter with its default value is left out
# of the text, so that keys made before it existed stay valid.
LATER_PARAMS: Final = {field.name: field.default for field in fields(Recipe) if field.name not in PARAMS}


@dataclass(frozen=True, slots=True)
class GeneratorIdentity:
    """The identity of a generator: everything beside the recipe that can change a pixel.

    Known before weights are loaded, and fixed for the process. `revision` is a hash of the model's content.
    """

    model: str
    revision: str
    precision: str
    runtime: str


_IDENTITY: Final = tuple(field.name for field in fields(GeneratorIdentity))
# A module constant, because json.dumps with these arguments would make a new encoder at each call.
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_text(recipe: Recipe, identity: GeneratorIdentity, salt: str = "") -> str:
    """Return the canonical text of this picture; requests for the same pixels give the same text.

    A *salt* changes the key and no pixel: pictures with different salts are stored apart.
    """
    params: dict[str, Any] = {name: getattr(recipe, name) for name in PARAMS}
    for name, default in LATER_PARAMS.items():
        if (value := getattr(recipe, name)) != default:
            params[name] = value
    # Not dataclasses.asdict, which copies deeply: this runs for every hit.
    generator = {name: getattr(identity, name) for name in _IDENTITY}
    salted = {"salt": salt} if salt else {}
    return _ENCODER.encode({"v": VERSION, "generator": generator, "params": params, **salted})


def key_of(canonical: str) -> str:
    """Hash a canonical text: lower-case hex SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(canonical.encode()).hexdigest()


def fingerprint(recipe: Recipe, identity: GeneratorIdentity, salt: str = "") -> str:
    """Return the key of the picture that *identity* draws from *recipe*."""
    return key_of(canonical_text(recipe, identity, salt))
